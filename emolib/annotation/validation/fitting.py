"""Scales, cut points and thresholds fitted to somebody's own ratings, and kept in a JSON file.

What is fitted is little, as a few hundred ratings carry no more: a straight line for a score, cut
points on its score for a class, a threshold for a label. A fit is taken only where it beats the
tool's own answer on ratings that it did not see.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from emolib import DataError, files
from emolib.annotation.validation import agreement

FOLDS = 10
_INNER = 5
_LEAST = 20  # ratings, below which nothing is fitted
_BETTER = {"score": "absolute_error", "class": "qwk", "label": "f1"}
PARTS = ("scores", "classes", "labels")


def fit(kind: str, gold: np.ndarray, raw: np.ndarray, own: np.ndarray, classes: int = 0):
    """What turns `raw` into `gold`: a list of numbers, or None where `own` is as good.

    "score": slope and intercept from the score `raw`. "class": cut points on it, as many as
    `classes` but one, that give as many texts to each class as the raters do. "label": the least
    probability `raw` that counts, the one of the best F1. `own`: the tool's answer without a fit;
    it is kept unless the fit is better in cross-validation (5 folds), by F1, by quadratic weighted
    kappa, or by the mean absolute error.
    """
    if len(gold) < _LEAST or np.ptp(gold) == 0 or np.ptp(raw) == 0:
        return None
    tried = np.empty(len(gold))
    for train, held_out in _cut(gold, _INNER):
        found = _fit(kind, gold[train], raw[train], classes)
        tried[held_out] = apply_one(kind, found, raw[held_out])
    name = _BETTER[kind]
    sign = -1 if name == "absolute_error" else 1
    value, before = (sign * agreement.measure(kind, gold, x)[name] for x in (tried, own))
    worth = value > before or (np.isnan(before) and not np.isnan(value))
    return _fit(kind, gold, raw, classes) if worth else None


def predict_unseen(
    kind: str, gold: np.ndarray, raw: np.ndarray, own: np.ndarray, classes: int = 0
) -> np.ndarray:
    """What a fit says of each text, made from the others (10 folds, choices of `fit` within).

    Measured on it, a fit's figures are those of texts that it never saw.
    """
    found = np.array(own, dtype=float)
    if len(gold) >= _LEAST:
        for train, held_out in _cut(gold, FOLDS):
            fitted = fit(kind, gold[train], raw[train], own[train], classes)
            if fitted is not None:
                found[held_out] = apply_one(kind, fitted, raw[held_out])
    return found


def _cut(gold: np.ndarray, folds: int):
    return KFold(folds, shuffle=True, random_state=0).split(gold)


def _fit(kind: str, gold: np.ndarray, raw: np.ndarray, classes: int) -> list[float]:
    if kind == "score":
        if np.ptp(raw) == 0:
            return [0.0, float(gold.mean())]
        return [float(each) for each in np.polyfit(raw, gold, 1)]
    if kind == "class":
        shares = [(gold < each).mean() for each in range(1, classes)]
        return [float(each) for each in np.quantile(raw, shares)]
    grid = np.unique(raw.round(4))
    grid = np.quantile(grid, np.linspace(0, 1, min(len(grid), 100)), method="nearest")
    values = agreement.measure("label", np.tile(gold, (len(grid), 1)), raw >= grid[:, None])["f1"]
    best = np.flatnonzero(values >= np.nan_to_num(values).max() - 1e-12)
    return [float(grid[best[len(best) // 2]])]


def apply_one(kind: str, fitted: list[float], raw: np.ndarray) -> np.ndarray:
    """The values that a fit makes of `raw`: scores in [0, 1], classes from 0, labels 0 or 1."""
    if kind == "score":
        return np.clip(fitted[0] * raw + fitted[1], 0, 1)
    if kind == "class":
        return np.searchsorted(fitted, raw, side="right").astype(float)
    return (raw >= fitted[0]).astype(float)


def apply(table: pd.DataFrame, fits: Mapping) -> pd.DataFrame:
    """`annotate`'s columns after the fits that `write` keeps.

    Scores lie on the raters' own scale, whose ends are 0 and 1. A class's confidence is missing
    afterwards: it was that of the answer before.
    """
    table = table.copy()
    raw = {name: find_raw(table, name) for part in PARTS for name in fits[part]}
    for name, fitted in fits["scores"].items():
        table[name] = apply_one("score", fitted, raw[name])
    for name, fitted in fits["classes"].items():
        first = -3 if name == "valence_class" else 0
        table[name] = apply_one("class", fitted, raw[name]) + first
        table.loc[raw[name].isna(), name] = np.nan
        table[f"{name}_confidence"] = np.nan
    for name, fitted in fits["labels"].items():
        chosen = apply_one("label", fitted, raw[name])
        table[f"{name}_confidence"] = np.where(chosen == 1, raw[name], 1 - raw[name])
        table[name] = np.where(raw[name].isna(), np.nan, chosen)
    return table


def read_column(table: pd.DataFrame, name: str) -> pd.Series:
    """A column of `annotate` as floats, true as 1; from a CSV too, where all are texts."""
    words = {"True": 1, "true": 1, "False": 0, "false": 0}
    column = table[name]
    if column.dtype == object or column.dtype == "str":
        column = column.map(lambda value: words.get(value, value))
    return pd.to_numeric(column, errors="coerce").astype(float)


def find_raw(table: pd.DataFrame, column: str) -> pd.Series | None:
    """What a fit for `column` starts from: a score, or a label's probability, in [0, 1].

    None where the table lacks it.
    """
    score = {"valence_class": "valence"}.get(column, column.replace("_class", "_intensity"))
    needed = [column, f"{column}_confidence"] if column[:4] == "has_" else [score]
    if not all(name in table for name in needed):
        return None
    if column[:4] != "has_":
        return read_column(table, score)
    said, sure = (read_column(table, name) for name in needed)
    return sure.where(said == 1, 1 - sure).where(said.notna())


def write(path: str | Path, fits: Mapping, **about) -> None:
    """Keeps fits as JSON: scores, classes, labels, each column to its numbers; and `about`."""
    files.write_json(path, {**{part: fits.get(part, {}) for part in PARTS}, "about": about})


def read(path: str | Path, columns: Collection[str]) -> dict:
    """Fits that `write` kept, to be applied to a table with `columns`.

    DataError for another file, and where a column that is fitted, or what it starts from, lacks.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        fits = {part: {k: [*map(float, v)] for k, v in record[part].items()} for part in PARTS}
        fits["about"] = dict(record["about"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        hint = "expected what `emolib validate --fit` wrote"
        raise DataError(f"{path}: no calibration ({error!r}): {hint}") from None
    fitted, empty = (name for part in PARTS for name in fits[part]), pd.DataFrame(columns=columns)
    if absent := [x for x in fitted if x not in columns or find_raw(empty, x) is None]:
        raise DataError(
            f"{path}: fitted for {', '.join(absent)}: these tasks do not give what it needs"
        )
    return fits
