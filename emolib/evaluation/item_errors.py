"""Where predictions go wrong: features of a text, error per item, the worst cases."""

import re

import emoji
import numpy as np
import pandas as pd

from emolib.data import parsing, prompts
from emolib.data.rows import Rows
from emolib.evaluation.judgements import KEYS, find_items
from emolib.tasks import get

# Negation words after Kiritchenko, Zhu and Mohammad (2014), cut to the closed class.
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|nowhere|without|cannot)\b|n['’]t\b",
    re.IGNORECASE,
)


def describe(texts: pd.Series) -> pd.DataFrame:
    """Per text: words (count), emoji, hashtags and negation (each True or False)."""
    return pd.DataFrame(
        {
            "words": texts.str.split().str.len(),
            "emoji": texts.map(lambda text: emoji.emoji_count(text) > 0),
            "hashtags": texts.str.contains(r"#\w"),
            "negation": texts.map(lambda text: bool(_NEGATION.search(text))),
        }
    )


def compare(rows: Rows, responses: pd.DataFrame) -> pd.DataFrame:
    """Items beside what was answered, one row per response, in the responses' order.

    Columns task, id, emotion, text, gold, response, predicted, error. `rows` as `aeb.build` gives
    them (more of them do no harm), `responses` as `predict.predict` does; with a column prediction
    instead of response, as the baselines give it, values are taken as they are. gold and predicted
    are values as in `parsing`, scores in the corpus's range (rows without instructions: as if that
    range had been asked for); error is the distance between them as a share of the scale (score
    and ordinal tasks) or 1 minus the Jaccard index (label tasks), so 0 to 1; missing where nothing
    was parsed.

    DataError for a response whose item is not among the rows, and for one that stands there twice.
    """
    table = find_items(responses, rows, "text", "instruction")
    given = "prediction" if "prediction" in responses else "response"
    response = predicted = responses[given].reset_index(drop=True).astype(object)
    if given == "response":
        ranges = map(prompts.read_range, table["task"], table["instruction"])
        found = list(map(parsing.parse, table["task"], response, ranges))
        predicted = pd.Series(found, dtype=object)
    error = np.array([*map(_measure, table["task"], table["gold"], predicted)], dtype=float)
    table = table.assign(response=response, predicted=predicted, error=error)
    return table[[*KEYS, "text", "gold", "response", "predicted", "error"]]


def find_worst(table: pd.DataFrame, task: str, n: int = 20) -> pd.DataFrame:
    """The `n` items of a task with the largest error, unparsed ones first."""
    rows = table[table["task"] == task]
    ranked = rows.sort_values(["error", "id"], ascending=[False, True], na_position="first")
    columns = ["emotion", "text", "gold", "predicted", "response", "error"]
    return ranked[columns].head(n).dropna(axis=1, how="all").reset_index(drop=True)


def _measure(name: str, gold, predicted) -> float | None:
    task = get(name)
    if predicted is None:
        return None
    if task.kind == "labels":
        either = set(gold) | set(predicted)
        return 1 - len(set(gold) & set(predicted)) / len(either) if either else 0.0
    low, high = task.range or (min(task.classes), max(task.classes))
    return abs(gold - predicted) / (high - low)
