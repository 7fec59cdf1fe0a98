"""Figures of trust: reliability of probabilities, coverage and width of intervals."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.evaluation.calibration import cut


def draw_reliability(confidences: dict[str, pd.DataFrame]) -> Axes:
    """Accuracy by confidence, a panel per task, a curve per state; the first panel.

    `confidences`: a state's name to a frame of `calibration.list_confidences`. On the
    dashed line a confidence of 0.7 is right in seven of ten cases.
    """
    tasks = list(dict.fromkeys(next(iter(confidences.values()))["task"]))
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(2.1 * len(tasks), 2.6), sharey=True, squeeze=False
    )
    for task, axes in zip(tasks, panels[0], strict=True):
        axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        for (state, frame), marker in zip(confidences.items(), "os^v", strict=False):
            bins = cut(frame[frame["task"] == task])
            axes.plot(
                bins["confidence"], bins["accuracy"], marker=marker, markersize=3.5,
                linewidth=1, label=state,
            )  # fmt: skip
        axes.set(title=task, xlabel="confidence", xlim=(0, 1), ylim=(0, 1), aspect=1)
    panels[0][0].set_ylabel("share that is right")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=2, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    return panels[0][0]


def draw_coverage(table: pd.DataFrame) -> Axes:
    """What intervals and sets promise and hold, per task and emotion; the first panel.

    `table`: rows of `calibration.cover` or `cover_classes` for one kind of task. Left:
    coverage on test by the promised level (dashed: as promised); right: mean width.
    """
    named = table.assign(
        group=[
            task if not isinstance(emotion, str) else f"{task} {emotion}"
            for task, emotion in zip(table["task"], table["emotion"], strict=True)
        ]
    )
    figure, panels = plt.subplots(1, 2, figsize=(7.5, 2.8))
    for axes, column in zip(panels, ("coverage", "width"), strict=True):
        sns.lineplot(
            named, x="level", y=column, hue="group", style="group", markers=True,
            dashes=False, ax=axes, legend=column == "width",
        )  # fmt: skip
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
