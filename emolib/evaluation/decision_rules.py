"""From a distribution to the answer that is reported, by rules chosen on dev data.

The official script takes classes and label sets. How a distribution becomes one is a choice: it is
made once for all class tasks and once for the labels, on the development sets, by scores on items
that a rule was not fitted to (cross-validation), and kept. Tasks without development data take what
was chosen: rules as they are, thresholds by a label's name; cut points cannot be carried over, and
the rounded mean stands in.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from emolib import DataError
from emolib.evaluation import metrics
from emolib.evaluation.judgements import group, name_part, stack
from emolib.tasks import THRESHOLD, Task, get

CLASS_RULES = ("argmax", "rounded mean", "cut points")
LABEL_RULES = ("one half", "one threshold", "a threshold per label", "thresholds together")
_CHOICES = {"ordinal": ("classes", CLASS_RULES), "labels": ("labels", LABEL_RULES)}
_GRID = np.arange(0.1, 0.91, 0.02).round(2)
FOLDS = 5


@dataclass(frozen=True)
class Rules:
    """How a distribution becomes an answer, by names of CLASS_RULES and LABEL_RULES.

    `cuts`: "task" or "task emotion" to ascending cut points on the mean, one fewer than classes;
    `thresholds`: label to the probability from which on it counts.
    """

    classes: str = "argmax"
    labels: str = "one half"
    cuts: dict[str, list[float]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


def decide(judged: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Judgements (see `judgements`) with a column prediction, as `metrics` takes it.

    Scores: the distribution's mean. Classes and labels: by the rules.
    """
    columns = judged[["task", "emotion", "probabilities", "mean"]]
    rows = columns.itertuples(index=False, name=None)
    found = [decide_one(get(task), *rest, rules) for task, *rest in rows]
    return judged.assign(prediction=pd.Series(found, dtype=object, index=judged.index))


def decide_one(task: Task, emotion, probabilities: dict, mean: float, by: Rules):
    """The answer to one item: a float, a class or a tuple of labels."""
    if task.kind == "score":
        low, high = task.range
        return float(np.clip(mean, low, high))  # rounded ones may add up to more
    if task.kind == "labels":
        least = {label: by.thresholds.get(label, THRESHOLD) for label in task.labels}
        chosen = tuple(label for label in task.labels if probabilities[label] >= least[label])
        likeliest = max(task.labels, key=probabilities.get)
        return chosen if chosen or task.neutral else (likeliest,)
    if by.classes == "argmax":
        return int(max(probabilities, key=probabilities.get))
    cuts = by.cuts.get(name_part(task.name, emotion))
    if by.classes == "cut points" and cuts:
        return sorted(task.classes)[int(np.searchsorted(cuts, mean, side="right"))]
    return min(task.classes, key=lambda value: abs(value - mean))


def choose(dev: pd.DataFrame, seed: int = 0) -> tuple[Rules, pd.DataFrame]:
    """The rules that score best on development judgements with gold, and all scores.

    The table has columns decision ("classes" or "labels"), rule, score (out of FOLDS folds: fitted
    on the others, scored on all items together), chosen. Classes: the mean of Pearson's r over the
    class tasks; labels: the mean of Jaccard index, micro and macro F1. Of equal rules the simpler
    one is taken. DataError without dev items.
    """
    if dev.empty:
        raise DataError("there are no development items to choose by")
    rows, best, kinds = [], {}, dev["task"].map(lambda task: get(task).kind)
    for kind, (decision, rules) in _CHOICES.items():
        part = dev[kinds == kind]
        if part.empty:
            continue
        scores = {rule: _cross_validate(part, decision, rule, seed) for rule in rules}
        best[decision] = max(rules, key=lambda rule: round(scores[rule], 6))
        rows += [(decision, r, s, r == best[decision]) for r, s in scores.items()]
    table = pd.DataFrame(rows, columns=["decision", "rule", "score", "chosen"])
    return fit(dev, **best), table


def fit(dev: pd.DataFrame, classes: str = "argmax", labels: str = "one half"):
    """The rules named, with what they need fitted to `dev`."""
    cuts, thresholds = {}, {}
    if classes == "cut points":
        parts = group(dev, "ordinal")
        cuts = {name: _fit_cuts(rows) for name, rows in parts.items()}
    if labels != "one half":
        for rows in group(dev, "labels").values():
            thresholds |= _fit_thresholds(rows, labels)
    return Rules(classes, labels, cuts, thresholds)


def compare(dev: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Test scores under every rule, each fitted to `dev`: rule, task, metric, value.

    Both are judgements with gold. Beside the rules' classes "unrounded mean" gives Pearson's r of
    the mean itself, as metric "pearson_of_mean": no class, so not what the official script takes.
    To be shown after the choice, never to choose by.
    """
    rows = []
    for task, items in test.groupby("task", sort=False):
        kind = get(task).kind
        if kind == "score" or (kind == "labels" and task not in set(dev["task"])):
            continue
        decision, rules = _CHOICES[kind]
        for rule in rules:
            decided = decide(items, fit(dev, **{decision: rule}))
            found = metrics.score(*metrics.take_columns(decided, "prediction"))
            rows += [(rule, task, name, found[name]) for name in get(task).primary_metrics]
        if kind == "ordinal" and get(task).metrics[0] == "pearson":
            r = metrics.correlate(*metrics.take_columns(items, "mean"))
            rows.append(("unrounded mean", task, "pearson_of_mean", r))
    return pd.DataFrame(rows, columns=["rule", "task", "metric", "value"])


def _fit_cuts(rows: pd.DataFrame) -> list[float]:
    """Where to cut so that each class is given as often as it stands in gold."""
    task, gold = get(rows["task"].iloc[0]), rows["gold"].to_numpy(dtype=float)
    shares = [np.mean(gold <= value) for value in sorted(task.classes)[:-1]]
    return np.quantile(rows["mean"].to_numpy(dtype=float), shares).tolist()


def _fit_thresholds(rows: pd.DataFrame, rule: str) -> dict[str, float]:
    """One for all labels; each for its own F1; or all together, for `_score_labels`.

    Together: from the best single threshold, label after label takes the value that scores best
    beside the others' until nothing improves.
    """
    given, gold = stack(get(rows["task"].iloc[0]), rows)
    names = list(rows["probabilities"].iloc[0])
    if rule == "a threshold per label":
        curves = np.array([metrics.measure_f1(gold, given >= threshold) for threshold in _GRID])
        return dict(zip(names, map(_find_best, curves.T), strict=True))
    values = [_score_labels(gold, given >= threshold) for threshold in _GRID]
    found = np.full(given.shape[1], _GRID[int(np.argmax(values))])
    reached, before = max(values), -1.0
    while rule == "thresholds together" and reached > before + 1e-9:
        before = reached
        for place in range(len(found)):
            tried = np.tile(found, (len(_GRID), 1))
            tried[:, place] = _GRID
            found[place] = _find_best([_score_labels(gold, given >= each) for each in tried])
        reached = _score_labels(gold, given >= found)
    return dict(zip(names, found.tolist(), strict=True))


def _find_best(values) -> float:
    """The threshold of _GRID with the highest value, the middle one of several."""
    best = np.flatnonzero(np.isclose(values, np.max(values)))
    return float(_GRID[best[len(best) // 2]])


def _score_labels(gold: np.ndarray, held: np.ndarray) -> float:
    """The mean of Jaccard index, micro and macro F1."""
    return float(np.mean([metrics.METRICS[x](gold, held) for x in get("E-c").primary_metrics]))


def _cross_validate(part: pd.DataFrame, decision: str, rule: str, seed: int) -> float:
    """The rule's score on all items, each decided without being fitted to."""
    scores = []
    for task, rows in part.groupby("task", sort=False):
        folds = KFold(min(FOLDS, len(rows)), shuffle=True, random_state=seed).split(rows)
        fitted = [(fit(rows.iloc[train], **{decision: rule}), test) for train, test in folds]
        decided = pd.concat([decide(rows.iloc[test], by) for by, test in fitted])
        values = metrics.score(*metrics.take_columns(decided, "prediction"))
        scores.append(np.mean([values[name] for name in get(task).primary_metrics]))
    return float(np.mean(scores))
