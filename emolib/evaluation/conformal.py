"""Intervals and sets of classes that contain gold as often as they promise.

Split-conformal prediction (Vovk et al. 2005): fitted on development judgements with gold, see
`judgements` for the frames. The promise holds on average over texts like those of the development
sets, not for a given text, nor for texts of another kind.
"""

import numpy as np
import pandas as pd

from emolib.evaluation.judgements import group, name_part, stack
from emolib.tasks import get

LEVELS = (0.8, 0.9, 0.95)
_KEY = ["task", "emotion"]
_NAMES = [*_KEY, "level", "n", "coverage", "width"]


def find_quantile(residuals: np.ndarray, level: float) -> float:
    """The conformal quantile: what a new residual exceeds in at most 1 - level cases.

    >>> find_quantile(np.arange(1, 20) / 10, 0.9)
    1.8
    """
    place = int(np.ceil((len(residuals) + 1) * level)) - 1
    return float(np.sort(residuals)[min(place, len(residuals) - 1)])


def fit_widths(dev: pd.DataFrame, levels=LEVELS) -> pd.DataFrame:
    """Half widths of conformal intervals around a score's mean, in the corpus's range.

    Columns task, emotion, level, half_width; fitted per task and emotion. A level that so few items
    cannot promise (0.95 takes 20) is left out.
    """
    found = []
    for rows in group(dev, "score", sort=False).values():
        residuals = (rows["gold"] - rows["mean"]).abs().to_numpy(dtype=float)
        for level in _choose_levels(levels, rows):
            found.append((*rows[_KEY].iloc[0], level, find_quantile(residuals, level)))
    return pd.DataFrame(found, columns=["task", "emotion", "level", "half_width"])


def list_widths(widths: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Half widths as `decision_rules` keeps them: by task and emotion, then level."""
    found: dict = {}
    for row in widths.itertuples():
        levels = found.setdefault(name_part(row.task, row.emotion), {})
        levels[f"{row.level:g}"] = round(row.half_width, 4)
    return found


def cover(test: pd.DataFrame, widths: pd.DataFrame) -> pd.DataFrame:
    """Share of test gold scores within the intervals, and the intervals' mean width.

    Columns task, emotion, level, n, coverage, width (both clipped to the range).
    """
    found, parts = [], group(test, "score")
    for row in widths.itertuples():
        items = parts.get(name_part(row.task, row.emotion))
        if items is None:
            continue
        low, high = get(row.task).range
        mean, gold = (items[x].to_numpy(dtype=float) for x in ("mean", "gold"))
        below = (mean - row.half_width).clip(low, high)
        above = (mean + row.half_width).clip(low, high)
        covered, width = ((below <= gold) & (gold <= above)).mean(), (above - below).mean()
        found.append((row.task, row.emotion, row.level, len(items), covered, width))
    return pd.DataFrame(found, columns=_NAMES)


def cover_classes(dev: pd.DataFrame, test: pd.DataFrame, levels=LEVELS) -> pd.DataFrame:
    """The same for sets of classes: share of gold within, and the mean set's size.

    Columns task, emotion, level, n, coverage, width (classes in a set). A set holds the classes of
    high probability (least ambiguous sets: Sadinle et al. 2019).
    """
    found, parts = [], group(test, "ordinal")
    for name, rows in group(dev, "ordinal", sort=False).items():
        if name not in parts:
            continue
        items, key = parts[name], rows[_KEY].iloc[0]
        (p, gold), (test_p, test_gold) = (stack(get(key["task"]), part) for part in (rows, items))
        residuals = 1 - p[np.arange(len(gold)), gold]
        for level in _choose_levels(levels, rows):
            sets = 1 - test_p <= find_quantile(residuals, level) + 1e-8
            covered = sets[np.arange(len(items)), test_gold].mean()
            found.append((*key, level, len(items), covered, sets.sum(1).mean()))
    return pd.DataFrame(found, columns=_NAMES)


def _choose_levels(levels, rows: pd.DataFrame) -> list[float]:
    return [level for level in levels if len(rows) >= 1 / (1 - level)]
