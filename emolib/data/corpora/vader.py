"""VADER's gold ratings (Hutto and Gilbert 2014): four sets, one line per snippet.

id, mean rating of twenty raters in [-4, 4] and text, separated by tabs, no header. The archive also
travels inside the source distribution of the package vaderSentiment.
"""

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


def _decode(raw: bytes) -> str:
    """A line as text. Single lines of some copies are in Windows' Latin alphabet."""
    try:
        return raw.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace").rstrip("\r")
