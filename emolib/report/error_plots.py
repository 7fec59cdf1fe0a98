"""Items beside answers become Axes: agreement, calibration, confusions, labels, correlations.

Every function draws on the Axes it is given (or new ones) and returns them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from emolib import DataError
from emolib.evaluation.metrics import score
from emolib.tasks import get

FEWEST = 30  # items that a smoothed line takes, or a share of them a mean


def draw_agreement(table: pd.DataFrame, task: str) -> Axes:
    """Gold against predicted with a smoothed mean, and below it the residuals."""
    rows, low, high = _take(table, task)
    rows["gold - predicted"] = rows["gold"] - rows["predicted"]
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(4.5, 5.5), sharex=True, height_ratios=(2, 1)
    )
    hue = "emotion" if get(task).emotions else None
    for axes, column in ((upper, "gold"), (lower, "gold - predicted")):
        style = {"x": "predicted", "y": column, "ax": axes}
        legend = "auto" if axes is upper else False
        points = {"s": 14 if len(rows) < 1000 else 6, "alpha": 0.4, "linewidth": 0}
        sns.scatterplot(rows, hue=hue, legend=legend, **points, **style)
        if len(rows) >= FEWEST and rows["predicted"].nunique() > 3:
            sns.regplot(rows, lowess=True, scatter=False, color="black", **style)
    upper.plot([low, high], [low, high], color="grey", linestyle="--", linewidth=1)
    lower.axhline(0, color="grey", linestyle="--", linewidth=1)
    groups = list(rows["emotion"]) if hue else None
    r = score(task, rows["gold"], list(rows["predicted"]), groups)["pearson"]
    whole, mean = (table["task"] == task).sum(), ", the mean of the emotions'" if hue else ""
    upper.set(title=f"{task}: n = {len(rows)} of {whole}, r = {r:.2f}{mean}", ylabel="gold score")
    lower.set(xlabel="predicted score", ylabel="gold - predicted")
    if hue:
        sns.move_legend(upper, "upper left", bbox_to_anchor=(1, 1))
    figure.align_ylabels()
    return upper


def draw_calibration(table: pd.DataFrame, *names: str) -> Axes:
    """Mean gold score (95 % interval) of texts with about the same prediction, a panel per task.

    Each panel's texts are cut into ten parts of one size by their predictions, or into fewer, so
    that each holds at least `FEWEST`. On the dashed line predictions are right on average. The
    first of the Axes.
    """
    _, panels = plt.subplots(
        1, len(names), figsize=(max(3.6, 2.3 * len(names)), 2.9), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for task, axes in zip(names, panels[0], strict=True):
        rows, low, high = _take(table, task)
        parts = min(10, len(rows) // FEWEST)
        axes.plot([low, high], [low, high], color="grey", linestyle="--", linewidth=1)
        if parts > 1:
            rows["part"] = pd.qcut(rows["predicted"].rank(method="first"), parts, labels=False)
            rows["mean predicted"] = rows.groupby("part")["predicted"].transform("mean")
            style = {"errorbar": ("ci", 95), "seed": 0, "err_style": "bars", "linestyle": "none"}
            sns.lineplot(rows, x="mean predicted", y="gold", marker="o", ax=axes, **style)
        axes.set(title=f"{task}, n = {len(rows):,}", xlim=(low, high), ylim=(low, high))
        axes.set(xlabel="predicted (mean of a tenth)", ylabel="", aspect=1)
    panels[0][0].set_ylabel("mean human rating")
    return panels[0][0]


def draw_confusion(table: pd.DataFrame, task: str, axes: Axes | None = None) -> Axes:
    """Share of each gold class that was predicted as each class, rows sum to 1."""
    axes = axes or plt.subplots(figsize=(4.5, 3.8))[1]
    rows, *_ = _take(table, task)
    classes = list(get(task).classes)
    counts = confusion_matrix(rows["gold"], rows["predicted"], labels=classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [f"{c} (n={n})" for c, n in zip(classes, counts.sum(axis=1), strict=True)]
    sns.heatmap(
        shares, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="cividis", ax=axes,
        xticklabels=classes, yticklabels=names, cbar_kws={"label": "share of row"},
    )  # fmt: skip
    axes.set(xlabel="predicted class", ylabel="gold class", title=task)
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    return axes


def draw_labels(table: pd.DataFrame, task: str = "E-c", axes: Axes | None = None) -> Axes:
    """Precision, recall and F1 of every label, most frequent first."""
    axes = axes or plt.subplots(figsize=(6.5, 3.2))[1]
    gold, predicted = _binarize(table, task)
    # No bar, where a label was never predicted or never there: 0 of 0 is not 0.
    *measured, counts = precision_recall_fscore_support(gold, predicted, zero_division=np.nan)
    names = [f"{label}\nn={n}" for label, n in zip(gold.columns, counts, strict=True)]
    wide = pd.DataFrame(np.transpose(measured), names, ["precision", "recall", "F1"])
    wide = wide.iloc[np.argsort(-counts, kind="stable")]
    long = wide.rename_axis("label").reset_index().melt("label", var_name="measure")
    sns.barplot(long, x="label", y="value", hue="measure", ax=axes)
    axes.set(xlabel=f"emotion, n of {len(gold)} gold texts", ylim=(0, 1))
    axes.set_ylabel("share of 1")
    axes.tick_params(axis="x", labelsize=7, rotation=35)
    sns.move_legend(axes, "lower center", bbox_to_anchor=(0.5, 1), ncols=3, title=None)
    return axes


def draw_correlations(matrices: dict[str, pd.DataFrame]) -> Axes:
    """Correlation matrices, a panel each under its title; the first of the Axes."""
    _, panels = plt.subplots(
        1, len(matrices), figsize=(2.6 * len(matrices) + 0.6, 2.9), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (title, matrix), axes in zip(matrices.items(), panels[0], strict=True):
        style = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r", "square": True, "annot": True}
        shown = matrix.astype(float).round(2) + 0.0  # no -0.00
        sns.heatmap(shown, fmt=".2f", cbar=False, ax=axes, **style)
        axes.set(xlabel="", ylabel="")
        axes.set_title(title, fontsize="medium")
        axes.tick_params(axis="y", rotation=0)
        axes.tick_params(axis="x", rotation=30)
    return panels[0][0]


def _take(table: pd.DataFrame, task: str) -> tuple[pd.DataFrame, float, float]:
    """A task's parsed rows with numbers as numbers, lowest and highest possible one.

    DataError if there are none.
    """
    rows = table[(table["task"] == task) & table["predicted"].notna()]
    if rows.empty:
        raise DataError(f"{task}: no answer could be read, so there is nothing to draw")
    rows = rows.reset_index(drop=True).astype({"gold": float, "predicted": float})
    values = get(task).range or get(task).classes
    return rows, min(values), max(values)


def _binarize(table: pd.DataFrame, task: str) -> list[pd.DataFrame]:
    """Gold and predicted labels as truth tables; an unparsed answer has none."""
    rows, labels = table[table["task"] == task], get(task).labels
    return [
        pd.DataFrame([[x in (value or ()) for x in labels] for value in column], columns=labels)
        for column in (rows["gold"], rows["predicted"])
    ]
