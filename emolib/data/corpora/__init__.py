"""Raw corpora in, tidy rows out: the data behind AAID and AEB.

Three places to read from, by the argument `data`: "official" (the folder named by the environment
variable EMOLIB_DATA, else each corpus from its publisher), "sample" (the small corpora bundled with
this package) or any folder that holds files in the publishers' formats, in any sub-folders.
"""

import hashlib
import json
import os
from functools import cache
from importlib import resources
from pathlib import Path

import pandas as pd

from emolib import DataError
from emolib.data.corpora import (
    brighter,
    checks,
    download,
    emobank,
    goemotions,
    semeval,
    semeval2026,
    sst,
    tdt,
    vader,
)
from emolib.tasks import Task, get

COLUMNS = ["id", "task", "emotion", "text", "gold", "split"]
_READERS = {"semeval2018": semeval, "vader": vader, "emobank": emobank, "sst": sst, "tdt": tdt}
_READERS |= {"goemotions": goemotions, "brighter": brighter, "semeval2026task2": semeval2026}


def read(task: str, split: str, data: str | Path = "official") -> pd.DataFrame:
    """Rows of one task and split, in file order: id, task, emotion, text, gold, split.

    `gold` is a string as the corpus writes it ("0.562", "2: moderate amount of joy can be
    inferred"); for label tasks the labels present, comma-separated, or E-c's neutral answer.
    `emotion` is None where a task has none. Emotions follow one another in the order of
    `Task.emotions`. The Equity Evaluation Corpus sentences in SemEval's test files are left out
    (`read_equity` gives them). VADER's sets are read whole; the benchmark draws from them. Rows of
    "official" data are held against known counts and content hashes, whatever the files are called
    (SST's train and dev split are only counted: no copy was at hand to take a hash of).

    Raises DataError, with file and line, for anything malformed, and for a split that is not there.
    """
    rows, paths = _read_all(get(task), split, data)
    frame = rows[~rows["id"].str.contains(semeval.EQUITY)].reset_index(drop=True)
    if str(data) == "official":
        _verify(frame, get(task), split, paths)
    return frame


def read_equity(task: str, data: str | Path = "official") -> pd.DataFrame:
    """The Equity Evaluation Corpus sentences inside the test files of EI-reg and V-reg.

    Columns as `read` gives them; `gold` means nothing there (0.000 throughout). Real data hold
    16,937 sentences per emotion. Kiritchenko and Mohammad (2018) made them to measure gender and
    race bias; they are never test items.
    """
    rows, _ = _read_all(get(task), "test", data)
    return rows[rows["id"].str.contains(semeval.EQUITY)].reset_index(drop=True)


def read_raters(task: str, data: str | Path = "official") -> pd.DataFrame:
    """The twenty ratings behind each gold score of one of VADER's sets, see `vader.read_raters`.

    Fetched through pip where the folder holds the means alone. DataError for another corpus.
    """
    chosen = get(task)
    if chosen.corpus != "vader":
        raise DataError(f"{task}: the raters' own scores are at hand for V-A, V-M, V-NYT and V-T")
    folder = locate(data, "vader")
    if not list(folder.rglob("*_anonDataRatings.txt")):
        folder = download.fetch("vader")
    return vader.read_raters(chosen, checks.Folder(folder))


def locate(data: str | Path = "official", corpus: str = "semeval2018") -> Path:
    """The folder to look for a corpus in; downloads it from its publisher if it must.

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
        if corpus != "vader" or list(Path(named).rglob("*_GroundTruth.txt")):
            return Path(named)
    return download.fetch(corpus)


def hash_rows(frame: pd.DataFrame) -> str:
    """SHA-256 over id, emotion, text (white space folded) and gold, in row order."""
    digest = hashlib.sha256()
    for row in frame[["id", "emotion", "text", "gold"]].itertuples(index=False):
        text = " ".join(row.text.split())
        digest.update(f"{row.id}\t{row.emotion or ''}\t{text}\t{row.gold}\n".encode())
    return digest.hexdigest()


def _read_all(task: Task, split: str, data: str | Path):
    if split not in task.sizes:
        raise DataError(f"{task.name}: no split {split!r}: the splits are {', '.join(task.sizes)}")
    folder = checks.Folder(locate(data, task.corpus))
    rows = list(checks.check_rows(_READERS[task.corpus].read(task, split, folder)))
    if not rows:
        raise DataError(f"{folder.paths[0]}: no rows of {task.name}'s {split} split")
    frame = pd.DataFrame(rows, columns=["id", "emotion", "text", "gold"])
    frame = frame.assign(task=task.name, split=split)[COLUMNS]
    return frame.astype({"emotion": object}), folder.paths


@cache
def _known() -> dict:
    return json.loads((resources.files("emolib.data.corpora") / "known.json").read_text("utf-8"))


def _verify(frame: pd.DataFrame, task: Task, split: str, paths: list[Path]) -> None:
    files, name = ", ".join(map(str, paths)), f"{task.name}/{split}"
    wrong = None
    if len(frame) != task.sizes[split]:
        wrong = f"{len(frame)} rows, the official {name} has {task.sizes[split]}"
    elif (known := _known()[task.corpus].get(name)) and hash_rows(frame) not in known:
        wrong = f"as many rows as the official {name}, other content"
    if wrong:
        hint = "fetch the files again (data=<folder> reads other data unverified)"
        raise DataError(f"{files}: {wrong}: {hint}")
