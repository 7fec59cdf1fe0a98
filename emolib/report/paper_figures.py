"""The paper's Figures 2 and 3 with our rows beside the published ones, and our
difference to each published row. No torch.

`scores` are frames as `score_files` reads them, concatenated. As in `plots`, every function
draws on the Axes it is given (or new ones) and returns them. Of many models of ours
the `most` best are drawn (those with most sub-tasks first), and the legend says so.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from emolib import DataError

WHISKERS = "whiskers: our 95 % interval; published numbers have none"

_AEB_1 = dict.fromkeys(("EI-reg", "EI-oc", "V-reg", "V-oc"), "pearson")
_AEB_1 |= {"E-c": "f1_macro"}
_AEB_2 = dict.fromkeys(("V-A", "V-M", "V-NYT", "V-T", "SST", "EmoBank-V"), "pearson")
_AEB_2 |= dict.fromkeys(("GoEmotions", "SST5", "TDT"), "f1_macro")
_FIGURE2 = ("EmoLLaMA-chat-13B", "Leaderboard(1)", "GPT-4", "ChatGPT", "Vicuna")
_FIGURE3 = ("EmoLLaMA-chat-13B", "EmoLLaMA-chat-7B", "GPT4", "ChatGPT", "Vicuna")
_SHOWN = {"V-A": "V-Amazon", "V-M": "V-Movies", "V-T": "V-Tweet"}
_UNITS = {"pearson": "r", "f1_macro": "macro F1"}


def draw_figure2(scores: pd.DataFrame, axes: Axes | None = None, most: int = 4) -> Axes:
    """The paper's Figure 2: AEB-1 as grouped bars, ours hatched, with whiskers."""
    return _draw_bars(_take(scores, _AEB_1), _FIGURE2, axes, most)


def draw_figure3(scores: pd.DataFrame, axes: Axes | None = None, most: int = 4) -> Axes:
    """The paper's Figure 3: AEB-2 as grouped bars, ours hatched, with whiskers."""
    return _draw_bars(_take(scores, _AEB_2), _FIGURE3, axes, most)


def draw_forest(
    scores: pd.DataFrame,
    number: int,
    axes: Sequence[Axes] | None = None,
    most: int = 3,
) -> list[Axes]:
    """Our score less each published one: a panel per sub-task of Figure 2 or 3.

    `number` is that of the paper's table: 5 (AEB-1) or 6 (AEB-2); `axes` are as many as
    the panels. The whisker is our 95 % interval, moved by a published number that has
    none: the difference is less sure than it looks, and the legend says so.
    """
    if number not in (5, 6):
        raise DataError(f"no forest plot of Table {number}: there are 5 and 6")
    rows = _take(scores, _AEB_1 if number == 5 else _AEB_2)
    theirs, ours = _part(rows, "published"), _part(rows, "ours")
    names = list(dict.fromkeys(theirs["model"]))[::-1]
    columns = list(rows["column"].cat.categories)
    axes = list(_lay_out(len(columns), len(names)) if axes is None else axes)
    chosen = _choose(ours, most)
    for one, column in zip(axes, columns, strict=True):
        printed = theirs[theirs["column"] == column].set_index("model")["value"]
        places = np.arange(len(names)), printed.reindex(names).to_numpy()
        for index, model in enumerate(chosen):
            mine = ours[(ours["column"] == column) & (ours["model"] == model)]
            shift = ((len(chosen) - 1) / 2 - index) * 0.7 / len(chosen)
            _draw_differences(one, places, mine, (index, shift))
        one.axvline(0, color="black", linewidth=0.8)
        one.set_title(column, fontsize=8)
        one.set_yticks(places[0], names)
        one.set_ylim(-0.6, len(names) - 0.4)
        one.tick_params(labelsize=7)
    _label_forest(axes, ours, chosen)
    return axes


def draw_copies(copies: pd.DataFrame, scores: pd.DataFrame) -> list[Axes]:
    """Copies of one model: a panel with their scores, one with speed against size.

    `copies` as `gguf.compare` gives it, `scores` as `metrics.tabulate`, with the
    copy's name as model. Whiskers are 95 % intervals over the items.
    """
    _, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
    names = list(copies["copy"])
    shown = scores[scores["model"].isin(names) & ~scores["metric"].str.contains(r"\.")]
    shown = shown.drop_duplicates(["model", "task"])  # the first metric of each
    tasks = list(dict.fromkeys(shown["task"]))
    width = 0.8 / len(names)
    colors = sns.color_palette("colorblind", len(names))
    for number, name in enumerate(names):
        part = shown[shown["model"] == name].set_index("task").reindex(tasks)
        spot = np.arange(len(tasks)) + (number - (len(names) - 1) / 2) * width
        style = {"color": colors[number], "label": name}
        axes[0].bar(spot, part["value"], width, yerr=_reach(part), **style)
        line = copies[copies["copy"] == name].iloc[0]
        axes[1].scatter(line["megabytes"], line["items_per_second"], 40, **style)
    labels = [f"{t}\n{shown[shown['task'] == t]['metric'].iloc[0]}" for t in tasks]
    axes[0].set(xticks=range(len(tasks)), xticklabels=labels, ylabel="score")
    axes[1].set(xlabel="weights in memory (MB)", ylabel="items per second")
    axes[1].set(xlim=(0, None), ylim=(0, None))
    handles = axes[1].get_legend_handles_labels()
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 3}
    axes[1].figure.legend(*handles, **below)
    return list(axes)


def _take(scores: pd.DataFrame, wanted: dict[str, str]) -> pd.DataFrame:
    """The rows a figure shows, with `column`: the sub-task's name and unit."""
    heads = {
        pair: f"{_SHOWN.get(pair[0], pair[0])}\n{_UNITS[pair[1]]}"
        for pair in wanted.items()
    }
    pairs = zip(scores["task"], scores["metric"], strict=True)
    column = pd.Categorical([heads.get(p) for p in pairs], list(heads.values()))
    return scores.assign(column=column).dropna(subset=["column"])


def _part(rows: pd.DataFrame, origin: str) -> pd.DataFrame:
    return rows[rows["origin"] == origin]


def _choose(ours: pd.DataFrame, most: int) -> list[str]:
    """The models of ours to draw: most sub-tasks first, then the higher mean."""
    found = ours.groupby("model")["value"].agg(["size", "mean"])
    best = found.sort_values(["size", "mean"], ascending=False, kind="stable")
    kept = set(best.index[:most])
    return [model for model in dict.fromkeys(ours["model"]) if model in kept]


def _draw_bars(rows: pd.DataFrame, printed: tuple, axes: Axes | None, most: int):
    axes = axes or plt.subplots(figsize=(7.2, 3))[1]
    theirs, ours = _part(rows, "published"), _part(rows, "ours")
    series = [(model, theirs[theirs["model"] == model], {}) for model in printed]
    for model in _choose(ours, most):
        part = ours[ours["model"] == model]
        series.append((_describe(part), part, {"hatch": "////", "edgecolor": "black"}))
    columns, width = list(rows["column"].cat.categories), 0.86 / len(series)
    colours = sns.color_palette("colorblind", len(series))
    for number, (label, part, extra) in enumerate(series):
        part = part.set_index("column").reindex(columns)
        reach = _reach(part) if extra else None
        places = np.arange(len(columns)) + (number - (len(series) - 1) / 2) * width
        axes.bar(
            places, part["value"], width, label=label, color=colours[number],
            yerr=reach, linewidth=0.5, error_kw={"linewidth": 0.8}, **extra,
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(columns)), columns, size=7)
    low = min(0, rows["value"].min(), ours["low"].min() if len(ours) else 0)
    axes.set(ylabel="score", ylim=(low - 0.02, 1), xlim=(-0.6, len(columns) - 0.4))
    axes.grid(axis="x", visible=False)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=7,
        title=_explain(ours, most), title_fontsize=7,
    )  # fmt: skip
    return axes


def _draw_differences(axes: Axes, places: tuple, mine: pd.DataFrame, style: tuple):
    """A point and whisker of our score (a frame of one row, or none) on each row."""
    (rows, printed), (index, shift) = places, style
    for (_, row), reach in zip(mine.iterrows(), _reach(mine).T, strict=True):
        axes.errorbar(
            row["value"] - printed, rows + shift, fmt="osDv^"[index % 5], markersize=3,
            xerr=np.repeat(reach[:, None], len(rows), axis=1), linewidth=1,
            color=sns.color_palette("colorblind")[index % 5],
        )  # fmt: skip


def _reach(part: pd.DataFrame) -> np.ndarray:
    """How far the intervals go below and above; never less than nothing.

    A bootstrap interval may lie beside its value, which Matplotlib would refuse.
    """
    below, above = part["value"] - part["low"], part["high"] - part["value"]
    return np.clip([below, above], 0, None).astype(float)


def _label_forest(axes: list[Axes], ours: pd.DataFrame, chosen: list[str]) -> None:
    figure = axes[0].figure
    handles = [
        plt.Line2D(
            [], [], marker="osDv^"[index % 5], markersize=4,
            color=sns.color_palette("colorblind")[index % 5],
            label=_describe(ours[ours["model"] == model]),
        )
        for index, model in enumerate(chosen)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=7,
        title=_explain(ours, len(chosen)), title_fontsize=7, ncols=2,
    )  # fmt: skip
    figure.supxlabel("our score - published score (right of 0: ours is higher)", size=8)
    if not chosen:
        axes[0].set_xlim(-1, 1)


def _lay_out(panels: int, names: int) -> list[Axes]:
    """One row of panels, or two where there are more than six."""
    rows = 1 if panels <= 6 else 2
    columns = -(-panels // rows)
    figure, grid = plt.subplots(
        rows, columns, sharex=True, sharey=True, layout="constrained",
        figsize=(7.2, rows * (0.17 * names + 0.9)),
    )  # fmt: skip
    for spare in grid.flat[panels:]:
        figure.delaxes(spare)
        grid[0, -1].tick_params(labelbottom=True)  # nothing stands below it
    return list(grid.flat[:panels])


def _describe(part: pd.DataFrame) -> str:
    """A model of ours in a legend: its name and how many items were asked."""
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
