"""VADER's gold ratings (Hutto and Gilbert 2014): four sets, one line per snippet.

id, mean rating of twenty raters in [-4, 4] and text, separated by tabs, no header. The
archive also travels inside the source distribution of the package vaderSentiment.
"""

from pathlib import Path

import pandas as pd

from emolib.data.corpora import checks
from emolib.tasks import Task

_NAMES = ["id", "rating", "text"]


def read(task: Task, split: str, root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """All snippets of a set in file order (the benchmark draws 1,000 of them)."""
    path = checks.find(root, (f"{task.stem}_GroundTruth.txt",))
    rows, seen = [], {}
    for number, raw in enumerate(checks.read_bytes(path).split(b"\n"), start=1):
        if not raw.strip():
            continue
        where = f"{path}:{number}"
        row = checks.split_fields(_decode(raw), _NAMES, where)
        checks.check_row(row["id"], row["text"], seen, path, number)
        gold = checks.check_score(row["rating"], task.range, where)
        rows.append((row["id"], task.name, None, row["text"].strip(), gold, split))
    return pd.DataFrame(rows, columns=checks.COLUMNS), [path]


def _decode(raw: bytes) -> str:
    """A line as text. Single lines of some copies are in Windows' Latin alphabet."""
    try:
        return raw.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace").rstrip("\r")
