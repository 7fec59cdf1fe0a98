"""Figures of trust: reliability of probabilities, coverage and width of intervals."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.evaluation.calibration import cut
from emolib.evaluation.judgements import name_part


def draw_reliability(confidences: dict[str, pd.DataFrame]) -> Axes:
    """Accuracy by confidence, a panel per task, a curve per state; the first panel.

    `confidences`: a state's name to a frame of `calibration.list_confidences`. On the dashed line
    a confidence of 0.7 is right in seven of ten cases.
    """
    tasks = list(dict.fromkeys(next(iter(confidences.values()))["task"]))
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(2.1 * len(tasks), 2.6), sharey=True, squeeze=False
    )
    for task, axes in zip(tasks, panels[0], strict=True):
        axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        for (state, frame), marker in zip(confidences.items(), "os^v", strict=False):
            bins = cut(frame[frame["task"] == task])
            style = {"marker": marker, "markersize": 3.5, "linewidth": 1, "label": state}
            axes.plot(bins["confidence"], bins["accuracy"], **style)
        axes.set(title=task, xlabel="confidence", xlim=(0, 1), ylim=(0, 1), aspect=1)
    panels[0][0].set_ylabel("share that is right")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=2, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    return panels[0][0]


def draw_coverage(table: pd.DataFrame) -> Axes:
    """What intervals and sets promise and hold, per task and emotion; the first panel.

    `table`: rows of `conformal.cover` or `cover_classes` for one kind of task. Left: coverage on
    test by the promised level (dashed: as promised); right: mean width.
    """
    named = table.assign(group=[*map(name_part, table["task"], table["emotion"])])
    figure, panels = plt.subplots(1, 2, figsize=(7.5, 2.8))
    for axes, column in zip(panels, ("coverage", "width"), strict=True):
        style = {"hue": "group", "style": "group", "markers": True, "dashes": False}
        sns.lineplot(named, x="level", y=column, ax=axes, legend=column == "width", **style)
        axes.set(xlabel="promised coverage", xticks=sorted(named["level"].unique()))
    levels = [named["level"].min(), named["level"].max()]
    panels[0].plot(levels, levels, color="0.5", linestyle="--", linewidth=1)
    panels[0].set_ylabel("coverage on test")
    scores = table["width"].max() <= 1
    panels[1].set_ylabel("mean width" if scores else "mean number of classes")
    panels[1].set_ylim(0, None)
    sns.move_legend(panels[1], "center left", bbox_to_anchor=(1, 0.5), title="", frameon=False)
    figure.tight_layout()
    return panels[0]
