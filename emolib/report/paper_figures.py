"""The paper's Figures 2 and 3 with our rows, and our difference to each published row.

`scores` are frames as `score_files` reads them, concatenated; `number` is that of the paper's
table: 5 (AEB-1) or 6 (AEB-2). Of many models of ours the `most` best are drawn: those that answered
all items first, then those with most sub-tasks, and each model once, however it was asked. The
legend says so.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib import DataError
from emolib.report.score_plots import reach
from emolib.tasks import METRIC_NAMES

FAR = 0.2  # a difference that is written rather than drawn
WHISKERS = "whiskers: our 95 % interval; published numbers have none"
_SHOWN = {  # sub-tasks and metrics of Figures 2 and 3
    5: [(task, "pearson") for task in ("EI-reg", "EI-oc", "V-reg", "V-oc")] + [("E-c", "f1_macro")],
    6: [(f"V-{letter}", "pearson") for letter in ("A", "M", "NYT", "T")]
    + [("SST", "pearson"), ("EmoBank-V", "pearson")]
    + [(task, "f1_macro") for task in ("GoEmotions", "SST5", "TDT")],
}
_PRINTED = {  # their published bars, None where the other figure's model keeps its colour
    5: ("EmoLLaMA-chat-13B", "Leaderboard(1)", None, "GPT-4", "ChatGPT", "Vicuna"),
    6: ("EmoLLaMA-chat-13B", None, "EmoLLaMA-chat-7B", "GPT4", "ChatGPT", "Vicuna"),
}
_ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2}
_ABOVE |= {"fontsize": 7, "title_fontsize": 7}


def draw_bars(scores: pd.DataFrame, number: int, axes: Axes | None = None, most: int = 4) -> Axes:
    """The paper's Figure 2 or 3: a bar per score, ours hatched, with whiskers."""
    axes = axes or plt.subplots(figsize=(7.2, 3))[1]
    rows, theirs, ours = _take(scores, number)
    series = [(name, theirs[theirs["model"] == name], {}) for name in _PRINTED[number] if name]
    chosen = _choose(ours, most)
    for model in chosen:
        part = ours[ours["model"] == model]
        series.append((_describe(part), part, {"hatch": "////", "edgecolor": "black"}))
    columns, width = list(rows["column"].cat.categories), 0.86 / len(series)
    colors = sns.color_palette("colorblind", len(_PRINTED[number]) + len(chosen))
    colors.pop(_PRINTED[number].index(None))
    for index, (label, part, extra) in enumerate(series):
        part = part.set_index("column").reindex(columns)
        places = np.arange(len(columns)) + (index - (len(series) - 1) / 2) * width
        style = {"color": colors[index], "linewidth": 0.5, "label": label, **extra}
        style |= {"yerr": reach(part), "error_kw": {"linewidth": 0.8}} if extra else {}
        axes.bar(places, part["value"], width, **style)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(columns)), columns, size=7 if len(columns) < 7 else 6)
    shown = ours[ours["model"].isin(chosen)]
    low = min(0, *(part["value"].min() for _, part, _ in series), *shown["low"])
    axes.set(ylabel="score", ylim=(low - 0.02, 1), xlim=(-0.6, len(columns) - 0.4))
    axes.grid(axis="x", visible=False)
    axes.legend(title=_explain(ours, most), **_ABOVE)
    return axes


def draw_forest(
    scores: pd.DataFrame, number: int, axes: Sequence[Axes] | None = None, most: int = 1
) -> list[Axes]:
    """Our score less each published one: a panel per sub-task of Figure 2 or 3.

    `axes` are as many as the panels. The whisker is our 95 % interval, moved by a published number
    that has none: the difference is less sure than it looks, and the legend says so. Differences
    beyond `FAR` stand at the edge as numbers, so that the others can be told apart.
    """
    rows, theirs, ours = _take(scores, number)
    names = list(dict.fromkeys(theirs["model"]))[::-1]
    columns, places = list(rows["column"].cat.categories), np.arange(len(names))
    axes = list(_lay_out(len(columns), len(names)) if axes is None else axes)
    chosen = _choose(ours, most)
    for one, column in zip(axes, columns, strict=True):
        printed = theirs[theirs["column"] == column].set_index("model")["value"]
        for index, model in enumerate(chosen):
            mine = ours[(ours["column"] == column) & (ours["model"] == model)]
            if mine.empty:
                continue
            shift = ((len(chosen) - 1) / 2 - index) * 0.7 / len(chosen)
            apart = mine["value"].item() - printed.reindex(names)
            one.errorbar(
                apart.where(apart.abs() <= FAR), places + shift,
                xerr=np.repeat(reach(mine), len(names), axis=1), linestyle="none",
                linewidth=1, markersize=3, **_mark(index),
            )  # fmt: skip
            for place, value in zip(places + shift, apart, strict=True):
                if abs(value) > FAR:
                    style = {"ha": "right" if value > 0 else "left", "va": "center", "size": 6}
                    one.text(np.sign(value) * FAR, place, f"{value:+.2f}", **style)
        one.axvline(0, color="black", linewidth=0.8)
        one.set_title(column, fontsize=8)
        one.set(xlim=(-FAR, FAR), xticks=(-0.1, 0, 0.1))
        one.set_yticks(places, names)
        one.set_ylim(-0.6, len(names) - 0.4)
        one.tick_params(labelsize=7)
    _label_forest(axes, ours, chosen)
    return axes


def _take(scores: pd.DataFrame, number: int) -> tuple[pd.DataFrame, ...]:
    """The rows a figure shows, all, published, ours; `column`: sub-task and unit."""
    if number not in _SHOWN:
        raise DataError(f"no figure of Table {number}: there are 5 and 6")
    heads = {(t, m): f"{t}\n{METRIC_NAMES[m]}" for t, m in _SHOWN[number]}
    names = zip(scores["task"], scores["metric"], strict=True)
    column = pd.Categorical([heads.get(n) for n in names], list(heads.values()))
    rows = scores.assign(column=column).dropna(subset=["column"])
    return rows, *(rows[rows["origin"] == side] for side in ("published", "ours"))


def _choose(ours: pd.DataFrame, most: int) -> list[str]:
    """The models of ours to draw: whole ones, most sub-tasks first, then the higher mean.

    Of rows that differ in their run, or in being joined, the best one is taken.
    """
    whole = ours[~ours.groupby("model")["partial"].transform("any")]
    found = (whole if len(whole) else ours).groupby("model", sort=False)["value"]
    found = found.agg(["size", "mean"])
    best = found.sort_values(["size", "mean"], ascending=False, kind="stable")
    names = best.index.str.replace(r" \(.*\)$|, joined$", "", regex=True)
    once = best.groupby(names, sort=False).head(1)
    kept = set(once.index[:most])
    return [model for model in dict.fromkeys(ours["model"]) if model in kept]


def _mark(index: int) -> dict:
    return {"marker": "osDv^"[index % 5], "color": sns.color_palette("colorblind")[index % 5]}


def _label_forest(axes: list[Axes], ours: pd.DataFrame, chosen: list[str]) -> None:
    figure, handles = axes[0].figure, []
    for index, model in enumerate(chosen):
        style = {"label": _describe(ours[ours["model"] == model]), "markersize": 4}
        handles.append(plt.Line2D([], [], **style, **_mark(index)))
    figure.legend(handles=handles, title=_explain(ours, len(chosen)), **_ABOVE)
    figure.supxlabel("our score - published score (right of 0: ours is higher)", size=8)


def _lay_out(panels: int, names: int) -> list[Axes]:
    """One row of panels, or two where there are more than six."""
    rows = 1 if panels <= 6 else 2
    figure, grid = plt.subplots(
        rows, -(-panels // rows), sharey=True, layout="constrained",
        figsize=(7.2, rows * (0.17 * names + 0.9)),
    )  # fmt: skip
    for spare in grid.flat[panels:]:
        figure.delaxes(spare)
    return list(grid.flat[:panels])


def _describe(part: pd.DataFrame) -> str:
    """A model of ours in a legend: its name and how many items were answered."""
    name, low, high = part["model"].iloc[0], part["n"].min(), part["n"].max()
    if not part["partial"].any():
        return f"ours: {name}, all items"
    counts = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    return f"ours: {name}, n = {counts}"


def _explain(ours: pd.DataFrame, most: int) -> str:
    total = ours["model"].nunique()
    if not total:
        return "published only: we have no score on these sub-tasks yet"
    drawn = f"; the {most} best of our {total} models" if total > most else ""
    return f"{WHISKERS}{drawn}"
