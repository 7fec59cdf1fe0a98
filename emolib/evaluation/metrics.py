"""Gold and predictions in, numbers with intervals out. No torch.

Definitions are those of the official SemEval-2018 Task 1 script (Mohammad et al. 2018); names are
those of its released output. scipy draws and numpy does the arithmetic.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from emolib import DataError
from emolib.data.parsing import read_gold
from emolib.tasks import Task, get

_NO_CLASS = -99  # stands for an unparsed answer where no class may


def score(
    task: str, gold: Sequence, predicted: Sequence, groups: Sequence | None = None
) -> dict[str, float]:
    """The task's metrics, `n` and the number of `unparsed` predictions.

    `gold` as the corpora or the release write it, `predicted` as `parsing.parse` gives it (None:
    unparsed). With `groups` (the emotion of each item) the plain name is the average over groups
    and "pearson.anger" and so on stand beside it.

    Score and ordinal tasks: Pearson's r in [-1, 1], 0 for constant predictions; also on gold >=
    0.5, or on gold != 0 with quadratic weighted kappa. SST5 and TDT: accuracy and macro F1 over the
    classes in gold. Label tasks: Jaccard accuracy (two empty sets count as 1), micro and macro F1;
    GoEmotions' "accuracy" is the share of items whose label set is met exactly, as scikit-learn
    defines it. All in [0, 1].

    An unparsed prediction counts as the official script counts it (0.5, class 0, no emotion) and,
    for the tasks that it does not know, as the middle of the range, a wrong class, no label: not
    answering never pays, and the number of items stays.

    Raises DataError for lengths that differ, no items, and values outside the task.
    """
    parts, result = prepare(get(task), gold, predicted, groups), {}
    reported = _list_reported(parts)
    for name in get(task).metrics:
        each = {label: METRICS[name](*part) for label, part in parts.items()}
        for end, labels in reported.items():
            result[name + end] = float(np.mean([each[label] for label in labels]))
    whose = [None] * len(predicted) if groups is None else groups
    lost = [label for label, value in zip(whose, predicted, strict=True) if value is None]
    for end, labels in reported.items():
        result[f"unparsed{end}"] = sum(map(lost.count, labels))
    return result | {"n": len(predicted)}


def correlate(
    task: str, gold: Sequence, means: Sequence[float], groups: Sequence | None = None
) -> float:
    """Pearson's r of unrounded predictions, in [-1, 1]; the average over groups.

    For ordinal tasks it is no figure of the official script, which takes classes: it goes by a name
    of its own, "pearson_of_mean". DataError for unequal lengths.
    """
    if not len(gold) == len(means) == len(gold if groups is None else groups):
        raise DataError(f"{task}: gold, means and groups are not of one length")
    table = pd.DataFrame({"gold": [float(read_gold(task, each)) for each in gold]})
    table["mean"] = np.array(means, dtype=float)
    table["group"] = None if groups is None else list(groups)
    parts = table.groupby("group", sort=False, dropna=False)
    return float(np.mean([_pearson(part["gold"], part["mean"]) for _, part in parts]))


def correlate_authors(
    gold: Sequence[float], predicted: Sequence[float], authors: Sequence
) -> dict[str, float]:
    """Pearson's r "within" authors, "between" them and both combined ("composite"), in [-1, 1].

    As SemEval-2026 Task 2 ranks subtask 1: the mean r over authors whose ratings differ; r of the
    authors' means; the mean of both on Fisher's z scale. DataError for unequal lengths, and where
    no author's ratings differ.
    """
    if not len(gold) == len(predicted) == len(authors):
        raise DataError("gold, predictions and authors are not of one length")
    table = pd.DataFrame({"author": list(authors), "gold": gold, "predicted": list(predicted)})
    parts = table.groupby("author")[["gold", "predicted"]]
    varied = [part.to_numpy().T for _, part in parts if np.ptp(part["gold"])]
    if not varied:
        raise DataError("no author has two texts whose ratings differ")
    within = float(np.mean([_pearson(*part) for part in varied]))
    between = _pearson(*parts.mean().round(12).to_numpy().T)  # means of a constant are one number
    both = np.clip([within, between], -1 + 1e-12, 1 - 1e-12)
    composite = float(np.tanh(np.arctanh(both).mean()))
    return {"within": within, "between": between, "composite": composite}


def intervals(
    task: str,
    gold: Sequence,
    predicted: Sequence,
    groups: Sequence | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals: name -> (low, high), names as in `score`.

    The task's primary metrics, with groups also those of each group. Items are drawn with
    replacement within each group, since the groups are scored apart. A group needs two items at
    least.
    """
    parts = prepare(get(task), gold, predicted, groups)
    return {
        name + end: bootstrap(METRICS[name], [parts[x] for x in labels], resamples, seed)
        for name in get(task).primary_metrics
        for end, labels in _list_reported(parts).items()
    }


def tabulate(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Scores with intervals of a table as `item_errors.compare` makes it, a row per metric.

    Columns model, task, metric, value, low, high, n, unparsed. Primary metrics only, for EI tasks
    the average and each emotion ("pearson.anger").
    """
    rows = []
    for task, items in table.groupby("task", sort=False):
        given = take_columns(items)
        found, reach = score(*given), intervals(*given)
        for name, (low, high) in reach.items():
            group = name.partition(".")[2]
            unparsed = found[f"unparsed.{group}" if group else "unparsed"]
            n = given[3].count(group) if group else found["n"]
            rows.append((model, task, name, found[name], low, high, n, unparsed))
    names = ["model", "task", "metric", "value", "low", "high", "n", "unparsed"]
    return pd.DataFrame(rows, columns=names)


def take_columns(items: pd.DataFrame, predicted: str = "predicted") -> tuple:
    """The first four arguments of `score` and `intervals` from the items of one task."""
    task = items["task"].iloc[0]
    groups = list(items["emotion"]) if get(task).emotions else None
    return task, list(items["gold"]), list(items[predicted]), groups


def bootstrap(measure, parts: list, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of a measure averaged over parts, items redrawn in each.

    A part is a tuple of arrays with one row per item; `measure` takes them, redrawn.
    """

    def average(*picks):
        chosen = zip(parts, [pick.astype(int) for pick in picks], strict=True)
        return np.mean([measure(*(side[pick] for side in part)) for part, pick in chosen])

    items = [np.arange(len(part[0])) for part in parts]
    options = {"n_resamples": resamples, "rng": np.random.default_rng(seed), "vectorized": False}
    drawn = stats.bootstrap(items, average, method="percentile", **options)
    return tuple(float(bound) for bound in drawn.confidence_interval)


def prepare(task: Task, gold, predicted, groups=None) -> dict:
    """Group -> gold array, predicted array; without groups one part, called None.

    Scores and classes as floats of shape (items,), label sets as booleans of shape (items, labels).
    Checks as `score` says.
    """
    gold, predicted = list(gold), list(predicted)
    groups = [None] * len(gold) if groups is None else list(groups)
    if not len(gold) == len(predicted) == len(groups):
        raise DataError(
            f"{task.name}: {len(gold)} gold answers, {len(predicted)} predictions and"
            f" {len(groups)} groups: the lengths must agree"
        )
    if not gold:
        raise DataError(f"{task.name}: nothing to score (no items)")
    for number, value in enumerate(predicted):
        if value is not None and not _is_answer(task, value):
            raise DataError(
                f"{task.name}: prediction {number} is {value!r}, which is no answer of this"
                " task (None stands for an unparsed one)"
            )
    filled = [_stand_in(task) if value is None else value for value in predicted]
    sides = [read_gold(task.name, each) for each in gold], filled
    if task.kind == "labels":
        sides = [[[x in each for x in task.labels] for each in side] for side in sides]
    sides = [np.array(side, bool if task.kind == "labels" else float) for side in sides]
    own = {label: [each == label for each in groups] for label in dict.fromkeys(groups)}
    return {label: tuple(side[kept] for side in sides) for label, kept in own.items()}


def _list_reported(parts: dict) -> dict[str, list]:
    """What follows a metric's name -> the parts averaged: "" -> all, ".anger" -> that one."""
    return {"": list(parts)} | {f".{label}": [label] for label in parts if label is not None}


def _is_answer(task: Task, value) -> bool:
    if task.kind == "labels":
        return isinstance(value, tuple) and set(value) <= set(task.labels)
    if not isinstance(value, float | int | np.number):
        return False
    if task.kind == "ordinal":
        return value in task.classes
    return bool(task.range[0] <= value <= task.range[1])  # False for NaN


def _stand_in(task: Task):
    """What stands in for an unparsed prediction."""
    if task.kind == "labels":
        return ()
    if task.kind == "score":
        return (task.range[0] + task.range[1]) / 2
    return _NO_CLASS if task.metrics[0] == "accuracy" else 0


def _pearson(gold: np.ndarray, predicted: np.ndarray) -> float:
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(np.corrcoef(gold, predicted)[0, 1])


def _kappa(gold: np.ndarray, predicted: np.ndarray) -> float:
    sides = gold.astype(int), predicted.astype(int)
    value = cohen_kappa_score(*sides, weights="quadratic") if len(gold) else 0.0
    return float(np.nan_to_num(value))


def _jaccard(gold: np.ndarray, predicted: np.ndarray) -> float:
    both, either = (gold & predicted).sum(axis=1), (gold | predicted).sum(axis=1)
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean())


def _accuracy(gold: np.ndarray, predicted: np.ndarray) -> float:
    return float((gold == predicted).reshape(len(gold), -1).all(axis=1).mean())


def measure_f1(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of each label, a column of truth values; 0 for one that is nowhere.

    A test compares it with scikit-learn's, whose checks take ten times as long: a bootstrap
    interval is 1,000 of these, a choice of thresholds 10,000.
    """
    both, sizes = (gold & predicted).sum(axis=0), gold.sum(axis=0) + predicted.sum(axis=0)
    return 2 * both / np.maximum(sizes, 1)


def _f1(gold: np.ndarray, predicted: np.ndarray, average: str) -> float:
    if gold.ndim == 1:
        classes = np.unique(gold)
        gold, predicted = (side[:, None] == classes for side in (gold, predicted))
    if average == "micro":
        gold, predicted = gold.reshape(-1, 1), predicted.reshape(-1, 1)
    return float(measure_f1(gold, predicted).mean())


def _where(keep, metric):
    """A metric on the items whose gold `keep` keeps."""
    return lambda gold, predicted: metric(gold[keep(gold)], predicted[keep(gold)])


METRICS = {
    "pearson": _pearson,
    "pearson_gold_0.5_to_1": _where(lambda gold: gold >= 0.5, _pearson),
    "pearson_gold_not_0": _where(lambda gold: gold != 0, _pearson),
    "qwk": _kappa,
    "qwk_gold_not_0": _where(lambda gold: gold != 0, _kappa),
    "accuracy": _accuracy,
    "jaccard": _jaccard,
    "f1_micro": partial(_f1, average="micro"),
    "f1_macro": partial(_f1, average="macro"),
}
