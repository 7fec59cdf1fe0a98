"""Items beside answers become Axes: agreement, confusions, labels, features.

Every function draws on the Axes it is given (or new ones) and returns them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from emolib import DataError
from emolib.evaluation.item_errors import describe
from emolib.evaluation.metrics import score
from emolib.tasks import get


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
        sns.scatterplot(rows, s=14, alpha=0.5, hue=hue, legend=legend, **style)
        if rows["predicted"].nunique() > 3:
            sns.regplot(rows, lowess=True, scatter=False, color="black", **style)
    upper.plot([low, high], [low, high], color="grey", linestyle="--", linewidth=1)
    lower.axhline(0, color="grey", linestyle="--", linewidth=1)
    r = score(task, rows["gold"], list(rows["predicted"]))["pearson"]
    whole = (table["task"] == task).sum()
    upper.set(title=f"{task}: n = {len(rows)} of {whole}, r = {r:.2f}", ylabel="gold score")
    lower.set(xlabel="predicted score", ylabel="gold - predicted")
    if hue:
        sns.move_legend(upper, "upper left", bbox_to_anchor=(1, 1))
    figure.align_ylabels()
    return upper


def draw_calibration(table: pd.DataFrame, task: str, axes: Axes | None = None) -> Axes:
    """Mean gold score (95 % interval) per tenth of the predicted scores."""
    axes = axes or plt.subplots(figsize=(4, 3.5))[1]
    rows, low, high = _take(table, task)
    rows["tenth"] = pd.qcut(rows["predicted"].rank(method="first"), min(10, len(rows)), False)
    rows["mean predicted"] = rows.groupby("tenth")["predicted"].transform("mean")
    sns.lineplot(
        rows, x="mean predicted", y="gold", errorbar=("ci", 95), seed=0, ax=axes, marker="o",
        err_style="bars",
    )  # fmt: skip
    axes.plot([low, high], [low, high], color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="mean predicted score of the tenth", ylabel="mean gold score")
    axes.set(title=f"{task}: n = {len(rows)} in tenths", xlim=(low, high))
    return axes


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
    *measured, counts = precision_recall_fscore_support(gold, predicted, zero_division=0)
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


def draw_cooccurrence(table: pd.DataFrame, task: str = "E-c") -> Axes:
    """How often label B stands where label A does: gold left, predicted right."""
    figure, both = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    sides = zip(both, _binarize(table, task), ("gold", "predicted"), strict=True)
    for axes, marks, title in sides:
        counts = marks.T.astype(int) @ marks.astype(int)
        shares = counts.div(np.maximum(np.diag(counts), 1), axis=0)
        sns.heatmap(
            shares.mask(np.eye(len(shares), dtype=bool)), vmin=0, vmax=1, ax=axes, cmap="cividis",
            square=True, cbar=title == "predicted", cbar_kws={"label": "share of A's texts with B"},
        )  # fmt: skip
        axes.set(title=f"{title}, n = {len(marks)}", xlabel="label B", ylabel="")
        axes.grid(visible=False)
    both[0].set_ylabel("label A")
    figure.tight_layout()
    return both[0]


def draw_error_by_feature(table: pd.DataFrame) -> Axes:
    """Mean error (95 % interval) by text length, emoji, hashtags and negation."""
    figure, panels = plt.subplots(1, 4, figsize=(10, 3), sharey=True)
    rows = table.dropna(subset=["error"]).reset_index(drop=True)
    rows = rows.assign(error=rows["error"].astype(float), **describe(rows["text"]))
    edges = [0, 8, 15, 22, np.inf]
    rows["words"] = pd.cut(rows["words"], edges, labels=["1-8", "9-15", "16-22", "23+"])
    for axes, name in zip(panels, ("words", "emoji", "hashtags", "negation"), strict=True):
        sns.pointplot(
            rows, x=name, y="error", hue="task", errorbar=("ci", 95), seed=0, ax=axes, dodge=0.4,
            markersize=4, linewidth=1, legend=name == "words",
        )  # fmt: skip
        counts = rows[name].astype(str).value_counts()
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), [f"{tick}\nn={counts[tick]}" for tick in ticks])
        axes.set(xlabel=name, ylabel="mean error, share of scale", ylim=(0, None))
    figure.tight_layout()
    sns.move_legend(panels[0], "lower left", bbox_to_anchor=(0, 1), ncols=5, title=None)
    return panels[0]


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
