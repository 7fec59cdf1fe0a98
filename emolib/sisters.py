"""Two questions about one text, one answer: scores and classes lend to each other.

EI-reg and EI-oc ask for the same intensity in the same texts, V-reg and V-oc for the
same valence, once as a number and once as a class (the classes were cut from the
scores; Mohammad et al. 2018). A model's two answers err in part independently. Their
weights are fitted on development data.
"""

import pandas as pd
from sklearn.linear_model import LinearRegression

from emolib import DataError

SISTERS = {"EI-reg": "EI-oc", "EI-oc": "EI-reg", "V-reg": "V-oc", "V-oc": "V-reg"}
_ITEM = ["id", "emotion"]


def fit(dev: pd.DataFrame) -> dict[str, list[float]]:
    """Task to the weights of its own mean, of its sister's, and a constant.

    `dev`: judgements with gold, see `distributions`. Least squares over all emotions.
    Tasks whose sister was not asked are left out.
    """
    weights = {}
    for task in SISTERS:
        pairs = _pair(dev, task)
        if len(pairs):
            model = LinearRegression().fit(
                pairs[["mean", "sister"]].to_numpy(), pairs["gold"].astype(float)
            )
            weights[task] = [*map(float, model.coef_), float(model.intercept_)]
    return weights


def join(judged: pd.DataFrame, weights: dict[str, list[float]]) -> pd.DataFrame:
    """Judgements whose means are the weighted ones; those of other tasks as they are.

    DataError for an item whose sister question was not asked.
    """
    means = judged["mean"].copy()
    for task, (own, other, constant) in weights.items():
        pairs = _pair(judged, task)
        if len(pairs) < (judged["task"] == task).sum():
            raise DataError(f"{task}: not every item was asked {SISTERS[task]}, too")
        means[pairs.index] = own * pairs["mean"] + other * pairs["sister"] + constant
    return judged.assign(mean=means)


def _pair(judged: pd.DataFrame, task: str) -> pd.DataFrame:
    """The task's items whose sister was asked as well, with her mean as `sister`."""
    named = judged.assign(emotion=judged["emotion"].fillna(""))
    hers = named[named["task"] == SISTERS[task]].set_index(_ITEM)["mean"]
    own = named[named["task"] == task]
    return own.join(hers.rename("sister"), on=_ITEM).dropna(subset=["sister"])
