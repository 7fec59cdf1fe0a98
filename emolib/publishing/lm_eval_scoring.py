"""Loads and scores the benchmark inside lm-evaluation-harness; needs emolib there."""

import json
from functools import partial
from pathlib import Path

import datasets
import pandas as pd

from emolib.evaluation import item_errors, metrics
from emolib.tasks import get


def load(task: str, **_) -> dict:
    """The items of a task, as the harness's custom data set."""
    lines = Path(__file__).with_name(f"{task}.jsonl").read_text("utf-8").split("\n")[:-1]
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def keep(doc: dict, results: list[str]) -> dict:
    """One item's answer, kept for every metric: scores need all items together."""
    item = {**doc, "response": results[0]}
    return dict.fromkeys((*get(doc["task"]).primary_metrics, "unparsed"), item)


def score(name: str, items: list[dict]) -> float:
    """One metric over a task's answered items; its meaning is in `metrics.score`."""
    table = pd.DataFrame(items)
    return metrics.score(*metrics.take_columns(item_errors.compare(table, table)))[name]


# The harness finds an aggregation by its name.
pearson = partial(score, "pearson")
accuracy = partial(score, "accuracy")
jaccard = partial(score, "jaccard")
f1_micro = partial(score, "f1_micro")
f1_macro = partial(score, "f1_macro")
unparsed = partial(score, "unparsed")
