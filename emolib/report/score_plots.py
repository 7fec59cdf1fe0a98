"""Losses and scores become Axes, one function per figure.

Every function draws on the Axes it is given (or new ones) and returns them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from emolib.tasks import METRIC_NAMES

_MARKS = "osDv^P"


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
    """Score and 95 % interval as dots, a row per task and metric, a colour and mark per model.

    `scores`: columns model, task, metric, value, low, high, n. A model without a score leaves its
    place empty.
    """
    scores = scores.reset_index(drop=True)
    rows = _label(scores)
    labels = list(dict.fromkeys(rows))
    models = list(dict.fromkeys(scores["model"]))
    tall = 0.8 + len(labels) * max(0.3, 0.13 * len(models))
    axes = axes or plt.subplots(figsize=(5.5, tall))[1]
    for number, model in enumerate(models):
        part = scores[scores["model"] == model]
        shift = (number - (len(models) - 1) / 2) * 0.7 / len(models)
        places = rows[part.index].map(labels.index) + shift
        style = {"fmt": _MARKS[number % len(_MARKS)], "markersize": 4.5, "linewidth": 1.2}
        axes.errorbar(part["value"], places, xerr=reach(part), label=model, **style)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(ylim=(len(labels) - 0.5, -0.5), xlim=(min(0, scores["low"].min()) - 0.02, 1))
    axes.set(xlabel="score, whiskers: 95 % interval", ylabel="")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(3, len(models)))
    return axes


def draw_copies(copies: pd.DataFrame, scores: pd.DataFrame) -> list[Axes]:
    """Copies of one model: a panel with their scores, one with speed against size.

    `copies`: columns copy, megabytes, items_per_second; `scores` as `metrics.tabulate` gives them,
    the copy's name as model. Whiskers are 95 % intervals over the items.
    """
    _, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
    shown = scores[~scores["metric"].str.contains(".", regex=False)]
    shown = shown.drop_duplicates(["model", "task"])  # the first metric of each
    draw_scores(shown, axes[0])
    axes[0].get_legend().remove()
    axes[0].set(xlim=(shown["low"].min() - 0.02, None), xlabel="score, 95 % interval")
    for number, copy in enumerate(copies.to_dict("records")):
        spot = copy["megabytes"], copy["items_per_second"]
        axes[1].scatter(*spot, 40, marker=_MARKS[number % len(_MARKS)], label=copy["copy"])
    axes[1].set(xlabel="weights in memory (MB)", ylabel="items per second")
    axes[1].set(xlim=(0, None), ylim=(0, None))
    handles, _ = axes[1].get_legend_handles_labels()
    axes[1].figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    return list(axes)


def _label(scores: pd.DataFrame) -> pd.Series:
    """The name of each score's row, with the number of items: one, two, or from to."""
    counts = scores.groupby(["task", "metric"])["n"].agg(list)
    names = []
    for row in scores.itertuples():
        each = counts.loc[(row.task, row.metric)]
        ends = each if len(each) < 3 else [min(each), max(each)]
        many = (" and " if len(each) < 3 else " to ").join(f"{n:,}" for n in ends)
        many = f"{each[0]:,}" if min(each) == max(each) else many
        names.append(f"{row.task} {METRIC_NAMES.get(row.metric, row.metric)}, n = {many}")
    return pd.Series(names, scores.index)


def reach(part: pd.DataFrame) -> np.ndarray:
    """How far intervals go below and above values, of shape (2, rows); never negative.

    A bootstrap interval may lie beside its value, which Matplotlib would refuse.
    """
    below, above = part["value"] - part["low"], part["high"] - part["value"]
    return np.clip([below, above], 0, None).astype(float)
