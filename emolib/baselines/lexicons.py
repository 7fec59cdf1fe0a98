"""Lexicons: sentiment words and rules, no training, no model. VADER and TextBlob."""

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.data.rows import Rows, to_frame
from emolib.tasks import Task, get

NAMES = ("vader", "textblob")


def lexicon(name: str, rows: Rows) -> pd.DataFrame:
    """A lexicon's judgement of each item it can judge: id, task, emotion, prediction.

    Both give a text's polarity in [-1, 1] (VADER's compound score, TextBlob's default pattern
    lexicon). For valence scores it is mapped to the task's range; for TDT it is the polarity's
    sign, 0 being neutral. Items of other tasks (emotions, arousal, five or seven classes) are left
    out, as no lexicon says anything about them. `rows` as `aeb.build` or `release.read_release`
    gives them; predictions are values as `parsing.parse` gives.

    Raises DataError for an unknown lexicon and if no item is of a task it can judge.
    """
    if name not in NAMES:
        raise DataError(f"no lexicon {name!r}: there are {', '.join(NAMES)}")
    frame = to_frame(rows)[["id", "task", "emotion", "text"]]
    tasks = map(get, frame["task"].unique())
    judged = {x.name: x.name in ("TDT", "V-reg") or x.ask == "V-reg" for x in tasks}
    frame = frame[frame["task"].map(judged).astype(bool)].reset_index(drop=True)
    if not len(frame):
        only = f"there are only items of {', '.join(judged)}"
        raise DataError(f"{name} judges valence scores and TDT; {only}")
    measure = load(name)
    polarities = {text: measure(text) for text in frame["text"].unique()}
    pairs = zip(frame["task"], frame["text"], strict=True)
    values = [_map(get(task), polarities[text]) for task, text in pairs]
    return frame[["id", "task", "emotion"]].assign(prediction=values)


def load(name: str):
    """A function from a text to its polarity in [-1, 1]."""
    if name == "vader":
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        analyzer = SentimentIntensityAnalyzer()
        return lambda text: analyzer.polarity_scores(text)["compound"]
    from textblob import TextBlob

    return lambda text: TextBlob(text).sentiment.polarity


def _map(task: Task, polarity: float) -> float | int:
    if task.kind == "ordinal":
        return int(np.sign(polarity))
    return float(np.interp(polarity, (-1, 1), task.range))
