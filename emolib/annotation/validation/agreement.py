"""How well annotations agree with people's ratings: measures, intervals, several raters.

`gold` and `predicted` are arrays [..., texts] on one scale: scores in [0, 1], classes numbered from
0, labels 0 or 1. Every measure works along the last axis, which makes a bootstrap one call. What
cannot be computed (a constant column, a label that nobody saw) is NaN, never an error.
"""

from collections.abc import Iterator

import krippendorff
import numpy as np
from scipy import stats

_RESAMPLES, _CELLS = 1000, 2_000_000  # numbers in memory at a time


def _correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = (side - side.mean(-1, keepdims=True) for side in (x, y))
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return _divide((x * y).sum(-1), np.where(spread < 1e-12, 0, spread))


def _divide(above, below) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below == 0, np.nan, above / np.where(below == 0, 1, below))


def measure_scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson's r, Spearman's rho, mean error (predicted minus gold) and mean absolute error.

    Errors are shares of the scale, in [-1, 1] and [0, 1].
    """
    ranks = (stats.rankdata(side, axis=-1) for side in (gold, predicted))
    gap = predicted - gold
    found = {"pearson": _correlate(gold, predicted), "spearman": _correlate(*ranks)}
    return found | {"mean_error": gap.mean(-1), "absolute_error": np.abs(gap).mean(-1)}


def measure_classes(gold: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Quadratic weighted kappa (Cohen 1968), accuracy and Spearman's rho of classes."""
    # The squared distances that two independent draws from the margins would have.
    chance = gold.var(-1) + predicted.var(-1) + (gold.mean(-1) - predicted.mean(-1)) ** 2
    kappa = 1 - _divide(((gold - predicted) ** 2).mean(-1), chance)
    ranks = (stats.rankdata(side, axis=-1) for side in (gold, predicted))
    return {"qwk": kappa, "accuracy": (gold == predicted).mean(-1), "spearman": _correlate(*ranks)}


def measure_labels(gold: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """F1, precision, recall, balanced accuracy and Matthews' correlation of a yes-or-no label."""
    both = (gold * predicted).sum(-1)
    said, there, n = predicted.sum(-1), gold.sum(-1), gold.shape[-1]
    neither = n - said - there + both
    recall, specificity = _divide(both, there), _divide(neither, n - there)
    found = {"f1": _divide(2 * both, said + there), "precision": _divide(both, said)}
    found |= {"recall": recall, "balanced_accuracy": (recall + specificity) / 2}
    return found | {"matthews": _correlate(gold, predicted)}


_MEASURES = {"score": measure_scores, "class": measure_classes, "label": measure_labels}


def measure(kind: str, gold, predicted, alpha: bool = False) -> dict[str, np.ndarray]:
    """Name -> value of a kind's measures; with `alpha` also Krippendorff's, which takes longer."""
    gold, predicted = np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
    found = _MEASURES[kind](gold, predicted)
    if alpha:
        sides = np.stack([gold, predicted], axis=-2)
        found["alpha"] = np.reshape([*_list_alphas(kind, sides)], gold.shape[:-1])
    return found


def _list_alphas(kind: str, sides: np.ndarray) -> Iterator[float]:
    for pair in sides.reshape(-1, *sides.shape[-2:]):
        yield compute_alpha(kind, pair)


def resample(
    kind: str, gold, predicted, size: int | None = None, seed: int = 0, alpha: bool = False
) -> dict:
    """Name -> (low, high): 95 % percentile bootstrap intervals of all measures.

    `size` texts are drawn with replacement, by default as many as there are; more or fewer say
    what a sample of that size would give. NaN where most draws have no value.
    """
    gold, predicted = np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
    generator, size = np.random.default_rng(seed), size or len(gold)
    step, found = max(1, _CELLS // size), []
    for start in range(0, _RESAMPLES, step):
        rows = generator.integers(len(gold), size=(min(step, _RESAMPLES - start), size))
        found.append(measure(kind, gold[rows], predicted[rows], alpha))
    ends = {}
    for name in found[0]:
        values = np.concatenate([each[name] for each in found])
        values = values[~np.isnan(values)]
        enough = len(values) > _RESAMPLES / 2
        low, high = np.percentile(values, [2.5, 97.5]) if enough else (np.nan, np.nan)
        ends[name] = float(low), float(high)
    return ends


def find_widths(kind: str, main: str, gold, predicted, seed: int = 0) -> dict[int, float]:
    """Number of texts -> width of the 95 % interval of the measure `main`.

    From a quarter of the texts at hand to four times as many: texts are drawn from those there are,
    so that larger numbers say what more ratings of the same kind would bring.
    """
    sizes = [round(len(gold) * share) for share in (0.25, 0.5, 1, 2, 4)]
    ends = {n: resample(kind, gold, predicted, n, seed)[main] for n in sizes if n >= 10}
    return {n: high - low for n, (low, high) in ends.items()}


def compute_alpha(kind: str, ratings: np.ndarray) -> float:
    """Krippendorff's alpha among raters [raters, texts], NaN for what was not rated.

    Interval alpha for scores and labels (of two values it is the nominal one), ordinal for classes.
    At most 1; 0 where raters agree as if by chance; NaN where all ratings are the same.
    """
    ratings = np.asarray(ratings, dtype=float)
    ratings = ratings[:, (~np.isnan(ratings)).sum(0) > 1]
    given = ratings[~np.isnan(ratings)]
    if len(np.unique(given)) < 2:
        return np.nan
    if kind == "class":
        return float(krippendorff.alpha(ratings, level_of_measurement="ordinal"))
    # The package builds a table of all pairs of values: seconds for a thousand different scores.
    within = (np.nanvar(ratings, axis=0, ddof=1) * (~np.isnan(ratings)).sum(0)).sum()
    return float(1 - within / len(given) / given.var(ddof=1))


def compare_raters(kind: str, ratings: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """How far raters agree with one another, and the tool with them, in the same terms.

    `ratings` [raters, texts], NaN for what was not rated. Krippendorff's alpha: `alpha_raters`
    among all raters, `alpha_tool` of the tool with each, averaged. Pearson's r with the mean of the
    other raters, averaged over the raters: of a rater (`r_raters`) and of the tool in his place
    (`r_tool`). One rater gives alpha_tool alone.
    """
    ratings = np.asarray(ratings, dtype=float)
    pairs = [compute_alpha(kind, np.stack([each, predicted])) for each in ratings]
    found = {"alpha_tool": float(np.mean(pairs))}
    if len(ratings) < 2:
        return found
    own, tool = [], []
    for number, each in enumerate(ratings):
        others = np.delete(ratings, number, axis=0)
        kept = ~np.isnan(each) & ~np.isnan(others).all(0)
        if kept.sum() > 1:
            mean = np.nanmean(others[:, kept], axis=0)
            own.append(_correlate(each[kept], mean))
            tool.append(_correlate(np.asarray(predicted, dtype=float)[kept], mean))
    found["alpha_raters"] = compute_alpha(kind, ratings)
    means = [float(np.mean(each)) if each else np.nan for each in (own, tool)]
    return found | dict(zip(("r_raters", "r_tool"), means, strict=True))
