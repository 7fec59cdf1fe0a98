"""VADER's gold ratings (Hutto and Gilbert 2014): four sets, one line per snippet.

id, mean rating of twenty raters in [-4, 4] and text, separated by tabs, no header. Files beside
these hold id, mean, standard deviation and the twenty ratings. The archive also travels inside the
source distribution of the package vaderSentiment.
"""

import json

import pandas as pd

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """All snippets of a set in file order (the benchmark draws 1,000 of them)."""
    path = folder.find(f"{task.stem}_GroundTruth.txt")
    for number, raw in enumerate(checks.read_bytes(path).split(b"\n"), start=1):
        if raw.strip():
            where = f"{path}:{number}"
            row = checks.name_fields(_decode(raw).split("\t"), ["id", "rating", "text"], where)
            gold = checks.check_score(row["rating"], task.range, where)
            yield where, row["id"], None, row["text"], gold


def read_raters(task: Task, folder: checks.Folder) -> pd.DataFrame:
    """A row of ratings per snippet, by its id, from -4 to 4; a column is not a person."""
    path, found = folder.find(f"{task.stem}_anonDataRatings.txt"), {}
    for number, raw in enumerate(checks.read_bytes(path).split(b"\n"), start=1):
        if raw.strip():
            where = f"{path}:{number}"
            names = ["id", "mean", "deviation", "ratings"]
            row = checks.name_fields(_decode(raw).split("\t"), names, where)
            try:
                found[row["id"]] = [float(rating) for rating in json.loads(row["ratings"])]
            except (TypeError, ValueError):
                raise DataError(f"{where}: {row['ratings']!r:.60} is no list of ratings") from None
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("id")


def _decode(raw: bytes) -> str:
    """A line as text. Single lines of some copies are in Windows' Latin alphabet."""
    try:
        return raw.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace").rstrip("\r")
