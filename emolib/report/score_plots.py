"""Losses and scores become Axes, one function per figure.

Every function draws on the Axes it is given (or new ones) and returns them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from emolib.tasks import METRIC_NAMES


def draw_loss(log: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Training and validation loss (nats per token) by optimizer step."""
    axes = axes or plt.subplots(figsize=(5, 3))[1]
    for column, name in (("loss", "training"), ("eval_loss", "validation")):
        part = log.dropna(subset=[column])
        axes.plot(part["step"], part[column], marker="o", markersize=3, label=name)
    axes.set(xlabel="optimizer step", ylabel="loss, nats per token", ylim=(0, None))
    axes.legend()
    return axes


def draw_scores(scores: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Score and 95 % interval per task and metric, one colour per model.

    `scores`: columns model, task, metric, value, low, high, n. A model without a score
    leaves its place empty.
    """
    scores, models = scores.reset_index(drop=True), list(dict.fromkeys(scores["model"]))
    names = METRIC_NAMES | {"accuracy": "accuracy"}  # there is room for the word
    groups = scores["task"] + "\n" + scores["metric"].replace(names)
    labels = list(dict.fromkeys(groups))
    wide = max(6, len(labels), 0.12 * len(labels) * (len(models) + 1))
    axes = axes or plt.subplots(figsize=(wide, 3))[1]
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        rows = scores[scores["model"] == model]
        places = groups[rows.index].map(labels.index)
        places = places + (number - (len(models) - 1) / 2) * width
        style = {"yerr": reach(rows), "capsize": 2, "label": model}
        bars = axes.bar(places, rows["value"], width, **style)
        size = 6 if len(models) < 4 else 4
        axes.bar_label(bars, fmt="%.2f", fontsize=size, padding=2)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.set(ylabel="score (95 % interval)", ylim=(min(0, *scores["low"]) - 0.06, 1))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(models))
    return axes


def draw_copies(copies: pd.DataFrame, scores: pd.DataFrame) -> list[Axes]:
    """Copies of one model: a panel with their scores, one with speed against size.

    `copies`: columns copy, megabytes, items_per_second; `scores` as `metrics.tabulate`,
    the copy's name as model. Whiskers are 95 % intervals over the items.
    """
    _, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
    shown = scores[~scores["metric"].str.contains(".", regex=False)]
    shown = shown.drop_duplicates(["model", "task"])  # the first metric of each
    first = shown.drop_duplicates("task").replace({"metric": METRIC_NAMES})
    places, width = np.arange(len(first)), 0.8 / len(copies)
    for number, copy in enumerate(copies.to_dict("records")):
        part = shown[shown["model"] == copy["copy"]].set_index("task")
        part = part.reindex(first["task"])
        spot = places + (number - (len(copies) - 1) / 2) * width
        axes[0].bar(spot, part["value"], width, yerr=reach(part))
        spot = copy["megabytes"], copy["items_per_second"]
        axes[1].scatter(*spot, 40, label=copy["copy"])
    axes[0].set_xticks(places, first["task"] + "\n" + first["metric"])
    axes[0].set_ylabel("score")
    axes[1].set(xlabel="weights in memory (MB)", ylabel="items per second")
    axes[1].set(xlim=(0, None), ylim=(0, None))
    axes[1].figure.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    return list(axes)


def reach(part: pd.DataFrame) -> np.ndarray:
    """How far intervals go below and above values, of shape (2, rows); never negative.

    A bootstrap interval may lie beside its value, which Matplotlib would refuse.
    """
    below, above = part["value"] - part["low"], part["high"] - part["value"]
    return np.clip([below, above], 0, None).astype(float)
