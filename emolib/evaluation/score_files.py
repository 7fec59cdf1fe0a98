"""Scores, the paper's and ours, checked and in one long frame: a row per number.

Columns `LONG`. `origin` is "published" or "ours"; `metric` is named as in `metrics.score`; `low`
and `high` bound our 95 % interval; `partial` marks a score on fewer items than the benchmark has.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from emolib import DataError, delimited, files, runs
from emolib.data.rows import Rows, to_dataset
from emolib.tasks import EMOTIONS, TASKS

PAPER = "papers/emollms_kdd2024"
REAL = ("official", "release")  # only scores on these data stand beside published ones
_ALL_R = ("pearson", *(f"pearson.{name}" for name in EMOTIONS))
COLUMNS = {  # of the paper's Tables 5 and 6: (task, metric), in print's order
    5: [(task, metric) for task in ("EI-reg", "EI-oc") for metric in _ALL_R]
    + [("V-reg", "pearson"), ("V-oc", "pearson")]
    # Two columns: what the paper prints as accuracy is no Jaccard index (notes.md).
    + [("E-c", metric) for metric in ("accuracy", "jaccard", "f1_micro", "f1_macro")],
    6: [(f"V-{name}", "pearson") for name in ("A", "M", "NYT", "T")]
    + [("SST", "pearson"), *((f"EmoBank-{letter}", "pearson") for letter in "VAD")]
    + [(t, m) for t in ("GoEmotions", "SST5", "TDT") for m in ("accuracy", "f1_macro")],
}
_KEY, _NUMBERS = ["model", "task", "metric"], ["value", "low", "high", "n"]
LONG = ["origin", "model", "kind", "task", "metric", *_NUMBERS, "partial"]
_SETTINGS = ("quantization", "decoding", "weights", "adapter_weights")
_KINDS = {"base": "zero-shot", "few-shot": "few-shot", "tuned": "instruction-tuned on AAID"}
_SPELLED = {"smollm2-135m": "SmolLM2-135M"}


def read_published(number: int, folder: str | Path = PAPER) -> pd.DataFrame:
    """The numbers of the paper's Table 5 or 6, columns `LONG`.

    `low`, `high` and `n` are NaN: the paper prints neither intervals nor counts. A cell that is a
    dash in print is no row. DataError names file, line and column.
    """
    path, about = files.place(folder) / f"table{number}.csv", ["model", "kind", "source", "where"]
    wide = read_csv(path, about[:3])
    known = {f"{task}.{metric}": (task, metric) for task, metric in COLUMNS[number]}
    odd = [name for name in wide if name not in (*known, *about)]
    if odd:
        raise DataError(f"{path}:1: column {odd[0]!r} is none of Table {number}'s")
    long = wide.melt(about, var_name="column").dropna(subset=["value"])
    long[["task", "metric"]] = [known[name] for name in long["column"]]
    long = _check(long, ["value"]).assign(low=np.nan, high=np.nan, n=np.nan)
    return long.assign(origin="published", partial=False)[LONG].reset_index(drop=True)


def read_ours(*folders: str | Path) -> pd.DataFrame:
    """Our scores from every `*_scores.csv` in the folders, columns `LONG`.

    Of two files with one name the later folder's is read, so that a rerun replaces the committed
    one. Rows whose `data` is not in `REAL`, above all the bundled sample's, are left out. `model`
    comes as it is to be shown: "base" and "tuned" say of what and in which run, other names say
    the run where several runs share them. DataError names file, line and column of anything
    missing, NaN, unknown or double.
    """
    found = [path for one in map(files.place, folders) for path in one.glob("*_scores.csv")]
    paths = {path.name: path for path in found}
    parts = [_read_scores(path) for _, path in sorted(paths.items())]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=LONG)
    found = _name(pd.concat(parts, ignore_index=True))
    _refuse_twice(found)
    most = found.groupby(["model", "task"])["n"].transform("max")  # not an emotion's
    whole = found["task"].map({task.name: task.items for task in TASKS.values()})
    return found.assign(origin="ours", partial=most < whole)[LONG].reset_index(drop=True)


def read_csv(path: Path, needed: list[str]) -> pd.DataFrame:
    """A CSV file with a column `where` (file:line).

    DataError if it is not there, unreadable or lacks a column.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            for _ in delimited.read_rows(file, path, advice="write it anew"):
                pass  # pandas would lose rows after a lone quotation mark
        frame = pd.read_csv(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except ValueError as error:  # empty, or lines of different length
        raise DataError(f"{path}: not readable CSV ({error})") from None
    missing = [name for name in needed if name not in frame]
    if missing:
        raise DataError(f"{path}:1: no column {', '.join(missing)}")
    return frame.assign(where=[f"{path}:{line}" for line in range(2, len(frame) + 2)])


def refuse(table: pd.DataFrame, faults: dict[str, pd.Series]) -> None:
    """DataError names the first row that has a fault, by its column `where`.

    `faults`: what is wrong, which may name columns in braces, to a mask over the rows.
    """
    for reason, wrong in faults.items():
        for row in table[wrong].head(1).to_dict("records"):
            raise DataError(f"{row['where']}: {reason.format(**row)}")


def _read_scores(path: Path) -> pd.DataFrame:
    frame = read_csv(path, [*_KEY, *_NUMBERS, "data"])
    for name in ("kind", "base", "run"):
        frame[name] = frame[name].fillna("") if name in frame else ""
    frame["run"] = frame["run"].replace("", path.name.removesuffix("_scores.csv"))
    checked = _check(frame, _NUMBERS)
    return checked[checked["data"].isin(REAL)]


def _check(frame: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    """The frame, its numbers as numbers; DataError names the first bad row."""
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce")
    faults = {f"column {name} holds no number": ~np.isfinite(frame[name]) for name in numbers}
    unknown = f"column task: no task {{task!r}}; the tasks are {', '.join(TASKS)}"
    faults[unknown] = ~frame["task"].isin(TASKS)
    faults["column value: {value} is no score"] = ~frame["value"].between(-1, 1)
    refuse(frame, faults)
    _refuse_twice(frame)
    return frame


def _refuse_twice(frame: pd.DataFrame) -> None:
    key = [name for name in (*_KEY, "data", "run") if name in frame]
    reason = f"a second {{metric}} of {{model}} on {{task}} (columns {', '.join(_KEY)})"
    refuse(frame, {reason: frame.duplicated(key)})


def _name(found: pd.DataFrame) -> pd.DataFrame:
    """`model` as a reader needs it, and `kind` where the file says none."""
    own = found["model"].isin(list(_KINDS))
    bases = found["base"].str.split("/").str[-1].replace(_SPELLED)
    names = bases + ", " + found["model"].replace({"base": "zero-shot"})
    names = names.where(own, found["model"])
    shared = found.assign(name=names).groupby("name")["run"].transform("nunique") > 1
    names = names.where(~(own | shared), names + " (" + found["run"] + ")")
    kinds = found["kind"].mask(found["kind"] == "", found["model"].map(_KINDS))
    return found.assign(model=names, kind=kinds.fillna(""))


def write(
    table: pd.DataFrame, path: str | Path, rows: Rows, folders: dict[str, Path], **columns
) -> None:
    """A `metrics.tabulate` table as a score file, every row with where it comes from.

    `rows`: the benchmark, whose hash is kept. `folders`: model -> the run folder with its answers;
    a model without one (a lexicon) predicted just now. `columns` are set in every row: data,
    items, run, seed. Written whole or not at all.
    """
    here, origins = runs.provenance(), {}
    for model in table["model"].unique():
        record = runs.read(folders[model]) if model in folders else here
        settings = record.get("settings", {})
        about = {name: settings.get(name) or "" for name in _SETTINGS}
        about |= {"commit": record["commit"], "made": record["made"]}
        origins[model] = {"base": settings.get("model", "")} | about
    whole = table.assign(**columns, rows_sha256=files.hash_rows(to_dataset(rows))[:16])
    files.write_csv(path, whole.join(pd.DataFrame.from_dict(origins, "index"), on="model"))
