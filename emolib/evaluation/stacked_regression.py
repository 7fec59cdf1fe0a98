"""Every answer about a text joined with the model's other answers about it.

`annotate` predicts all five tasks for a text. How much joy, how positive, which emotions: the
answers err in part independently, and about one emotion another says something, too. Stacked
regression (Breiman 1996): for every task and emotion a ridge regression from all answers about a
text to the gold score or class, fitted on development data (see `judgements` for the frames).
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib import DataError
from emolib.evaluation.judgements import group, name_part
from emolib.tasks import AAID, get

CONSTANT = "constant"
FOLDS = 10
_LEAST = 1e-3  # a label's probability is taken to be this at least, and at most 1 less
_PENALTIES = np.logspace(-1, 4, 11)
Weights = dict[str, dict[str, float]]


def fit(dev: pd.DataFrame) -> Weights:
    """By "task" or "task emotion", the weights of a text's answers, and a CONSTANT.

    `dev`: judgements with gold (None where an item has none). Answers are called as in
    `read_answers`; those count that all the task's texts have (`aeb.complete` adds the others).
    Label tasks are not joined, tasks outside AAID neither.
    """
    found = {}
    for key, table, gold in _list_parts(dev):
        scaler, ridge = _regress().fit(table.to_numpy(), gold)
        slopes = ridge.coef_ / scaler.scale_
        constant = float(ridge.intercept_ - slopes @ scaler.mean_)
        weights = dict(zip(table.columns, map(float, slopes), strict=True))
        found[key] = weights | {CONSTANT: constant}
    return found


def cross_fit(dev: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Development judgements with joined means, none by weights fitted to its own gold.

    For choices that are made after joining: they see errors as large as on new texts. FOLDS folds.
    """
    means = dev["mean"].copy()
    for _, table, gold in _list_parts(dev):
        folds = KFold(min(FOLDS, len(table)), shuffle=True, random_state=seed)
        means[table.index] = cross_val_predict(_regress(), table.to_numpy(), gold, cv=folds)
    return dev.assign(mean=means)


def join(judged: pd.DataFrame, weights: Weights) -> pd.DataFrame:
    """Judgements whose means are joined; those of other tasks as they are.

    DataError for a text that lacks an answer that the weights want.
    """
    means, answers = judged["mean"].copy(), tabulate(judged)
    for key, rows in group(judged, "score", "ordinal").items():
        if key not in weights:
            continue
        slopes = pd.Series(weights[key]).drop(CONSTANT)
        table = answers.reindex(index=rows["id"], columns=slopes.index)
        lacking = table.columns[table.isna().any()]
        if len(lacking):
            raise DataError(f"{key}: not every text has an answer to {lacking[0]}, too")
        means[rows.index] = table.to_numpy() @ slopes.to_numpy() + weights[key][CONSTANT]
    return judged.assign(mean=means)


def join_one(answers: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The joined mean of one text's answers, by the weights of one task and emotion."""
    return weights[CONSTANT] + sum(
        weight * answers[name] for name, weight in weights.items() if name != CONSTANT
    )


def read_answers(task: str, emotion, probabilities: Mapping, mean: float) -> dict[str, float]:
    """One answer as numbers: a mean, or the log odds of every label.

    >>> read_answers("E-c", None, {"joy": 0.5, "love": 0.5}, float("nan"))
    {'E-c joy': 0.0, 'E-c love': 0.0}
    """
    if get(task).kind != "labels":
        return {name_part(task, emotion): mean}
    p = np.clip(list(probabilities.values()), _LEAST, 1 - _LEAST)
    names = [f"{task} {label}" for label in probabilities]
    return dict(zip(names, np.log(p / (1 - p)).tolist(), strict=True))


def tabulate(judged: pd.DataFrame) -> pd.DataFrame:
    """All answers about a text in a row, index id, columns named by `read_answers`."""
    texts: dict[str, dict] = {}
    columns = judged[["id", "task", "emotion", "probabilities", "mean"]]
    for name, *answer in columns.itertuples(index=False, name=None):
        texts.setdefault(name, {}).update(read_answers(*answer))
    return pd.DataFrame.from_dict(texts, orient="index")


def _list_parts(dev: pd.DataFrame) -> Iterator[tuple]:
    """Key, answers of all its texts (the index is that of `dev`) and gold."""
    answers, own = tabulate(dev), dev[dev["gold"].notna() & dev["task"].isin(AAID)]
    for key, rows in group(own, "score", "ordinal").items():
        table = answers.loc[rows["id"]].dropna(axis="columns").set_axis(rows.index)
        yield key, table, rows["gold"].to_numpy(dtype=float)


def _regress():
    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
