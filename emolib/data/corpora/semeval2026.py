"""SemEval-2026 Task 2, subtask 1: diary entries rated by their authors (CC0).

CSV files with a header. An entry is a short essay or a list of feeling words; its author rated
valence, -2 to 2, and arousal, 0 to 2. An author wrote one to two hundred of them.
"""

from emolib.data.corpora import checks
from emolib.tasks import Task

_FILES = {"train": "train_subtask1.csv", "test": "test_labels_subtask1.csv"}


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Entries in file order; the id is author-entry, and the task names the column."""
    path = folder.find(_FILES[split])
    for where, row in checks.read_table(path, "user_id", "text_id", "text", task.stem):
        gold = checks.check_score(row[task.stem], task.range, where)
        yield where, f"{row['user_id']}-{row['text_id']}", None, row["text"], gold
