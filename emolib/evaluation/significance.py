"""Is one model better than another on the same items? No torch.

scipy draws and permutes; the metrics are those of `metrics.score`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from emolib.evaluation.metrics import METRICS, bootstrap, prepare
from emolib.tasks import get


def compare(
    task: str,
    gold: Sequence,
    first: Sequence,
    second: Sequence,
    groups: Sequence | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """First minus second model on the same items, a row per primary metric.

    Columns metric, first, second, difference, low, high (95 % percentile interval of a paired
    bootstrap over items, within groups) and p (two-sided paired permutation test: under its
    hypothesis the two answers to an item may be swapped). Arguments as in `metrics.score`.

    Raises DataError as `metrics.score` does.
    """
    found = get(task)
    sides = [prepare(found, gold, side, groups) for side in (first, second)]
    parts = [
        (true, np.stack([sides[0][label][1], sides[1][label][1]]))
        for label, (true, _) in sides[0].items()
    ]
    sides_of = [(true, *both) for true, both in parts]
    rows = []
    for name in found.primary_metrics:
        low, high = bootstrap(_difference(METRICS[name]), sides_of, resamples, seed)
        values = [_average(METRICS[name], parts, side) for side in (0, 1)]
        p = _permute(METRICS[name], parts, resamples, seed)
        rows.append((name, *values, values[0] - values[1], low, high, p))
    columns = ["metric", "first", "second", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def _difference(metric):
    return lambda true, first, second: metric(true, first) - metric(true, second)


def _average(metric, parts: list, side: int) -> float:
    return float(np.mean([metric(true, both[side]) for true, both in parts]))


def _permute(metric, parts: list, resamples: int, seed: int) -> float:
    sizes = np.cumsum([0] + [len(true) for true, _ in parts])

    def difference(ours, theirs):
        found = []
        for (true, both), start in zip(parts, sizes, strict=False):
            own = np.arange(len(true))
            place = slice(start, start + len(true))
            picked = [both[side[place].astype(int), own] for side in (ours, theirs)]
            found.append(metric(true, picked[0]) - metric(true, picked[1]))
        return np.mean(found)

    # What is swapped within an item is which model the answer is taken from.
    sides = (np.zeros(sizes[-1]), np.ones(sizes[-1]))
    return float(
        stats.permutation_test(
            sides,
            difference,
            permutation_type="samples",
            vectorized=False,
            n_resamples=resamples,
            rng=np.random.default_rng(seed),
        ).pvalue
    )
