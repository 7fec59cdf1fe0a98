"""Scores, the paper's and ours, checked and in one long frame: a row per number.

Columns `LONG`. `origin` is "published" or "ours"; `metric` is named as in
`metrics.score`; `low` and `high` bound our 95 % interval; `partial` marks a score on
fewer items than the benchmark has.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from emolib import DataError, files, runs
from emolib.tasks import EMOTIONS, TASKS

PAPER = "papers/emollms_kdd2024"
REAL = ("official", "release")  # only scores on these data stand beside published ones

_R, _ALL_R = ("pearson",), ("pearson", *(f"pearson.{name}" for name in EMOTIONS))
_TABLES = {
    5: {
        "EI-reg": _ALL_R,
        "EI-oc": _ALL_R,
        "V-reg": _R,
        "V-oc": _R,
        # Two columns: what the paper prints as accuracy is no Jaccard index (notes.md).
        "E-c": ("accuracy", "jaccard", "f1_micro", "f1_macro"),
    },
    6: dict.fromkeys(("V-A", "V-M", "V-NYT", "V-T", "SST"), _R)
    | {f"EmoBank-{letter}": _R for letter in "VAD"}
    | dict.fromkeys(("GoEmotions", "SST5", "TDT"), ("accuracy", "f1_macro")),
}
COLUMNS = {  # of the paper's Tables 5 and 6: (task, metric), in print's order
    number: [(task, metric) for task, metrics in tasks.items() for metric in metrics]
    for number, tasks in _TABLES.items()
}
_NUMBERS = ["value", "low", "high", "n"]
_KEY = ["model", "task", "metric"]
_SETTINGS = ("quantization", "decoding", "weights", "adapter_weights")
LONG = ["origin", "model", "kind", "task", "metric", *_NUMBERS, "partial"]
_KINDS = {
    "base": "zero-shot",
    "few-shot": "few-shot",
    "tuned": "instruction-tuned on AAID",
}
_SPELLED = {"smollm2-135m": "SmolLM2-135M"}


def read_published(number: int, folder: str | Path = PAPER) -> pd.DataFrame:
    """The numbers of the paper's Table 5 or 6, columns `LONG`.

    `low`, `high` and `n` are NaN: the paper prints neither intervals nor counts. A cell
    that is a dash in print is no row. DataError names file, line and column.
    """
    path = files.place(folder) / f"table{number}.csv"
    about = ["model", "kind", "source"]
    wide = read_csv(path, about)
    known = {f"{task}.{metric}": (task, metric) for task, metric in COLUMNS[number]}
    odd = [name for name in wide if name not in (*known, *about)]
    if odd:
        raise DataError(f"{path}:1: column {odd[0]!r} is none of Table {number}'s")
    wide["where"] = _locate(path, wide)
    long = wide.melt([*about, "where"], var_name="column").dropna(subset=["value"])
    pairs = [known[name] for name in long["column"]]
    long["task"], long["metric"] = [t for t, _ in pairs], [m for _, m in pairs]
    long = _check(long, ["value"]).assign(low=np.nan, high=np.nan, n=np.nan)
    long = long.assign(origin="published", partial=False)
    return long[LONG].reset_index(drop=True)


def read_ours(*folders: str | Path) -> pd.DataFrame:
    """Our scores from every `*_scores.csv` in the folders, columns `LONG`.

    Of two files with one name the later folder's is read, so that a rerun replaces the
    committed one. Rows whose `data` is not in `REAL`, above all those of the bundled
    sample, are left out. `model` comes as it is to be shown: "base" and "tuned" say of
    what and in which run, other names say the run where several runs share them.
    DataError names file, line and column of anything missing, NaN, unknown or double.
    """
    places = [files.place(folder) for folder in folders]
    paths = {path.name: path for one in places for path in one.glob("*_scores.csv")}
    parts = [_read_scores(path) for _, path in sorted(paths.items())]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=LONG)
    found = _name(pd.concat(parts, ignore_index=True))
    _refuse_twice(found)
    asked = found.groupby(["model", "task"])["n"].transform("max")  # not an emotion's
    whole = found["task"].map({task.name: task.items for task in TASKS.values()})
    found = found.assign(origin="ours", partial=asked < whole)
    return found[LONG].reset_index(drop=True)


def read_csv(path: Path, needed: list[str]) -> pd.DataFrame:
    """A CSV file; DataError if it is not there, unreadable or lacks a column."""
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except ValueError as error:  # empty, or lines of different length
        raise DataError(f"{path}: not readable CSV ({error})") from None
    missing = [name for name in needed if name not in frame]
    if missing:
        raise DataError(f"{path}:1: no column {', '.join(missing)}")
    return frame


def _read_scores(path: Path) -> pd.DataFrame:
    frame = read_csv(path, [*_KEY, *_NUMBERS, "data"])
    frame["where"] = _locate(path, frame)
    for name in ("kind", "base", "run"):
        frame[name] = frame[name].fillna("") if name in frame else ""
    file = path.name.removesuffix("_scores.csv")
    frame["run"] = frame["run"].replace("", file)
    checked = _check(frame, _NUMBERS)
    return checked[checked["data"].isin(REAL)]


def _locate(path: Path, frame: pd.DataFrame) -> list[str]:
    return [f"{path}:{line}" for line in range(2, len(frame) + 2)]


def _check(frame: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    """The frame, its numbers as numbers; DataError names the first bad row."""
    for name in numbers:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    for row in frame.to_dict("records"):
        for name in numbers:
            if not np.isfinite(row[name]):
                raise DataError(f"{row['where']}: column {name} holds no number")
        if row["task"] not in TASKS:
            raise DataError(
                f"{row['where']}: column task: no task {row['task']!r}; the tasks are"
                f" {', '.join(TASKS)}"
            )
        if not -1 <= row["value"] <= 1:
            raise DataError(f"{row['where']}: column value: {row['value']} is no score")
    _refuse_twice(frame)
    return frame


def _refuse_twice(frame: pd.DataFrame) -> None:
    keys = [name for name in (*_KEY, "data", "run") if name in frame]
    twice = frame[frame.duplicated(keys)]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(
            f"{row['where']}: a second {row['metric']} of {row['model']} on"
            f" {row['task']} (columns {', '.join(_KEY)})"
        )


def _name(found: pd.DataFrame) -> pd.DataFrame:
    """`model` as a reader needs it, and `kind` where the file says none."""
    own = found["model"].isin(list(_KINDS))
    bases = found["base"].str.split("/").str[-1].replace(_SPELLED)
    ways = found["model"].replace({"base": "zero-shot"})
    names = found["model"].where(~own, bases + ", " + ways)
    shared = found.assign(name=names).groupby("name")["run"].transform("nunique") > 1
    names = names.where(~(own | shared), names + " (" + found["run"] + ")")
    kinds = found["kind"].mask(found["kind"] == "", found["model"].map(_KINDS))
    return found.assign(model=names, kind=kinds.fillna(""))


def write(
    table: pd.DataFrame,
    path: str | Path,
    rows: Dataset,
    folders: dict[str, Path],
    **columns,
) -> None:
    """A `metrics.tabulate` table as a score file, every row with where it comes from.

    `rows`: the benchmark, whose hash is kept. `folders`: model -> the run folder with
    its answers; a model without one (a lexicon) was asked just now. `columns` are set
    in every row: data, items, run, seed. Written whole or not at all.
    """
    here, origins = runs.provenance(), []
    for model in table["model"].unique():
        record = runs.read(folders[model]) if model in folders else here
        settings = record.get("settings", {})
        origin = {name: settings.get(name) or "" for name in _SETTINGS}
        made = {"commit": record["commit"], "made": record["made"]}
        origins.append(
            {"model": model, "base": settings.get("model", "")} | origin | made
        )
    about = table.assign(**columns, rows_sha256=files.hash_rows(rows)[:16])
    about = about.merge(pd.DataFrame(origins), on="model", how="left", sort=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        about.to_csv(temporary, index=False, float_format="%.6f")
