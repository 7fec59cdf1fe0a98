"""How annotated rows are laid out in a file: a row per text or sentence, wide, long or labels."""

from typing import get_args

import numpy as np
import pandas as pd

from emolib import DataError, runs
from emolib.annotation.columns import REMARKS
from emolib.annotation.sentences import KEYS, aggregate, rename
from emolib.annotation.settings import FileSettings, Layout, Unit
from emolib.tasks import TASKS

NO_LABELS = "neutral"  # what the column `labels` holds where no label applies
BESIDE = ("confidence", "low", "high")  # what may stand beside a value


def check(files: FileSettings, columns: list[str]) -> None:
    """DataError where `files` asks for what is not, or what values in `columns` cannot be."""
    choices = {"unit": get_args(Unit), "output_columns": get_args(Layout), "aggregate": ("mean",)}
    runs.read_settings(FileSettings, vars(files), "file", choices=choices)
    labels = files.output_columns == "labels"
    problems = {
        "aggregate: takes unit sentence": files.aggregate and files.unit != "sentence",
        "aggregate: coverage is that of a sentence's interval, not of a mean's: leave one out": (
            files.aggregate and any(name.endswith("_low") for name in columns)
        ),
        "output_columns labels: takes the task E-c": labels and "has_joy" not in columns,
        "output_columns labels: aggregate gives shares of labels: leave one out": (
            labels and files.aggregate
        ),
    }
    if found := [problem for problem, is_so in problems.items() if is_so]:
        raise DataError(found[0])


def list_added(files: FileSettings, columns: list[str]) -> list[str]:
    """Names of the columns beside the source's; `columns`: those of the annotator's values."""
    names = list(KEYS) if files.unit == "sentence" else []
    if files.aggregate:
        names, columns = ["sentences"], [rename(name) for name in columns]
    if files.output_columns == "long":
        beside = [x for x in BESIDE if any(name.endswith(f"_{x}") for name in columns)]
        names, columns = list(dict.fromkeys(["text_row", *names])), ["measure", "value", *beside]
    if files.output_columns == "labels":
        columns = ["labels"]
    return [*names, *columns, *REMARKS]


def lay_out(frame: pd.DataFrame, part: pd.DataFrame, first: int, files) -> pd.DataFrame:
    """The source's rows with their values beside them, in rows and columns as `files` says.

    `part`: the annotator's columns for each row of `frame`, and `split`'s if sentences are wanted.
    `first`: the first row's number in the source, from 1.
    """
    if files.aggregate:
        part = aggregate(part)
    values = [name for name in part if name not in (*KEYS, "sentences", *REMARKS)]
    rows = part.get("text_row", pd.Series(range(first, first + len(frame))))
    added = list_added(files, values)
    if "text_row" in added:
        part = part.assign(text_row=rows)
    else:  # the source may have a column of that name
        part = part.drop(columns="text_row", errors="ignore")
    table = pd.concat([frame.iloc[rows - first].reset_index(drop=True), part], axis=1)
    if files.output_columns == "labels":
        table["labels"] = _join_labels(part)
    if files.output_columns == "long":
        table = _make_long(table, values, [name for name in added if name in BESIDE])
    return table[[*frame, *added]]


def read_notes(table: pd.DataFrame, files: FileSettings) -> pd.Series:
    """`lay_out`'s notes, each once for a text or sentence, in however many rows it is."""
    long = files.output_columns == "long" and len(table)
    return table["note"].iloc[:: table["measure"].nunique() if long else 1]


def _join_labels(part: pd.DataFrame) -> pd.Series:
    labels = TASKS["E-c"].labels
    has = part[[f"has_{label}" for label in labels]]
    joined = [
        "; ".join(label for label, is_so in zip(labels, row, strict=True) if is_so) or NO_LABELS
        for row in has.fillna(False).to_numpy(dtype=bool)
    ]
    return pd.Series(joined, dtype="str").where(has.notna().all(axis=1))


def _make_long(table: pd.DataFrame, values: list[str], beside: list[str]) -> pd.DataFrame:
    """A row per row of `table` and measure, in this order."""
    measures = [name for name in values if name.rsplit("_", 1)[-1] not in BESIDE]
    rows = table.drop(columns=values).loc[np.repeat(table.index, len(measures))]
    rows = rows.reset_index(drop=True)
    rows["measure"] = pd.Series(measures * len(table), dtype="str")
    for name in ("value", *beside):
        columns = [m if name == "value" else f"{m}_{name}" for m in measures]
        rows[name] = table.reindex(columns=columns).astype("float64").to_numpy().ravel()
    return rows
