"""Figures of trust: reliability of probabilities, coverage and width of intervals."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import binomtest

from emolib.evaluation.calibration import cut
from emolib.evaluation.judgements import name_part
from emolib.tasks import get


def draw_reliability(confidences: dict[str, pd.DataFrame]) -> Axes:
    """Accuracy by confidence, a panel per task, a curve per state; the first panel.

    `confidences`: a state's name to a frame of `calibration.list_confidences`. On the dashed line
    a confidence of 0.7 is right in seven of ten cases. Each point is a tenth of the answers.
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
        n = (next(iter(confidences.values()))["task"] == task).sum()
        axes.set(title=f"{task}, n = {n:,}", xlabel="confidence", aspect=1)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1))
    panels[0][0].set_ylabel("share that is right")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=2, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    return panels[0][0]


def draw_coverage(table: pd.DataFrame) -> Axes:
    """What intervals or sets promise and hold, a row per task and emotion; the first panel.

    `table`: rows of `conformal.cover` or `cover_classes` for one kind of task; a column `fitted`
    ends the rows' names where there is one. Left: coverage on test with its 95 % interval, a
    colour per promised level, which is the dashed line of that colour; right: mean width.
    """
    names = pd.Series([*map(name_part, table["task"], table["emotion"])], table.index)
    if "fitted" in table:
        names += ", " + table["fitted"]
    groups, levels = list(dict.fromkeys(names)), sorted(table["level"].unique())
    size = (7.5, 0.9 + 0.33 * len(groups))
    figure, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for number, level in enumerate(levels):
        rows = table[table["level"] == level]
        places = names[rows.index].map(groups.index) + 0.2 * (number - (len(levels) - 1) / 2)
        low, high = _bound(rows)
        style = {"fmt": "osD^"[number % 4], "markersize": 4, "label": f"{level:.0%} promised"}
        reach = np.clip([rows["coverage"] - low, high - rows["coverage"]], 0, None)
        (points, *_) = panels[0].errorbar(rows["coverage"], places, xerr=reach, **style)
        panels[0].axvline(level, color=points.get_color(), linestyle="--", linewidth=1)
        panels[1].plot(rows["width"], places, style["fmt"], markersize=4)
    panels[0].set_yticks(range(len(groups)), groups)
    panels[0].set(xlabel="coverage on test, 95 % interval", ylim=(len(groups) - 0.5, -0.5))
    scores = table["task"].map(lambda task: get(task).kind).eq("score").all()
    panels[1].set(xlabel="mean width" if scores else "mean number of classes", xlim=(0, None))
    figure.legend(loc="outside upper center", ncols=len(levels), frameon=False)
    return panels[0]


def _bound(rows: pd.DataFrame) -> np.ndarray:
    """95 % intervals (Wilson) of coverages, of shape (2, rows)."""
    counts = (rows["coverage"] * rows["n"]).round().astype(int)
    tests = [
        binomtest(k, n).proportion_ci(method="wilson")
        for k, n in zip(counts, rows["n"], strict=True)
    ]
    return np.array([[found.low, found.high] for found in tests]).T
