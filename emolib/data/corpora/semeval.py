"""SemEval-2018 Task 1, Affect in Tweets, English (Mohammad et al. 2018).

Five sub-tasks, a file per split (and emotion), tab-separated with a header row.
"""

from pathlib import Path

import pandas as pd

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import NEUTRAL, Task, describe_class

_SUFFIX = {"train": "train", "dev": "dev", "test": "test-gold"}
EQUITY = "mystery"  # in the ids of Equity Evaluation Corpus sentences


def read(task: Task, split: str, root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Rows in file order, emotion after emotion, and the files they came from.

    Test files come whole, with the Equity Evaluation Corpus sentences at their end.
    """
    frames, paths = [], []
    for emotion in task.emotions or (None,):
        paths.append(_find(root, task, split, emotion))
        frames.append(_read_file(paths[-1], task, split, emotion))
    return pd.concat(frames, ignore_index=True), paths


def _find(root: Path, task: Task, split: str, emotion: str | None) -> Path:
    part = f"-{emotion}" if emotion else ""
    name = f"{task.stem}-En{part}-{_SUFFIX[split]}.txt"
    return checks.find(root, (name, f"2018-{name}"))


def _read_file(path: Path, task: Task, split: str, emotion: str | None) -> pd.DataFrame:
    header, lines = _read_lines(path, task)
    rows, seen = [], {}
    for number, line in enumerate(lines, start=2):
        row = checks.split_fields(line, header, f"{path}:{number}")
        checks.check_row(row["ID"], row["Tweet"], seen, path, number)
        _check_dimension(row, emotion, f"{path}:{number}")
        gold = _read_gold(row, task, emotion, f"{path}:{number}")
        rows.append((row["ID"], task.name, emotion, row["Tweet"].strip(), gold, split))
    return pd.DataFrame(rows, columns=checks.COLUMNS).astype({"emotion": object})


def _read_lines(path: Path, task: Task) -> tuple[list[str], list[str]]:
    lines = checks.read_text(path).split("\n")  # splitlines() also cuts at U+2028
    header, wanted = lines[0].split("\t"), _columns(task)
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"{path}:1: no column {', '.join(missing)} (found: {', '.join(header)})"
        )
    if lines[-1]:
        raise DataError(
            f"{path}:{len(lines)}: the last line has no line break, so the file looks"
            " truncated: fetch it again (if it is whole, end it with a line break)"
        )
    if len(lines) < 3:
        raise DataError(f"{path}:1: a header and no rows: the file is truncated")
    return header, lines[1:-1]


def _columns(task: Task) -> tuple[str, ...]:
    if task.kind == "labels":
        return ("ID", "Tweet", *task.labels)
    gold = "Intensity Score" if task.kind == "score" else "Intensity Class"
    return ("ID", "Tweet", "Affect Dimension", gold)


def _check_dimension(row: dict, emotion: str | None, where: str) -> None:
    expected, found = emotion or "valence", row.get("Affect Dimension")
    if found not in (None, expected):  # E-c files have no such column
        raise DataError(
            f"{where}: Affect Dimension {found!r}, expected {expected!r} in this file"
        )


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
