"""Draws the benchmarks' committed results: figures/bench_*.svg and .png.

python tests/bench/draw.py [folder of the CSV files] [folder of the figures]
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from emolib import files
from emolib.report import style

WHAT = {"predict": "items per second", "train": "training rows per second"}
WHAT |= {"annotate": "texts per second", "profile": "training texts per second"}
DRAWN = ("predict", "train", "annotate")  # two bars of "profile" say no more than its table
OURS = {"annotate": "emolib, one pass"}  # else "emolib"


def draw_speeds(name: str, data: Path):
    """Axes with a bar per contestant: median, whiskers from least to greatest."""
    rounds = pd.read_csv(data / f"bench_{name}.csv")
    summary = pd.read_csv(data / f"bench_{name}_summary.csv").set_index("contestant")
    summary = summary.drop("VADER, valence alone", errors="ignore")  # it leaves no room for others
    order = summary["per_second"].sort_values(ascending=False).index
    axes = plt.subplots(figsize=(5.5, 0.42 * len(order) + 0.8))[1]
    colors = [sns.color_palette()[0 if who.startswith("emolib") else 7] for who in order]
    middle = summary.loc[order, "per_second"]
    range_of = rounds.groupby("contestant")["per_second"].agg(["min", "max"]).loc[order]
    spread = [middle - range_of["min"], range_of["max"] - middle]
    axes.barh(order, middle, color=colors, xerr=spread, ecolor="0.3", capsize=2)
    for place, who in enumerate(order):
        ratio = summary.loc[who, "ratio"]
        text = f" {middle[who]:.1f}" + (f"  ({ratio:.1f}×)" if ratio > 1.001 else "")
        axes.text(range_of.loc[who, "max"], place, text, va="center", fontsize="small")
    axes.invert_yaxis()
    axes.set(xlabel=WHAT[name], xlim=(0, 1.25 * range_of["max"].max()))
    return axes


def tabulate(name: str, data: Path) -> str:
    """The summary as the README has it: medians, and ours over each, in Markdown."""
    summary = pd.read_csv(data / f"bench_{name}_summary.csv")
    summary = summary.sort_values("per_second", ascending=False)
    lines = [f"| | {WHAT[name]} | emolib is | peak memory, GiB |", "|---|---|---|---|"]
    for row in summary.itertuples():
        ratios = row.ratio, row.ratio_min, row.ratio_max
        least, *reach = (f"{each:.1f}" if each >= 1 else f"{each:.2g}" for each in ratios)
        times = f"{least} × [{', '.join(reach)}]"
        times = "" if row.contestant == OURS.get(name, "emolib") else times
        speed, peak = f"{row.per_second:.1f}", f"{row.peak_gib:.2f}"
        lines.append(f"| {row.contestant} | {speed} | {times} | {peak} |")
    return "\n".join(lines)


def draw_growth(data: Path):
    """Axes with seconds by size, a panel per sweep; the first."""
    frame = pd.read_csv(data / "bench_growth.csv")
    sweeps = {
        "predict": ("answering AEB", "items"),
        "tasks": ("answering about 100 tweets", "tasks per tweet"),
        "prepare": ("preparing AAID for training", "rows"),
    }
    _, panels = plt.subplots(1, 3, figsize=(7.5, 2.6), layout="constrained")
    for axes, (sweep, (title, unit)) in zip(panels, sweeps.items(), strict=True):
        part = frame[frame["sweep"] == sweep]
        sizes = part["size"] if sweep == "tasks" else part["answers"]
        axes.plot(sizes, part["seconds"], marker="o", markersize=4)
        axes.set(xlim=(0, None), ylim=(0, None), xlabel=unit)
        axes.set_title(title, fontsize="medium")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panels[0].set_ylabel("seconds")
    return panels[0]


def describe(name: str, data: Path) -> str:
    machine = json.loads((data / f"bench_{name}.json").read_text())["machine"]
    return f"SmolLM2-135M, {machine['cores']} cores of an {machine['cpu']}"


def main() -> None:
    given = [Path(each) for each in sys.argv[1:]]
    data = given[0] if given else files.place("figures/data")
    target = given[1] if given[1:] else files.place("figures")
    style.set_style()
    rest = "; bars: medians, whiskers: least and greatest round."
    for name in DRAWN:
        axes = draw_speeds(name, data)
        style.save(axes, target / f"bench_{name}", describe(name, data) + rest)
        print(tabulate(name, data), end="\n\n")
    axes = draw_growth(data)
    style.save(axes, target / "bench_growth", f"{describe('growth', data)}, one run.")


if __name__ == "__main__":
    main()
