"""SemEval-2018 Task 1, Affect in Tweets, English (Mohammad et al. 2018).

Five sub-tasks, a file per split (and emotion), tab-separated with a header row.
"""

from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import NEUTRAL, Task, describe_class

EQUITY = "mystery"  # in the ids of Equity Evaluation Corpus sentences
_COLUMNS = {"score": "Intensity Score", "ordinal": "Intensity Class"}


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Rows in file order, emotion after emotion.

    Test files come whole, with the Equity Evaluation Corpus sentences at their end.
    """
    for emotion in task.emotions or (None,):
        part, suffix = f"-{emotion}" if emotion else "", "test-gold" if split == "test" else split
        name = f"{task.stem}-En{part}-{suffix}.txt"
        yield from _read_file(folder.find(name, f"2018-{name}"), task, emotion)


def _read_file(path: Path, task: Task, emotion: str | None) -> checks.Rows:
    header, lines = _read_lines(path, task)
    for number, line in enumerate(lines, start=2):
        where = f"{path}:{number}"
        row = checks.name_fields(line.split("\t"), header, where)
        expected, found = emotion or "valence", row.get("Affect Dimension")
        if found not in (None, expected):  # E-c files have no such column
            raise DataError(f"{where}: Affect Dimension {found!r}, expected {expected!r} here")
        yield where, row["ID"], emotion, row["Tweet"], _read_gold(row, task, emotion, where)


def _read_lines(path: Path, task: Task) -> tuple[list[str], list[str]]:
    lines = checks.read_text(path).split("\n")
    header = lines[0].split("\t")
    own = task.labels or ("Affect Dimension", _COLUMNS[task.kind])
    checks.check_columns(("ID", "Tweet", *own), header, path)
    if lines[-1]:
        hint = "fetch it again (if it is whole, end it with a line break)"
        problem = "the last line has no line break, so the file looks truncated"
        raise DataError(f"{path}:{len(lines)}: {problem}: {hint}")
    if len(lines) < 3:
        raise DataError(f"{path}:1: a header and no rows: the file is truncated")
    return header, lines[1:-1]


def _read_gold(row: dict, task: Task, emotion: str | None, where: str) -> str:
    if task.kind == "score":
        return checks.check_score(row["Intensity Score"], task.range, where)
    if task.kind == "ordinal":
        gold = row["Intensity Class"]
        known = [describe_class(task, value, emotion) for value in task.classes]
        if gold not in known:
            raise DataError(f"{where}: unknown class {gold!r}, expected one of {known}")
        return gold
    for label in task.labels:
        if row[label] not in ("0", "1"):
            raise DataError(f"{where}: {label} is {row[label]!r}, expected 0 or 1")
    return ", ".join(x for x in task.labels if row[x] == "1") or NEUTRAL
