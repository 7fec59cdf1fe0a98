"""EmoBank (Buechel and Hahn 2017): sentences rated for valence, arousal, dominance.

One CSV file with a header; ratings in [1, 5], 3 is neutral.
"""

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Sentences of the publisher's split, in file order; the task names the column."""
    path = folder.find("emobank.csv")
    found = checks.read_csv(path)
    _, header = next(found, ("", []))
    checks.check_columns(("id", "split", "V", "A", "D", "text"), header, path)
    for where, fields in found:
        if fields and len(fields) != len(header):  # a blank line is no row
            raise DataError(f"{where}: expected {len(header)} comma-separated fields")
        row = dict(zip(header, fields, strict=False))
        if row.get("split") == split:
            gold = checks.check_score(row[task.stem], task.range, where)
            yield where, row["id"], None, row["text"], gold
