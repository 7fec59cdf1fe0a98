"""Differences between sides as Axes."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib.evaluation.bias import MEASURES, SIDES


def draw_differences(table: pd.DataFrame) -> list[Axes]:
    """Differences with intervals per measure, a colour per judge: gender left, race.

    `table`: `bias.compare`'s rows with a column judge, of both kinds, one under another. Both
    panels have one scale, with zero in the middle.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    figure.tight_layout()
    judges = list(dict.fromkeys(table["judge"]))
    colors = sns.color_palette("colorblind", len(judges))
    for one, (by, sides) in zip(axes, SIDES.items(), strict=True):
        for number, judge in enumerate(judges):
            rows = table[(table["by"] == by) & (table["judge"] == judge)]
            shift = (number - (len(judges) - 1) / 2) * 0.6 / len(judges)
            reach = [rows["difference"] - rows["low"], rows["high"] - rows["difference"]]
            style = {"color": colors[number], "label": judge, "markersize": 4, "capsize": 2}
            places = rows["measure"].map(MEASURES.index) + shift
            one.errorbar(rows["difference"], places, xerr=reach, fmt="o", **style)
        one.axvline(0, color="black", linewidth=0.8)
        frames = table["n"][table["by"] == by].max()
        one.set(title=f"{by}, n = {frames} frames")
        one.set(xlabel=" − ".join(sides) + "\n(on a scale from 0 to 1)")
    widest = 1.1 * max(table[["low", "high"]].abs().to_numpy().max(), 0.005)
    for one in axes:
        one.locator_params(axis="x", nbins=5)
        one.set(xlim=(-widest, widest), yticks=range(len(MEASURES)))
        one.set(yticklabels=MEASURES, ylim=(len(MEASURES) - 0.5, -0.5))
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1.1), ncols=len(judges))
    return list(axes)
