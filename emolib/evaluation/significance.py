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
    one, two = (prepare(get(task), gold, side, groups) for side in (first, second))
    parts = [(true, answers, two[label][1]) for label, (true, answers) in one.items()]
    rows = []
    for name in get(task).primary_metrics:
        subtract = _subtract(METRICS[name])
        low, high = bootstrap(subtract, parts, resamples, seed)
        values = [
            np.mean([METRICS[name](part[0], part[side]) for part in parts]) for side in (1, 2)
        ]
        p = _permute(subtract, parts, resamples, seed)
        rows.append((name, *values, values[0] - values[1], low, high, p))
    columns = ["metric", "first", "second", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def _subtract(metric):
    return lambda true, first, second: metric(true, first) - metric(true, second)


def _permute(subtract, parts: list, resamples: int, seed: int) -> float:
    ends = np.cumsum([len(true) for true, *_ in parts])
    both = [np.stack(answers) for _, *answers in parts]

    def average(first, _):
        found = []
        for (true, *_), answers, side in zip(parts, both, np.split(first, ends[:-1]), strict=True):
            own, side = np.arange(len(true)), side.astype(int)
            found.append(subtract(true, answers[side, own], answers[1 - side, own]))
        return np.mean(found)

    # What is swapped within an item is which model the answer is taken from.
    sides = (np.zeros(ends[-1]), np.ones(ends[-1]))
    options = {"n_resamples": resamples, "rng": np.random.default_rng(seed), "vectorized": False}
    drawn = stats.permutation_test(sides, average, permutation_type="samples", **options)
    return float(drawn.pvalue)
