"""EmoBank (Buechel and Hahn 2017): sentences rated for valence, arousal, dominance.

One CSV file with a header; ratings in [1, 5], 3 is neutral.
"""

from emolib.data.corpora import checks
from emolib.tasks import Task


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Sentences of the publisher's split, in file order; the task names the column."""
    path = folder.find("emobank.csv")
    for where, row in checks.read_table(path, "id", "split", "V", "A", "D", "text"):
        if row["split"] == split:
            gold = checks.check_score(row[task.stem], task.range, where)
            yield where, row["id"], None, row["text"], gold
