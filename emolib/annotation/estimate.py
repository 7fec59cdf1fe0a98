"""Estimates from annotated texts that survive the tool's errors, and the rows to rate for them.

Scores of a tool that errs differently in two groups bias whatever is computed from them, however
many texts there are. Ratings of a random part of the texts mend that. Two estimators are here:

- DSL, design-based supervised learning (Egami et al. 2023, arXiv 2306.04746): a cross-fitted model
  predicts the rating from the tool's answer and the other variables; its errors on the rated texts,
  divided by each text's probability of being rated, are added;
- PPI, prediction-powered inference (Angelopoulos et al. 2023), in its form with a weight for the
  tool's answers (PPI++): with a useless tool it falls back on the ratings alone.

Both solve the estimating equation of `_solve`. Standard errors are of the sandwich form.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from patsy import PatsyError, dmatrix
from scipy import optimize, stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from emolib import DataError
from emolib.annotation.validation.sampling import PROBABILITY, read_numbers
from emolib.files import name_some

ESTIMATORS = ("naive", "rated texts alone", "DSL", "PPI")
_LEAST = 30  # rated texts
_FOLDS = 10


def estimate(
    table: pd.DataFrame,
    rated: str,
    predicted: str,
    terms: str = "1",
    probability: str | float | None = None,
    family: str = "linear",
    range: tuple[float, float] | None = None,
    model=None,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per estimator and term: estimator, term, estimate, se, low, high (95 %), n.

    `table`: one row per text, with the people's ratings in the column `rated` (missing where a text
    was not rated) and the tool's answers in `predicted`, which no row lacks. `terms`: what the
    outcome depends on, as a formula's right side: "1" is the mean; "party" the difference between
    groups; "age + C(party)" a regression. `probability`: the column of `sample` (also without being
    named), or a number; if there is none every text was as likely to be rated. Texts that were
    drawn and not rated are taken as missing at random among those of their probability. `family`:
    "linear", or "logistic" for ratings 0 and 1. `range`: the raters' scale, (1, 7), when
    `predicted` is a score from 0 to 1. `model`: a scikit-learn regressor for DSL, else a linear
    regression on the answer and the terms.

    The rows that were rated must be a random draw with known probabilities: those somebody found
    interesting will not do. DataError for fewer than 30 ratings, missing answers, probabilities
    outside (0, 1], and ratings that a logistic regression cannot take.
    """
    outcome, chance, answers = _read(table, rated, predicted, probability)
    design = _read_terms(table, terms)
    known, names, x = ~np.isnan(outcome), list(design.columns), design.to_numpy(float)
    _check_family(family, outcome[known], rated)
    naive = _rescale(answers, outcome[known], range)
    generator = LinearRegression() if model is None else model
    fitted = _predict_ratings(generator, outcome, np.column_stack([answers, x]), known, seed)
    draw = _Draw(known, chance, np.where(known, outcome, 0.0))

    def lean_on_tool(share: float):
        return _solve(x, naive, family, draw, share)

    # PPI++: the weight of the tool's answers with the least sum of variances.
    spread = optimize.minimize_scalar(
        lambda share: np.trace(lean_on_tool(share)[1]), bounds=(0, 1), method="bounded"
    )
    rows = {"naive": _solve(x, naive, family), "rated texts alone": lean_on_tool(0.0)}
    rows |= {"DSL": _solve(x, fitted, family, draw), "PPI": lean_on_tool(spread.x)}
    counts = {name: len(table) for name in ESTIMATORS} | {"rated texts alone": int(known.sum())}
    return pd.DataFrame(
        {"estimator": name, "term": term, **each, "n": counts[name]}
        for name in ESTIMATORS
        for term, each in zip(names, _describe(*rows[name]), strict=True)
    )


def _read(table: pd.DataFrame, rated: str, predicted: str, probability):
    for name in (rated, predicted, *([probability] if isinstance(probability, str) else [])):
        if name not in table:
            raise DataError(f"no column {name!r}: there are {name_some(table)}")
    outcome, answers = (read_numbers(table[name], name) for name in (rated, predicted))
    if missing := int(np.isnan(answers).sum()):
        raise DataError(f"{predicted}: {missing} of {len(table)} texts have no answer: drop them")
    known = ~np.isnan(outcome)
    if known.sum() < _LEAST:
        raise DataError(f"{rated}: {known.sum()} ratings, expected {_LEAST} or more (better 200)")
    chance = _read_chances(table, known, probability)
    return outcome, chance, answers


def _read_chances(table: pd.DataFrame, known: np.ndarray, probability) -> np.ndarray:
    """Every text's probability of being rated; DataError where ratings do not fit it."""
    if probability is None and PROBABILITY not in table:
        return np.full(len(table), known.mean())
    if isinstance(probability, float | int):
        chance = np.full(len(table), float(probability))
    else:
        probability = probability or PROBABILITY
        chance = read_numbers(table[probability], probability)
    if not ((chance[known] > 0) & (chance[known] <= 1)).all():
        raise DataError(f"{probability}: probabilities of rated texts, above 0 and at most 1")
    if not isinstance(probability, float | int):
        given = chance  # what was drawn and never rated is missing as if at random
        for p in np.unique(given[known]):
            chance = np.where(given == p, p * known[given == p].mean(), chance)
    total = (1 / chance[known]).sum()
    error = np.sqrt(((1 - chance[known]) / chance[known] ** 2).sum())
    if abs(total - len(table)) > 4 * error + 0.02 * len(table):
        hint = "a text is rated with this probability, and all texts are in the table"
        problem = f"{known.sum()} ratings stand for {total:.0f} texts, not for {len(table)}"
        raise DataError(f"probability: {problem}: {hint}")
    return chance


def _rescale(answers: np.ndarray, ratings: np.ndarray, scale) -> np.ndarray:
    """The tool's answers on the raters' scale; DataError where that is not known."""
    if scale is None:
        unit = answers.min() >= 0 and answers.max() <= 1
        if unit and (ratings.min() < -0.01 or ratings.max() > 1.01):
            ends = f"{ratings.min():g} to {ratings.max():g}"
            raise DataError(f"range: answers lie in 0 to 1, ratings in {ends}: give (low, high)")
        return answers
    if isinstance(scale, str) or len(scale) != 2 or not scale[0] < scale[1]:
        raise DataError(f"range {scale!r}: expected the ends of the raters' scale, (1, 7)")
    return scale[0] + (scale[1] - scale[0]) * answers


def _read_terms(table: pd.DataFrame, terms: str) -> pd.DataFrame:
    try:
        design = dmatrix(terms, table, return_type="dataframe", NA_action="raise")
    except (PatsyError, NameError, SyntaxError, KeyError) as error:
        raise DataError(f"terms {terms!r}: {error}") from None
    if np.linalg.matrix_rank(design.to_numpy()) < design.shape[1]:
        raise DataError(f"terms {terms!r}: some columns are sums of others, or constant")
    return design


def _check_family(family: str, ratings: np.ndarray, rated: str) -> None:
    if family not in ("linear", "logistic"):
        raise DataError(f"family {family!r}: expected linear or logistic")
    if family == "logistic" and not set(np.unique(ratings)) == {0.0, 1.0}:
        raise DataError(f"{rated}: a logistic regression takes ratings 0 and 1, both of them")


def _predict_ratings(model, outcome, inputs, known, seed: int) -> np.ndarray:
    """What the model expects the raters to say, of every text from others alone."""
    rows, found = np.flatnonzero(known), np.zeros(len(outcome))
    for train, held_out in KFold(_FOLDS, shuffle=True, random_state=seed).split(rows):
        model.fit(inputs[rows[train]], outcome[rows[train]])
        found[~known] += model.predict(inputs[~known]) / _FOLDS if not known.all() else 0
        found[rows[held_out]] = model.predict(inputs[rows[held_out]])
    return found


@dataclass(frozen=True)
class _Draw:
    """Which texts were rated, every text's probability of that, ratings (0 where there is none)."""

    known: np.ndarray
    chance: np.ndarray
    ratings: np.ndarray


def _solve(x, expected, family: str, draw: _Draw | None = None, share: float = 1.0):
    """Coefficients b and their covariance, from the estimating equation

        sum over rated texts of x (rating - mean(x b)) / probability
        + share * (sum over all of x (expected - mean) - the same over rated ones / probability) = 0

    `share` 0: the rated texts alone; without `draw`: what is expected, taken for ratings.
    """
    weight, y = np.ones(len(x)), expected
    if draw:
        inverse = np.where(draw.known, 1 / draw.chance, 0.0)
        weight = (1 - share) * inverse + share
        y = inverse * draw.ratings + share * expected * (1 - inverse)
        y = np.divide(y, weight, out=np.zeros(len(x)), where=weight > 0)
    if family == "linear":
        values = sm.WLS(y, x, weights=weight).fit().params
        mean, slope = x @ values, weight
    else:
        values = _solve_logistic(x, y, weight)
        mean = _expit(x @ values)
        slope = weight * mean * (1 - mean)
    bread = np.linalg.inv((x * slope[:, None]).T @ x)
    parts = x * (weight * (y - mean))[:, None]
    spread = parts.T @ parts
    if draw:
        spread -= _save(x, draw, (1 - share) * mean + share * expected)
    return values, bread @ spread @ bread


def _solve_logistic(x, y, weight) -> np.ndarray:
    # Pseudo-outcomes may leave [0, 1], where packages refuse to fit a logistic regression.
    def gap(b):
        mean = _expit(x @ b)
        slope = -(x * (weight * mean * (1 - mean))[:, None]).T @ x
        return x.T @ (weight * (y - mean)), slope

    found = optimize.root(gap, np.zeros(x.shape[1]), jac=True)
    if not found.success:
        raise DataError("the logistic regression has no solution: fewer terms, or more ratings")
    return found.x


def _save(x, draw: _Draw, expected) -> np.ndarray:
    """The variance that a draw of fixed size saves over one that tosses a coin for each text.

    Texts of one probability are taken for one stratum.
    """
    saved = np.zeros((x.shape[1], x.shape[1]))
    errors = x * (draw.ratings - expected)[:, None]
    for p in np.unique(draw.chance[draw.known]):
        part = errors[draw.known & (draw.chance == p)]
        center = part.mean(0)
        saved += len(part) / p * (1 - p) / p * np.outer(center, center)
    return saved


def _expit(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


def _describe(values: np.ndarray, covariance: np.ndarray) -> list[dict[str, float]]:
    errors = np.sqrt(np.diag(covariance))
    reach = stats.norm.ppf(0.975) * errors
    ends = zip(values, errors, values - reach, values + reach, strict=True)
    return [dict(zip(("estimate", "se", "low", "high"), map(float, x), strict=True)) for x in ends]
