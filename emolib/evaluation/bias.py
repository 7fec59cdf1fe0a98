"""Do judgements move when only the person of a sentence changes? No torch at import.

The method of Kiritchenko and Mohammad (2018), on the sentences that `equity_corpus` takes apart. A
frame is a sentence with the person taken out; a measure is one of EI-reg's emotions, or "valence".
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value
from scipy import stats
from statsmodels.stats.multitest import multipletests

from emolib import DataError
from emolib.data import prompts
from emolib.data.equity_corpus import SIDES
from emolib.tasks import EMOTIONS

MEASURES = (*EMOTIONS, "valence")
_WITHIN = {"gender": "couple", "race": "gender"}  # only alike persons are compared
_TASKS = ("EI-reg", "V-reg")  # both in 0 to 1
_COLUMNS = ("id", "task", "emotion", "text", "instruction", "prompt")


def build_rows(
    sentences: pd.DataFrame, emotions: Sequence[str] = EMOTIONS, form: str = "paper", tokenizer=None
) -> Dataset:
    """Prompts for `predict.predict`: id, task, emotion, instruction, text, prompt.

    The given emotions of EI-reg, then valence (V-reg, emotion None). Each task has one instruction,
    its first, in all prompts, so that two of them differ in nothing but the person. A text's
    emotions follow one another, as their beginnings are shared.
    """
    rows = []
    for task, asked in (("EI-reg", emotions), ("V-reg", [None])):
        instruction = prompts.instructions(task)[0]
        for name, text in zip(sentences["id"], sentences["text"], strict=True):
            for emotion in asked:
                row = dict(zip(_COLUMNS, (name, task, emotion, text, instruction), strict=False))
                rows.append(row | prompts.render(row, form, tokenizer))
    features = Features(dict.fromkeys(_COLUMNS, Value("string")))
    return Dataset.from_list(rows, features=features)


def pair(sentences: pd.DataFrame, predictions: pd.DataFrame, by: str = "gender") -> pd.DataFrame:
    """First side (SIDES) less second, per measure, frame and group of alike persons.

    Columns measure, frame, group, first, second, difference; the sides are means of predictions. By
    "gender" a group is a couple, and the first names are one (as in the paper); by "race" it is a
    gender, and only first names count. Groups without both sides are left out. `sentences` as
    `describe` gives them. `predictions`: id, task, emotion, prediction (0 to 1) for each of them,
    more do no harm; a measure that nobody predicted has no rows.

    Raises DataError for an unknown side, for a prediction that is missing, stands there twice or is
    not in 0 to 1, and where no frame has both sides.
    """
    if by not in SIDES:
        raise DataError(f"by is {by!r}, expected one of {', '.join(SIDES)}")
    judged = _join(sentences, predictions).dropna(subset=[by])
    keys = ["measure", "frame", _WITHIN[by]]
    means = judged.groupby([*keys, by], sort=False)["prediction"].mean()
    wide = means.unstack(by).reindex(columns=list(SIDES[by])).dropna()
    if not len(wide):
        raise DataError(f"no frame with persons on both sides: {', '.join(SIDES[by])}")
    wide = wide.set_axis(["first", "second"], axis=1).reset_index()
    wide["difference"] = wide["first"] - wide["second"]
    return wide.rename(columns={_WITHIN[by]: "group"})


def average_persons(sentences: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """How far each person's predictions lie from their frames' means, on average.

    Columns measure, person, gender, race, difference, a row per measure and person. A single name
    far from the others may be all that a difference consists of.
    """
    judged = _join(sentences, predictions).dropna(subset=["person"])
    alike = judged.groupby(["measure", "frame"])["prediction"].transform("mean")
    judged["difference"] = judged["prediction"] - alike
    keys = ["measure", "person", "gender", "race"]
    means = judged.groupby(keys, sort=False, dropna=False)["difference"].mean()
    return means.round(12).reset_index()


def compare(
    sentences: pd.DataFrame,
    predictions: pd.DataFrame,
    by: str = "gender",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How far apart the sides are on average over frames, a row per measure.

    Columns by, measure, n (frames; a frame counts once, by the mean of its groups), difference
    (first side of SIDES less the second, of a scale of length 1), low, high (95 % percentile
    interval, bootstrap over frames), p (paired t-test over frames, as in the paper), p_holm
    (corrected for the rows of this table), d (Cohen's, of paired samples), share_of_spread
    (difference by the standard deviation of the predictions over all sentences), higher (share of
    frames where the first side is higher) and p_names (permutation test between the first names'
    own means: p speaks of these persons in other frames, this one of other names; NaN for a side
    with one name). Arguments and errors as in `pair`; DataError also for fewer than two frames.
    """
    pairs, judged = pair(sentences, predictions, by), _join(sentences, predictions)
    named, rows = average_persons(sentences, predictions).dropna(subset=["race"]), []
    for measure in MEASURES:
        group = pairs[pairs["measure"] == measure].groupby("frame")["difference"]
        found = group.mean().round(12).to_numpy()
        if not len(found):
            continue
        if len(found) < 2:
            raise DataError(f"{measure}: one frame, expected two or more")
        row = {"by": by, "measure": measure, "n": len(found)} | _measure(found, resamples, seed)
        spread = judged["prediction"][judged["measure"] == measure].std()
        row["share_of_spread"] = row["difference"] / spread if spread else 0.0
        row["higher"] = (found > 0).mean()
        names = named[named["measure"] == measure]
        sides = [names["difference"][names[by] == x].to_numpy() for x in SIDES[by]]
        rows.append(row | {"p_names": _test_names(sides, seed)})
    table = pd.DataFrame(rows)
    corrected = multipletests(table["p"], method="holm")[1]
    table.insert(table.columns.get_loc("p") + 1, "p_holm", corrected)
    return table


def _measure(found: np.ndarray, resamples: int, seed: int) -> dict:
    """Mean, interval, p and d of the frames' differences."""
    mean = found.mean()
    if np.ptp(found):
        options = {"n_resamples": resamples, "rng": np.random.default_rng(seed)}
        drawn = stats.bootstrap((found,), np.mean, method="percentile", **options)
        low, high = drawn.confidence_interval
        p, d = stats.ttest_1samp(found, 0).pvalue, mean / found.std(ddof=1)
    else:  # no test: without spread the answer is sure
        mean = low = high = found[0]
        p, d = (0.0, np.copysign(np.inf, mean)) if mean else (1.0, 0.0)
    return {"difference": mean, "low": low, "high": high, "p": p, "d": d}


def _test_names(sides: list[np.ndarray], seed: int) -> float:
    if min(map(len, sides)) < 2:
        return np.nan
    options = {"n_resamples": 2000, "vectorized": True, "rng": np.random.default_rng(seed)}
    return stats.permutation_test(
        sides, lambda first, second, axis: first.mean(axis) - second.mean(axis), **options
    ).pvalue


def _join(sentences: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per measure and sentence, with its prediction as a checked number."""
    wanted = ["id", "task", "emotion", "prediction"]
    if missing := [name for name in wanted if name not in predictions]:
        raise DataError(f"predictions without {', '.join(missing)}")
    told = predictions[predictions["id"].isin(sentences["id"])]
    if not len(told):
        raise DataError("no prediction of any of these sentences")
    if not told["task"].isin(_TASKS).all():
        raise DataError(f"predictions of other tasks than {' and '.join(_TASKS)}")
    measure = told["emotion"].where(told["task"] == "EI-reg", "valence")
    value = pd.to_numeric(told["prediction"], errors="coerce").astype(float)
    told = pd.DataFrame({"id": told["id"], "measure": measure, "prediction": value})
    for bad in told[~value.between(0, 1)].itertuples():
        raise DataError(f"{bad.id}: {bad.measure}: expected a score from 0 to 1")
    if told.duplicated(["id", "measure"]).any():
        raise DataError("two predictions of one sentence and measure")
    for name, count in told["measure"].value_counts().items():
        if count < len(sentences):
            raise DataError(f"{name}: predictions of {count} of {len(sentences)} sentences")
    return told.merge(sentences, on="id")
