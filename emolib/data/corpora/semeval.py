"""SemEval-2018 Task 1, Affect in Tweets, English (Mohammad et al. 2018).

Five sub-tasks, a file per split (and emotion), tab-separated with a header row.
"""

from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import NEUTRAL, Task, describe_class

EQUITY = "mystery"  # in the ids of Equity Evaluation Corpus sentences
_COLUMNS = {"score": "Intensity Score", "ordinal": "Intensity Class"}


def read(task: Task, split: str, root: Path) -> tuple[checks.Rows, list[Path]]:
    """Rows in file order, emotion after emotion, and the files they came from.

    Test files come whole, with the Equity Evaluation Corpus sentences at their end.
    """
    rows, paths = [], []
    for emotion in task.emotions or (None,):
        part, suffix = f"-{emotion}" if emotion else "", "test-gold" if split == "test" else split
        name = f"{task.stem}-En{part}-{suffix}.txt"
        paths.append(checks.find(root, name, f"2018-{name}"))
        rows += _read_file(paths[-1], task, emotion)
    return rows, paths


def _read_file(path: Path, task: Task, emotion: str | None) -> checks.Rows:
    header, lines = _read_lines(path, task)
    rows, seen = [], {}
    for number, line in enumerate(lines, start=2):
        where = f"{path}:{number}"
        row = checks.split_fields(line, header, where)
        text = checks.check_row(row["ID"], row["Tweet"], seen, where)
        expected, found = emotion or "valence", row.get("Affect Dimension")
        if found not in (None, expected):  # E-c files have no such column
            raise DataError(
                f"{where}: Affect Dimension {found!r}, expected {expected!r} in this file"
            )
        rows.append((row["ID"], emotion, text, _read_gold(row, task, emotion, where)))
    return rows


def _read_lines(path: Path, task: Task) -> tuple[list[str], list[str]]:
    lines = checks.read_text(path).split("\n")
    header = lines[0].split("\t")
    own = task.labels or ("Affect Dimension", _COLUMNS[task.kind])
    checks.check_columns(("ID", "Tweet", *own), header, path)
    if lines[-1]:
        raise DataError(
            f"{path}:{len(lines)}: the last line has no line break, so the file looks truncated:"
            " fetch it again (if it is whole, end it with a line break)"
        )
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
