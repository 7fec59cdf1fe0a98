"""BRIGHTER, English (SemEval-2025 Task 11, Muhammad et al. 2025): texts and five emotions.

CSV files with a header. Track A says whether an emotion is present, track B how strong it is, from
0 (none) to 3. Track A's test file has no labels: its texts are track B's, and present is above 0.
"""

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Texts in file order; for track B one emotion after the other."""
    own, track = task.labels or task.emotions, "a" if task.labels and split != "test" else "b"
    path = folder.find(f"track_{track}/{split}/eng.csv")
    rows = list(checks.read_table(path, "id", "text", *own))
    allowed = "01" if track == "a" else "0123"
    for where, row in rows:
        if bad := [row[name] for name in own if row[name] not in tuple(allowed)]:
            raise DataError(f"{where}: {bad[0]!r:.60}, expected {', '.join(allowed)}")
    for emotion in task.emotions:
        for where, row in rows:
            yield where, row["id"], emotion, row["text"], row[emotion]
    for where, row in rows if task.labels else ():
        present = ", ".join(name for name in task.labels if row[name] != "0")
        yield where, row["id"], None, row["text"], present or task.neutral
