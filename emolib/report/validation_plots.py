"""Figures of a validation, one per column: the tool by the raters, distributions, precision."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

NAMES = {
    "pearson": "Pearson's r",
    "spearman": "Spearman's rho",
    "f1": "F1",
    "qwk": "weighted kappa",
}
NAMES |= {"mean_error": "mean error", "absolute_error": "mean absolute error"}
NAMES |= {"balanced_accuracy": "balanced accuracy", "matthews": "Matthews' correlation"}
NAMES |= {"alpha": "Krippendorff's alpha"}


def draw(found, title: str) -> Axes:
    """One column's figure: the tool by the raters, both distributions, the interval by n."""
    pair = next(pair for pair in found.pairs if pair.title == title)
    points = found.points[title]
    _, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    {"score": _draw_scores, "class": _draw_classes, "label": _draw_labels}[pair.kind](
        points, panels
    )
    measures = found.measures[found.measures["fit"] == "as it is"]
    row = measures[(measures["column"] == title) & (measures["measure"] == pair.main)].iloc[0]
    value = "no value" if np.isnan(row["value"]) else f"{row['value']:.2f}"
    if not np.isnan(row["low"]):
        value += f" [{row['low']:.2f}, {row['high']:.2f}]"
    panels[0].set_title(f"{NAMES[pair.main]} {value}, n = {len(points)}", fontsize="medium")
    panels[1].set_title("distributions", fontsize="medium")
    _draw_widths(found.widths[found.widths["column"] == title], len(points), panels[2])
    return panels[0]


def _draw_scores(points: pd.DataFrame, panels) -> None:
    style_ = {"s": 10, "alpha": 0.5, "linewidth": 0}
    panels[0].scatter(points["gold"], points["predicted"], **style_)
    panels[0].plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
    panels[0].set(xlabel="raters (0 to 1 of their scale)", ylabel="tool", xlim=(0, 1), ylim=(0, 1))
    bins = np.linspace(0, 1, 11)
    for name, label in (("gold", "raters"), ("predicted", "tool")):
        panels[1].hist(points[name], bins, histtype="step", linewidth=1.5, label=label)
    panels[1].set(xlabel="score", ylabel="texts", xlim=(0, 1))
    panels[1].legend()


def _draw_classes(points: pd.DataFrame, panels) -> None:
    names = range(int(max(points["gold"].max(), points["predicted"].max())) + 1)
    counts = pd.crosstab(points["gold"].astype(int), points["predicted"].astype(int))
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    sns.heatmap(counts, annot=True, fmt="d", cmap="Blues", cbar=False, square=True, ax=panels[0])
    panels[0].set(xlabel="tool", ylabel="raters")
    both = pd.DataFrame({"raters": counts.sum(1), "tool": counts.sum(0)})
    both.plot.bar(ax=panels[1], rot=0, width=0.8)
    panels[1].set(xlabel="class", ylabel="texts")


def _draw_labels(points: pd.DataFrame, panels) -> None:
    shown = points["raw"] if points["raw"].notna().all() else points["predicted"]
    bins = np.linspace(0, 1, 11)
    for value, label in ((0, "no, by the raters"), (1, "yes, by the raters")):
        part = shown[points["gold"] == value]
        panels[0].hist(part, bins, histtype="step", linewidth=1.5, label=f"{label} ({len(part)})")
    panels[0].set(xlabel="probability by the tool", ylabel="texts", xlim=(0, 1))
    panels[0].legend(fontsize="small")
    shares = [points["gold"].mean(), points["predicted"].mean()]
    bars = panels[1].bar(["raters", "tool"], shares, width=0.6)
    panels[1].bar_label(bars, fmt="%.2f")
    panels[1].set(ylabel="share of texts with it", ylim=(0, 1))


def _draw_widths(widths: pd.DataFrame, n: int, axes: Axes) -> None:
    axes.plot(widths["n"], widths["width"], marker="o", markersize=4)
    axes.axvline(n, color="0.5", linestyle="--", linewidth=1)
    axes.set_title("what more ratings would bring", fontsize="medium")
    axes.set(xlabel="rated texts (dashed: now)", ylabel="width of the 95 % interval")
    axes.set(xlim=(0, None), ylim=(0, None))
