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
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold

from emolib import DataError
from emolib.evaluation import metrics
from emolib.evaluation.judgements import name_part
from emolib.tasks import THRESHOLD, Task, get

CLASS_RULES = ("argmax", "rounded mean", "cut points")
LABEL_RULES = ("one half", "one threshold")
LABEL_RULES += ("a threshold per label", "thresholds together")
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
    if task.kind == "ordinal":
        return _decide_class(task, emotion, probabilities, mean, by)
    chosen = tuple(
        label
        for label in task.labels
        if probabilities[label] >= by.thresholds.get(label, THRESHOLD)
    )
    if not chosen and not task.neutral:
        chosen = (max(task.labels, key=probabilities.get),)
    return chosen


def _decide_class(task: Task, emotion, probabilities: dict, mean: float, by: Rules):
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
    rows, best = [], {}
    for decision, rules in (("classes", CLASS_RULES), ("labels", LABEL_RULES)):
        kind = "ordinal" if decision == "classes" else "labels"
        part = dev[[get(task).kind == kind for task in dev["task"]]]
        if part.empty:
            continue
        scores = {rule: _cross_validate(part, decision, rule, seed) for rule in rules}
        best[decision] = max(rules, key=lambda rule: round(scores[rule], 6))
        rows += [(decision, r, s, r == best[decision]) for r, s in scores.items()]
    table = pd.DataFrame(rows, columns=["decision", "rule", "score", "chosen"])
    return fit(dev, **best), table


def fit(dev: pd.DataFrame, classes: str = "argmax", labels: str = "one half"):
    """The rules named, with what they need fitted to `dev`."""
    cuts: dict = {}
    if classes == "cut points":
        for (task, emotion), rows in dev.groupby(["task", "emotion"], dropna=False):
            if get(task).kind == "ordinal":
                cuts[name_part(task, emotion)] = _fit_cuts(get(task), rows)
    thresholds: dict = {}
    for task, rows in dev.groupby("task"):
        if get(task).kind == "labels" and labels != "one half":
            thresholds |= _fit_thresholds(get(task), rows, labels)
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
        which = "classes" if kind == "ordinal" else "labels"
        for rule in CLASS_RULES if kind == "ordinal" else LABEL_RULES:
            decided = decide(items, fit(dev, **{which: rule}))
            found = metrics.score(*metrics.take_columns(decided, "prediction"))
            rows += [(rule, task, name, found[name]) for name in get(task).primary_metrics]
        if kind == "ordinal" and get(task).metrics[0] == "pearson":
            r = metrics.correlate(*metrics.take_columns(items, "mean"))
            rows.append(("unrounded mean", task, "pearson_of_mean", r))
    return pd.DataFrame(rows, columns=["rule", "task", "metric", "value"])


def _fit_cuts(task: Task, rows: pd.DataFrame) -> list[float]:
    """Where to cut so that each class is given as often as it stands in gold."""
    gold = rows["gold"].to_numpy(dtype=float)
    shares = [np.mean(gold <= value) for value in sorted(task.classes)[:-1]]
    return np.quantile(rows["mean"].to_numpy(dtype=float), shares).tolist()


def _fit_thresholds(task: Task, rows: pd.DataFrame, rule: str) -> dict[str, float]:
    """One for all labels; each for its own F1; or all together, for `_score_labels`.

    Together: from the best single threshold, label after label takes the value that scores best
    beside the others' until nothing improves.
    """
    given = np.array([[p[x] for x in task.labels] for p in rows["probabilities"]])
    gold = np.array([[x in each for x in task.labels] for each in rows["gold"]])
    if rule == "a threshold per label":
        columns = zip(gold.T, given.T, strict=True)
        found = [
            _find_best(lambda t, g=g, p=p: f1_score(g, p >= t, zero_division=0)) for g, p in columns
        ]
        return dict(zip(task.labels, found, strict=True))
    values = [_score_labels(gold, given >= threshold) for threshold in _GRID]
    found = np.full(len(task.labels), _GRID[int(np.argmax(values))])
    reached, before = max(values), -1.0
    while rule == "thresholds together" and reached > before + 1e-9:
        before = reached
        for place in range(len(found)):
            others = np.arange(len(found)) != place

            def score(t, others=others):
                return _score_labels(gold, given >= np.where(others, found, t))

            found[place] = _find_best(score)
        reached = _score_labels(gold, given >= found)
    return dict(zip(task.labels, found.tolist(), strict=True))


def _find_best(score) -> float:
    """The threshold with the highest score, the middle one of several."""
    values = [score(threshold) for threshold in _GRID]
    best = np.flatnonzero(np.isclose(values, np.max(values)))
    return float(_GRID[best[len(best) // 2]])


def _score_labels(gold: np.ndarray, held: np.ndarray) -> float:
    """The mean of Jaccard index, micro and macro F1, without scikit-learn's checks.

    It is called ten thousand times; a test compares it with `metrics`.
    """
    both, sizes = (gold & held).sum(axis=0), gold.sum(axis=0) + held.sum(axis=0)
    macro = np.mean(2 * both / np.maximum(sizes, 1))
    micro = 2 * both.sum() / max(sizes.sum(), 1)
    return float(np.mean([metrics.METRICS["jaccard"](gold, held), micro, macro]))


def _cross_validate(part: pd.DataFrame, decision: str, rule: str, seed: int) -> float:
    """The rule's score on all items, each decided without being fitted to."""
    found = []
    for _, rows in part.groupby("task", sort=False):
        folds = KFold(min(FOLDS, len(rows)), shuffle=True, random_state=seed)
        for train, test in folds.split(rows):
            by = fit(rows.iloc[train], **{decision: rule})
            found.append(decide(rows.iloc[test], by))
    whole = pd.concat(found)
    scores = []
    for task, rows in whole.groupby("task", sort=False):
        values = metrics.score(*metrics.take_columns(rows, "prediction"))
        scores.append(np.mean([values[name] for name in get(task).primary_metrics]))
    return float(np.mean(scores))
