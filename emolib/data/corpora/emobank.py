"""EmoBank (Buechel and Hahn 2017): sentences rated for valence, arousal, dominance.

One CSV file with a header; ratings in [1, 5], 3 is neutral.
"""

from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task


def read(task: Task, split: str, root: Path) -> tuple[checks.Rows, list[Path]]:
    """Sentences of the publisher's split, in file order; the task names the column."""
    path = checks.find(root, "emobank.csv")
    found = checks.read_csv(path, strict=True)
    _, header = next(found, ("", []))
    checks.check_columns(("id", "split", "V", "A", "D", "text"), header, path)
    rows, seen = [], {}
    for where, fields in found:
        if fields and len(fields) != len(header):  # a blank line is no row
            raise DataError(f"{where}: expected {len(header)} comma-separated fields")
        row = dict(zip(header, fields, strict=False))
        if row.get("split") == split:
            text = checks.check_row(row["id"], row["text"], seen, where)
            gold = checks.check_score(row[task.stem], task.range, where)
            rows.append((row["id"], None, text, gold))
    return rows, [path]
