"""Loads and scores the benchmark inside lm-evaluation-harness; needs emolib there."""

import json
from pathlib import Path

import datasets

from emolib.data import parsing, prompts
from emolib.evaluation import metrics
from emolib.tasks import get


def load(task: str, **_) -> dict:
    """The items of a task, as the harness's custom data set."""
    path = Path(__file__).with_name(f"{task}.jsonl")
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def keep(doc: dict, results: list[str]) -> dict:
    """One item's answer, kept for every metric: scores need all items together."""
    item, task = {**doc, "response": results[0]}, get(doc["task"])
    return dict.fromkeys((*task.metrics[: task.primary], "unparsed"), item)


def _score(items: list[dict], name: str) -> float:
    task = items[0]["task"]
    predicted = [
        parsing.parse(task, item["response"], prompts.read_range(task, item["instruction"]))
        for item in items
    ]
    emotions = [item["emotion"] for item in items]
    groups = emotions if emotions[0] else None
    return metrics.score(task, [x["gold"] for x in items], predicted, groups)[name]


def pearson(items: list[dict]) -> float:
    return _score(items, "pearson")


def accuracy(items: list[dict]) -> float:
    return _score(items, "accuracy")


def jaccard(items: list[dict]) -> float:
    return _score(items, "jaccard")


def f1_micro(items: list[dict]) -> float:
    return _score(items, "f1_micro")


def f1_macro(items: list[dict]) -> float:
    return _score(items, "f1_macro")


def unparsed(items: list[dict]) -> float:
    return _score(items, "unparsed")
