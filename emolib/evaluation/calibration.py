"""How far probabilities can be trusted, and intervals that hold what they promise.

Temperature scaling (Guo et al. 2017) and split-conformal intervals and sets (Vovk et
al. 2005; through MAPIE) are fitted on development judgements with gold and measured on
test judgements, see `judgements` for the frames.

`coverage` of conformal intervals holds on average over texts like those of the
development sets, not for a given text, and not for texts of another kind.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from emolib.evaluation.judgements import NEAR, cool, cool_labels, key_of
from emolib.tasks import get

LEVELS = (0.8, 0.9, 0.95)
BINS = 10


def list_confidences(judged: pd.DataFrame, temperatures: dict | None = None):
    """A row per judgement that can be right or wrong: task, emotion, confidence, right.

    Classes: the likeliest class and its probability. Scores: gold within NEAR of the
    mean (a share of the range), and the probability that the distribution gives to
    that. Labels: a row per label (its name as emotion), its probability, and whether
    gold holds it. `temperatures`: task to temperature.
    """
    found: list = []
    for task, rows in judged.groupby("task", sort=False):
        heat = (temperatures or {}).get(task, 1.0)
        for row in rows.to_dict("records"):
            found += _judge(get(task), row, heat)
    return pd.DataFrame(found, columns=["task", "emotion", "confidence", "right"])


def _judge(task, row: dict, heat: float) -> Iterator[tuple]:
    if task.kind == "labels":
        for label in task.labels:
            p = float(cool_labels(np.array(row["probabilities"][label]), heat))
            yield task.name, label, p, label in row["gold"]
        return
    values = np.array([float(name) for name in row["probabilities"]])
    p = cool(np.array(list(row["probabilities"].values())), heat)
    if task.kind == "ordinal":
        best = int(p.argmax())
        yield task.name, row["emotion"], float(p[best]), values[best] == row["gold"]
        return
    near = NEAR * (task.range[1] - task.range[0])
    sure = float(p[np.abs(values - row["mean"]) <= near].sum())
    right = abs(row["gold"] - row["mean"]) <= near
    yield task.name, row["emotion"], min(1.0, sure), right


def fit_temperatures(dev: pd.DataFrame) -> dict[str, float]:
    """Task to the temperature with the least negative log-likelihood of gold.

    A score's gold is the answer nearest to it; labels are judged one by one.
    """
    found = {}
    for task, rows in dev.groupby("task", sort=False):
        lose = partial(_lose, *_stack(get(task), rows), get(task).kind)
        best = minimize_scalar(lose, bounds=np.log([0.2, 5.0]), method="bounded")
        found[task] = round(float(np.exp(best.x)), 4)
    return found


def _lose(given: np.ndarray, gold: np.ndarray, kind: str, log_heat: float) -> float:
    """Mean negative log-likelihood of gold at a temperature."""
    heat = np.exp(log_heat)
    if kind == "labels":
        p = cool_labels(given, heat)
        return -np.log(np.where(gold, p, 1 - p)).mean()
    return -np.log(cool(given, heat)[np.arange(len(gold)), gold]).mean()


def _stack(task, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [items, answers], and gold: answers' numbers, or labels held."""
    given = np.array([list(each.values()) for each in rows["probabilities"]])
    names = list(rows["probabilities"].iloc[0])
    if task.kind == "labels":
        return given, np.array([[n in each for n in names] for each in rows["gold"]])
    given = given / given.sum(1, keepdims=True)  # kept ones are rounded
    values = np.array([float(name) for name in names])
    gold = rows["gold"].to_numpy(dtype=float)
    return given, np.abs(gold[:, None] - values).argmin(1)


def measure(confidences: pd.DataFrame) -> pd.DataFrame:
    """Per task: items, mean confidence, accuracy, expected calibration error.

    The error is the mean distance of confidence and accuracy over BINS bins of equally
    many judgements, in [0, 1] (Naeini et al. 2015, with equal masses).
    """
    rows = []
    for task, part in confidences.groupby("task", sort=False):
        bins = cut(part)
        gaps = (bins["confidence"] - bins["accuracy"]).abs()
        error = float(np.average(gaps, weights=bins["n"]))
        means = part["confidence"].mean(), part["right"].mean()
        rows.append((task, len(part), *map(float, means), error))
    names = ["task", "n", "confidence", "accuracy", "calibration_error"]
    return pd.DataFrame(rows, columns=names)


def cut(part: pd.DataFrame) -> pd.DataFrame:
    """Bins of equally many judgements by confidence: confidence, accuracy, n."""
    order = part.sort_values("confidence", kind="stable")
    bins = np.arange(len(order)) * min(BINS, len(order)) // len(order)
    grouped = order.groupby(bins)
    table = grouped.agg(confidence=("confidence", "mean"), accuracy=("right", "mean"))
    return table.assign(n=grouped.size())


class _Given(BaseEstimator):
    """Predictions that are there already, as an estimator that MAPIE can ask."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _GivenScores(RegressorMixin, _Given):
    def predict(self, X):
        return X[:, 0]


class _GivenClasses(ClassifierMixin, _Given):
    def __init__(self, classes: int):
        self.classes = classes

    @property
    def classes_(self):
        return np.arange(self.classes)

    def predict(self, X):
        return X.argmax(1)

    def predict_proba(self, X):
        return X


def _list_groups(dev: pd.DataFrame, kind: str) -> Iterator[tuple]:
    """(task, emotion or None, development items) of the tasks of a kind."""
    for (task, emotion), rows in dev.groupby(
        ["task", "emotion"], dropna=False, sort=False
    ):
        if get(task).kind == kind:
            yield get(task), emotion if isinstance(emotion, str) else None, rows


def _take(judged: pd.DataFrame, task: str, emotion) -> pd.DataFrame:
    rows = judged[judged["task"] == task]
    named = isinstance(emotion, str)  # in a table None comes back as NaN
    return rows[rows["emotion"] == emotion] if named else rows


def _choose_levels(levels, rows: pd.DataFrame) -> list[float]:
    return [level for level in levels if len(rows) >= 1 / (1 - level)]


def fit_widths(dev: pd.DataFrame, levels=LEVELS) -> pd.DataFrame:
    """Half widths of conformal intervals around a score's mean, in the corpus's range.

    Columns task, emotion, level, half_width; fitted per task and emotion. A level that
    so few items cannot promise (0.95 takes 20) is left out.
    """
    found = []
    for task, emotion, rows in _list_groups(dev, "score"):
        able = _choose_levels(levels, rows)
        if not able:
            continue
        given = rows[["mean"]].to_numpy(dtype=float)
        model = SplitConformalRegressor(_GivenScores(), able, prefit=True)
        model.conformalize(given, rows["gold"].to_numpy(dtype=float))
        _, bounds = model.predict_interval(given[:1])
        halves = (bounds[0, 1] - bounds[0, 0]) / 2
        found += [
            (task.name, emotion, level, float(half))
            for level, half in zip(able, halves, strict=True)
        ]
    return pd.DataFrame(found, columns=["task", "emotion", "level", "half_width"])


def list_widths(widths: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Half widths as `decision_rules.Decisions` holds them: by task and emotion, level."""
    found: dict = {}
    for row in widths.itertuples():
        held = found.setdefault(key_of(row.task, row.emotion), {})
        held[f"{row.level:g}"] = round(row.half_width, 4)
    return found


def cover(test: pd.DataFrame, widths: pd.DataFrame) -> pd.DataFrame:
    """Share of test gold scores within the intervals, and the intervals' mean width.

    Columns task, emotion, level, n, coverage, width (both clipped to the range).
    """
    found = []
    for row in widths.itertuples():
        items = _take(test, row.task, row.emotion)
        if items.empty:
            continue
        low, high = get(row.task).range
        mean, gold = (items[x].to_numpy(dtype=float) for x in ("mean", "gold"))
        below = (mean - row.half_width).clip(low, high)
        above = (mean + row.half_width).clip(low, high)
        held = float(((below <= gold) & (gold <= above)).mean())
        wide = float((above - below).mean())
        found.append((row.task, row.emotion, row.level, len(items), held, wide))
    names = ["task", "emotion", "level", "n", "coverage", "width"]
    return pd.DataFrame(found, columns=names)


def cover_classes(dev: pd.DataFrame, test: pd.DataFrame, levels=LEVELS) -> pd.DataFrame:
    """The same for sets of classes: share of gold within, and the mean set's size.

    Columns task, emotion, level, n, coverage, width (classes in a set). The sets hold
    the classes of highest probability ("lac": Sadinle et al. 2019).
    """
    found = []
    for task, emotion, rows in _list_groups(dev, "ordinal"):
        items = _take(test, task.name, emotion)
        able = _choose_levels(levels, rows)
        if items.empty or not able:
            continue
        (given, gold), (asked, wanted) = (_stack(task, each) for each in (rows, items))
        model = SplitConformalClassifier(
            _GivenClasses(given.shape[1]), able, prefit=True
        )
        model.conformalize(given, gold)
        _, sets = model.predict_set(asked)
        for number, level in enumerate(able):
            held = sets[np.arange(len(asked)), wanted, number].mean()
            size = sets[:, :, number].sum(1).mean()
            found.append((task.name, emotion, level, len(asked), held, size))
    names = ["task", "emotion", "level", "n", "coverage", "width"]
    return pd.DataFrame(found, columns=names)
