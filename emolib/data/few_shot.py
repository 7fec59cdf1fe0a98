"""Few-shot prompts: solved examples of the training split before the question."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from emolib import DataError
from emolib.data import corpora
from emolib.data.parsing import read_gold
from emolib.data.prompts import form_of, render_after
from emolib.data.rows import Rows, to_dataset
from emolib.tasks import NEUTRAL, Task, get

_THIRDS = ("lowest", "middle", "highest")


def few_shot(rows: Rows, shots: int = 1, seed: int = 0, data: str | Path = "official") -> Dataset:
    """The rows with prompts that hold examples; all other columns as they were.

    `shots` examples for every class of an ordinal task, every label (and none) of a label task,
    every third of the training rows by score, as the paper has at least one per emotion or label
    (4.1), in random order. They come from the task's training split, for EI tasks of the same
    emotion, are drawn by `seed`, and are the same for all items of a task and emotion. A text that
    is to be judged is never among them, nor one that differs in letter case or punctuation alone.

    Raises DataError for a task without a training split (VADER's sets), for fewer examples of a
    class than asked for, for shots below 1, and for prompts in chat form.
    """
    if shots < 1:
        raise DataError(f"shots is {shots}, expected 1 or more")
    rows = to_dataset(rows)
    tested = {_fold(text) for text in rows["text"]}

    @cache
    def pick(task: str, emotion: str | None) -> list[dict]:
        return _pick(get(task), emotion, shots, seed, data, tested)

    def write(row: dict) -> dict:
        examples = pick(row["task"], row["emotion"])
        return {"prompt": render_after(row, examples, form_of(row["prompt"]))}

    return rows.map(write, load_from_cache_file=False)


def _pick(task: Task, emotion: str | None, shots: int, seed: int, data, tested: set) -> list[dict]:
    if "train" not in task.sizes:
        raise DataError(f"{task.name} has no training split to take examples from")
    frame = corpora.read(task.name, "train", data)
    if emotion:
        frame = frame[frame["emotion"] == emotion]
    frame = frame[~frame["text"].map(_fold).isin(tested)]
    rng = np.random.default_rng(seed)
    chosen = []
    for name, fits in _bins(task, frame).items():
        rest = frame.index[fits & ~frame.index.isin(chosen)]
        if len(rest) < shots:
            there = f"{len(rest)} training rows for {name!r}, expected {shots}"
            raise DataError(f"{task.name}: {there}: ask for fewer shots")
        chosen += rng.choice(rest, shots, replace=False).tolist()
    return frame.loc[rng.permutation(chosen)].to_dict("records")


def _fold(text: str) -> str:
    """Letters and digits alone: the release adds full stops, SST-5 has lower case."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _bins(task: Task, frame: pd.DataFrame) -> dict[object, pd.Series]:
    """What must be among the examples: name -> which rows are of that kind."""
    values = frame["gold"].map(lambda gold: read_gold(task.name, gold))
    if task.kind == "ordinal":
        return {value: values == value for value in task.classes}
    if task.kind == "labels":
        found = {x: values.map(lambda v, x=x: x in v) for x in task.labels}
        return found | ({NEUTRAL: values.map(len) == 0} if task.neutral else {})
    thirds = pd.qcut(values.astype(float).rank(method="first"), 3, labels=_THIRDS)
    return {f"the {name} third": thirds == name for name in _THIRDS}
