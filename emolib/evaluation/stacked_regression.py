"""Everything a model says about one text, joined: its answers lend to each other.

`annotate` asks a text all five tasks. How much joy, how positive, which emotions: the
answers err in part independently, and about one emotion another says something, too.
Stacked regression (Breiman 1996): for every task and emotion a ridge regression from
all answers about a text to the gold score or class, fitted on development data.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib import DataError
from emolib.evaluation.judgements import name_part
from emolib.tasks import AAID, get

CONSTANT = "constant"
FOLDS = 10
_LEAST = 1e-3  # a label's probability is taken to be this at least, and at most 1 less
_PENALTIES = np.logspace(-1, 4, 11)
Weights = dict[str, dict[str, float]]


def fit(dev: pd.DataFrame) -> Weights:
    """By "task" or "task emotion", the weights of a text's answers, and a CONSTANT.

    `dev`: judgements with gold (None where a question has none), see `judgements`.
    Answers are called as in `read_answers`; those count that all the task's texts have,
    so ask them all (`aeb.complete`). Label tasks are not joined, tasks outside AAID
    neither.
    """
    found = {}
    for key, table, gold in _list_parts(dev):
        model = _regress().fit(table.to_numpy(), gold)
        scaler, ridge = model[0], model[1]
        slopes = ridge.coef_ / scaler.scale_
        constant = float(ridge.intercept_ - slopes @ scaler.mean_)
        weights = dict(zip(table.columns, map(float, slopes), strict=True))
        found[key] = weights | {CONSTANT: constant}
    return found


def cross_fit(dev: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Development judgements with joined means, none by weights fitted to its own gold.

    For choices that are made after joining: they see errors as large as on new texts.
    FOLDS folds.
    """
    means = dev["mean"].copy()
    for _, table, gold in _list_parts(dev):
        folds = KFold(min(FOLDS, len(table)), shuffle=True, random_state=seed)
        means[table.index] = cross_val_predict(
            _regress(), table.to_numpy(), gold, cv=folds
        )
    return dev.assign(mean=means)


def join(judged: pd.DataFrame, weights: Weights) -> pd.DataFrame:
    """Judgements whose means are joined; those of other tasks as they are.

    DataError for a text that was not asked all that the weights want.
    """
    means = judged["mean"].copy()
    answers = tabulate(judged)
    for key, rows in _group(judged):
        if key not in weights:
            continue
        names = [name for name in weights[key] if name != CONSTANT]
        table = answers.reindex(index=rows["id"], columns=names)
        if table.isna().any(axis=None):
            lacking = table.columns[table.isna().any()][0]
            raise DataError(f"{key}: not every text was asked {lacking}, too")
        slopes = np.array([weights[key][name] for name in names])
        means[rows.index] = table.to_numpy() @ slopes + weights[key][CONSTANT]
    return judged.assign(mean=means)


def join_splits(
    dev: pd.DataFrame, test: pd.DataFrame, seed: int = 0
) -> tuple[Weights, pd.DataFrame, pd.DataFrame]:
    """Weights fitted to `dev`, then the items with gold of both, their means joined.

    Those of `dev` by `cross_fit`.
    """
    weights = fit(dev)
    sides = cross_fit(dev, seed), join(test, weights)
    return weights, *(side.dropna(subset="gold", ignore_index=True) for side in sides)


def join_one(answers: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The joined mean of one text's answers, by the weights of one task and emotion."""
    return weights[CONSTANT] + sum(
        weight * answers[name] for name, weight in weights.items() if name != CONSTANT
    )


def read_answers(task: str, emotion, probabilities: Mapping, mean: float) -> dict:
    """One question's answer as numbers: a mean, or the log odds of every label.

    Named "EI-reg joy", "V-oc", "E-c trust".
    """
    if get(task).kind != "labels":
        return {name_part(task, emotion): mean}
    p = np.clip(list(probabilities.values()), _LEAST, 1 - _LEAST)
    odds = np.log(p / (1 - p))
    return {f"{task} {x}": float(v) for x, v in zip(probabilities, odds, strict=True)}


def tabulate(judged: pd.DataFrame) -> pd.DataFrame:
    """All answers about a text in a row, index id, columns named by `read_answers`."""
    texts: dict[str, dict] = {}
    names = ["id", "task", "emotion", "probabilities", "mean"]
    for name, *answer in judged[names].itertuples(index=False, name=None):
        texts.setdefault(name, {}).update(read_answers(*answer))
    return pd.DataFrame.from_dict(texts, orient="index")


def _list_parts(dev: pd.DataFrame):
    """Key, answers of all its texts (the index is that of `dev`) and gold."""
    answers = tabulate(dev)
    for key, rows in _group(dev[dev["gold"].notna()]):
        table = answers.loc[rows["id"]].dropna(axis="columns").set_axis(rows.index)
        yield key, table, rows["gold"].to_numpy(dtype=float)


def _group(judged: pd.DataFrame):
    """Key and rows of every task and emotion that is joined."""
    for (task, emotion), rows in judged.groupby(["task", "emotion"], dropna=False):
        if task in AAID and get(task).kind != "labels":
            yield name_part(task, emotion), rows


def _regress():
    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
