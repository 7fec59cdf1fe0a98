"""Answers' probabilities, as `predict` gives them: joined with gold, kept in a file.

A record says how probable the model finds every answer that its task allows. What is made of that,
a class, a number or a set of labels, is decided elsewhere (`decision_rules`).

A frame of judgements has a row per item with task, id, emotion (None where a task has none),
probabilities (dict: an answer's name to its probability; a label's to the probability that the list
holds it) and mean (of a score's or class's distribution, in the corpus's range; NaN for labels).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError, files
from emolib.data import parsing
from emolib.data.rows import Rows, to_frame
from emolib.tasks import Task, get

KEYS = ["task", "id", "emotion"]
NEAR = 0.1  # of the range: a score this close to another counts as equal to it
_LEAST = 1e-6  # a probability is taken to be this at least
DIGITS = 4  # decimals that are kept of a probability in a file


def compute_mean(task: str, probabilities: Mapping) -> float:
    """The mean of a score's or class's distribution, in the corpus's range."""
    if get(task).kind == "labels":
        return np.nan
    return sum(float(name) * p for name, p in probabilities.items())


def scale(p: np.ndarray, temperature: float) -> np.ndarray:
    """A distribution [..., answers] at a temperature: above 1 flatter."""
    logits = np.log(p.clip(_LEAST)) / temperature
    scaled = np.exp(logits - logits.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def scale_labels(p, temperature: float) -> np.ndarray:
    """Probabilities of labels, each for itself, at a temperature."""
    p = np.asarray(p, dtype=float).clip(_LEAST, 1 - _LEAST)
    return 1 / (1 + np.exp(-np.log(p / (1 - p)) / temperature))


def name_part(task: str, emotion=None) -> str:
    """The name of a task, or of its part about one emotion, in kept settings."""
    return f"{task} {emotion}" if isinstance(emotion, str) else task


def group(judged: pd.DataFrame, *kinds: str, sort: bool = True) -> dict[str, pd.DataFrame]:
    """The rows of each task and emotion by `name_part`, for tasks of these kinds."""
    grouped = judged.groupby(["task", "emotion"], dropna=False, sort=sort)
    return {name_part(*key): rows for key, rows in grouped if get(key[0]).kind in kinds}


def stack(task: Task, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [items, answers], and gold: answers' numbers, or labels present."""
    given = np.array([list(each.values()) for each in rows["probabilities"]])
    names = list(rows["probabilities"].iloc[0])
    if task.kind == "labels":
        return given, np.array([[n in each for n in names] for each in rows["gold"]])
    given = given / given.sum(1, keepdims=True)  # kept ones are rounded
    values = np.array([float(name) for name in names])
    gold = rows["gold"].to_numpy(dtype=float)
    return given, np.abs(gold[:, None] - values).argmin(1)


def collect(*responses: pd.DataFrame) -> pd.DataFrame:
    """Judgements from constrained answers, in the order given.

    DataError for responses without probabilities (method "generate" gives none) and for two
    responses to one item.
    """
    whole = pd.concat(responses, ignore_index=True)
    if "probabilities" not in whole:
        raise DataError("responses without probabilities: predict by 'constrained'")
    if whole.duplicated(KEYS).any():
        raise DataError("two responses to one item")
    return _complete(whole[[*KEYS, "probabilities"]])


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the means; an emotion that is missing is None."""
    emotions = table["emotion"].astype(object)
    means = map(compute_mean, table["task"], table["probabilities"])
    return table.assign(emotion=emotions.where(emotions.notna(), None), mean=list(means))


def add_gold(judged: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Judgements with a column gold: the values in `rows`; errors as in `find_items`."""
    return judged.assign(gold=find_items(judged, rows)["gold"].set_axis(judged.index))


def find_items(answers: pd.DataFrame, rows: Rows, *more: str) -> pd.DataFrame:
    """The item of each answer: KEYS, gold as a value (see `parsing`), and the columns `more`.

    DataError for an answer whose item is not among the rows, and for two answers to one item.
    """
    items = to_frame(rows).reindex(columns=[*KEYS, "gold", *more]).drop_duplicates(KEYS)
    table = to_frame(answers[KEYS])
    for row in table[table.duplicated(KEYS)].head(1).values.tolist():
        raise DataError(f"two responses to one item: {row}")
    table = table.merge(items, on=KEYS, how="left")
    missing = table[KEYS][table["gold"].isna()]
    if len(missing):
        raise DataError(
            f"no gold for {len(missing)} responses to items that are not among the rows, the first:"
            f" {missing.iloc[0].tolist()}"
        )
    gold = map(parsing.read_gold, table["task"], table["gold"])
    return table.assign(gold=pd.Series(list(gold), dtype=object))


def save(path: str | Path, parts: Mapping[str, pd.DataFrame], **about) -> Path:
    """Keeps judgements as compressed Parquet, without any text; the path.

    `parts`: split ("dev", "test") to judgements. `about` goes into the file's metadata.
    Probabilities are rounded to DIGITS decimals: what is scored is the file.
    """
    whole = pd.concat([part.assign(split=name) for name, part in parts.items()])
    names = whole.drop_duplicates("task").set_index("task")["probabilities"].map(list).to_dict()
    given = [
        np.array([each[name] for name in names[task]]).round(DIGITS)
        for task, each in zip(whole["task"], whole["probabilities"], strict=True)
    ]
    columns = {name: pa.array(whole[name], pa.string()) for name in ("split", *KEYS)}
    columns["probabilities"] = pa.array(given, pa.list_(pa.float32()))
    told = {"answers": json.dumps(names), "about": json.dumps(about)}
    table = pa.table(columns).replace_schema_metadata(told)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19)
    return path


def load(path: str | Path) -> tuple[dict[str, pd.DataFrame], dict]:
    """What `save` kept: split to judgements, and what was said about them.

    DataError names a file that is not there or is none of `save`'s.
    """
    try:
        table = pq.read_table(path)
        told = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
        names = told["answers"]
        frame = table.to_pandas()
        given = zip(frame["task"], frame["probabilities"], strict=True)
        frame["probabilities"] = [
            dict(zip(names[task], np.asarray(each, float).round(DIGITS), strict=True))
            for task, each in given
        ]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no file of judgements ({error!r})") from None
    parts = {
        split: rows.drop(columns="split").reset_index(drop=True)
        for split, rows in _complete(frame).groupby("split", sort=False)
    }
    return parts, told["about"]
