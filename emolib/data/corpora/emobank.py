"""EmoBank (Buechel and Hahn 2017): sentences rated for valence, arousal, dominance.

One CSV file with a header; ratings in [1, 5], 3 is neutral.
"""

import csv
import io
from pathlib import Path

import pandas as pd

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task

_COLUMNS = ("id", "split", "V", "A", "D", "text")


def read(task: Task, split: str, root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Sentences of the publisher's split, in file order; the task names the column."""
    path = checks.find(root, ("emobank.csv",))
    lines = csv.reader(io.StringIO(checks.read_text(path)), strict=True)
    found = checks.read_rows(lines, path)
    header = next(found, [])
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise DataError(f"{path}:1: no column {', '.join(missing)}")
    rows, seen = [], {}
    for fields in filter(None, found):  # blank lines are no rows
        where = f"{path}:{lines.line_num}"
        if len(fields) != len(header):
            raise DataError(f"{where}: expected {len(header)} comma-separated fields")
        row = dict(zip(header, fields, strict=True))
        if row["split"] != split:
            continue
        checks.check_row(row["id"], row["text"], seen, path, lines.line_num)
        gold = checks.check_score(row[task.stem], task.range, where)
        rows.append((row["id"], task.name, None, row["text"].strip(), gold, split))
    return pd.DataFrame(rows, columns=checks.COLUMNS), [path]
