"""Losses and scores become Axes, one function per figure.

Every function draws on the Axes it is given (or new ones) and returns them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes


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
    names = {"pearson": "r", "jaccard": "Jaccard", "f1_micro": "micro F1"}
    names["f1_macro"] = "macro F1"
    scores = scores.reset_index(drop=True)
    groups = scores["task"] + "\n" + scores["metric"].replace(names)
    labels = list(dict.fromkeys(groups))
    models = list(dict.fromkeys(scores["model"]))
    wide = max(6, len(labels), 0.12 * len(labels) * (len(models) + 1))
    axes = axes or plt.subplots(figsize=(wide, 3))[1]
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        rows = scores[scores["model"] == model]
        places = groups[rows.index].map(labels.index)
        places = places + (number - (len(models) - 1) / 2) * width
        reach = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        bars = axes.bar(
            places, rows["value"], width, yerr=reach, capsize=2, label=model
        )
        axes.bar_label(
            bars, fmt="%.2f", fontsize=6 if len(models) < 4 else 4, padding=2
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.set(ylabel="score (95 % interval)", ylim=(min(0, *scores["low"]) - 0.06, 1))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(models))
    return axes
