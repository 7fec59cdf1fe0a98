"""Raw corpora in, tidy rows out: SemEval-2018 Task 1 (Affect in Tweets), English.

Three places to read from, by the argument `data`: "official" (the folder named by the
environment variable EMOLIB_DATA, else the publisher's archive), "sample" (the small
corpus bundled with this package) or any folder that holds files in the same format.
"""

import hashlib
import json
import os
import re
from functools import cache
from importlib import resources
from pathlib import Path

import pandas as pd
import pooch

from emolib import DataError
from emolib.tasks import NEUTRAL, SPLITS, Task, describe_class, get

COLUMNS = ["id", "task", "emotion", "text", "gold", "split"]
ARCHIVE = "https://saifmohammad.com/WebDocs/AIT-2018/AIT2018-DATA/SemEval2018-Task1-all-data.zip"
# As recorded for this address by the `datasets` project's sem_eval_2018_task_1 loader.
ARCHIVE_SHA256 = "8979a6ca0bd259ef375a44d812fd434efa799c66bc377e25cda599aa767640eb"
_SUFFIX = {"train": "train", "dev": "dev", "test": "test-gold"}
_EQUITY = "mystery"  # in the ids of Equity Evaluation Corpus sentences


def read(task: str, split: str, data: str | Path = "official") -> pd.DataFrame:
    """Rows of one task and split, in file order: id, task, emotion, text, gold, split.

    `gold` is a string as the corpus writes it ("0.562", "2: moderate amount of joy can
    be inferred"); for E-c the emotions present, comma-separated in the corpus's order,
    or the neutral answer. `emotion` is None where a task has none. Emotions follow one
    another in the order of `Task.emotions`. The Equity Evaluation Corpus sentences in
    the test files are left out (`read_equity` gives them). Rows of "official" data are
    held against known counts and content hashes, whatever the files are called.

    Raises DataError, with file and line, for anything malformed.
    """
    rows, paths = _read_all(get(task), split, data)
    frame = rows[~rows["id"].str.contains(_EQUITY)].reset_index(drop=True)
    if str(data) == "official":
        _verify(frame, task, split, paths)
    return frame


def read_equity(task: str, data: str | Path = "official") -> pd.DataFrame:
    """The Equity Evaluation Corpus sentences inside the test files of EI-reg and V-reg.

    Columns as `read` gives them; `gold` means nothing there (0.000 throughout). Real
    data hold 16,937 sentences per emotion. Kiritchenko and Mohammad (2018) made them to
    measure gender and race bias; they are never test items.
    """
    rows, _ = _read_all(get(task), "test", data)
    return rows[rows["id"].str.contains(_EQUITY)].reset_index(drop=True)


def locate(data: str | Path = "official") -> Path:
    """The folder that `data` stands for; downloads the publisher's archive if it must.

    Raises DataError that says both ways to the official data when neither works.
    """
    if str(data) == "sample":
        return Path(str(resources.files("emolib") / "sample"))
    if str(data) != "official":
        if not Path(data).is_dir():
            raise DataError(f"{data}: no such folder (data is official, sample or one)")
        return Path(data)
    named = os.environ.get("EMOLIB_DATA")
    if named:
        if not Path(named).is_dir():
            raise DataError(f"EMOLIB_DATA names {named}, which is not a folder")
        return Path(named)
    return _download()


def hash_rows(frame: pd.DataFrame) -> str:
    """SHA-256 over id, emotion, text (white space folded) and gold, in row order."""
    digest = hashlib.sha256()
    for row in frame[["id", "emotion", "text", "gold"]].itertuples(index=False):
        text = " ".join(row.text.split())
        digest.update(f"{row.id}\t{row.emotion or ''}\t{text}\t{row.gold}\n".encode())
    return digest.hexdigest()


def _download() -> Path:
    folder = pooch.os_cache("emolib") / "semeval2018"
    try:
        pooch.retrieve(
            ARCHIVE,
            known_hash=f"sha256:{ARCHIVE_SHA256}",
            path=folder,
            fname="SemEval2018-Task1-all-data.zip",
            processor=pooch.Unzip(extract_dir="English"),
            progressbar=True,
        )
    except Exception as error:  # pooch passes on whatever the network library raised
        raise DataError(
            "no SemEval-2018 Task 1 data. Either set EMOLIB_DATA to a folder that holds"
            f" the publisher's files, or let this machine reach {ARCHIVE}"
            f" (tried now, {type(error).__name__}: {str(error)[:200]})"
        ) from None
    return folder / "English"


def _read_all(task: Task, split: str, data: str | Path):
    if split not in SPLITS:
        raise DataError(f"no split {split!r}: the splits are {', '.join(SPLITS)}")
    root = locate(data)
    frames, paths = [], []
    for emotion in task.emotions or (None,):
        paths.append(_find(root, task, split, emotion))
        frames.append(_read_file(paths[-1], task, split, emotion))
    return pd.concat(frames, ignore_index=True), paths


def _find(root: Path, task: Task, split: str, emotion: str | None) -> Path:
    part = f"-{emotion}" if emotion else ""
    name = f"{task.stem}-En{part}-{_SUFFIX[split]}.txt"
    found = sorted(
        p for p in root.rglob(f"*{name}") if p.name in (name, f"2018-{name}")
    )
    if not found:
        raise DataError(f"{root}: no file {name} (or 2018-{name}) in any folder of it")
    if len({path.read_bytes() for path in found}) > 1:
        raise DataError(f"{root}: these differ, keep one: {', '.join(map(str, found))}")
    return found[0]


def _read_file(path: Path, task: Task, split: str, emotion: str | None) -> pd.DataFrame:
    header, lines = _read_lines(path, task)
    rows, seen = [], {}
    for number, line in enumerate(lines, start=2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: {len(fields)} tab-separated fields, expected"
                f" {len(header)} ({', '.join(header)})"
            )
        row = dict(zip(header, fields, strict=True))
        _check_row(row, seen, path, number)
        _check_dimension(row, emotion, f"{path}:{number}")
        gold = _read_gold(row, task, emotion, f"{path}:{number}")
        rows.append((row["ID"], task.name, emotion, row["Tweet"].strip(), gold, split))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"emotion": object})


def _read_lines(path: Path, task: Task) -> tuple[list[str], list[str]]:
    raw = path.read_bytes()
    if raw.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(f"{path}:1: an HTML page, not the corpus: download it again")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8, which this file"
            " must be: take the publisher's original file"
        ) from None
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines() also cuts at U+2028
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


def _check_row(row: dict, seen: dict, path: Path, number: int) -> None:
    if not row["Tweet"].strip():
        raise DataError(f"{path}:{number}: the text of {row['ID']!r} is empty")
    if not row["ID"].strip():
        raise DataError(f"{path}:{number}: the id is empty")
    first = seen.setdefault(row["ID"], number)
    if first != number:
        raise DataError(
            f"{path}:{number}: id {row['ID']!r} again, first on line {first};"
            " an id stands once in a split"
        )


def _check_dimension(row: dict, emotion: str | None, where: str) -> None:
    expected, found = emotion or "valence", row.get("Affect Dimension")
    if found not in (None, expected):  # E-c files have no such column
        raise DataError(
            f"{where}: Affect Dimension {found!r}, expected {expected!r} in this file"
        )


def _read_gold(row: dict, task: Task, emotion: str | None, where: str) -> str:
    if task.kind == "score":
        return _read_score(row["Intensity Score"], task.range, where)
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


def _read_score(text: str, allowed: tuple[float, float], where: str) -> str:
    low, high = allowed
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise DataError(f"{where}: score {text!r} is not a number")
    if not low <= float(text) <= high:
        raise DataError(f"{where}: score {text} is outside [{low:g}, {high:g}]")
    return text


@cache
def _known() -> dict:
    return json.loads((resources.files("emolib") / "corpora.json").read_text("utf-8"))


def _verify(frame: pd.DataFrame, task: str, split: str, paths: list[Path]) -> None:
    expected = get(task).sizes[split]
    files = ", ".join(map(str, paths))
    if len(frame) != expected:
        raise DataError(
            f"{files}: {len(frame)} rows, the official {task} {split} has {expected}:"
            " fetch the files again (data=<folder> reads other data unverified)"
        )
    if hash_rows(frame) != _known()["semeval2018"][f"{task}/{split}"]:
        raise DataError(
            f"{files}: as many rows as the official {task} {split}, other content:"
            " fetch the files again (data=<folder> reads other data unverified)"
        )
