"""How every figure looks, and how it is saved: vector and PNG."""

from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes

from emolib import files

SAMPLE_NOTE = "Drawn from the bundled sample: says nothing about a model's quality."


def set_style() -> None:
    """Colour-blind safe, readable at column width in print."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    plt.rcParams |= {"figure.dpi": 110, "savefig.dpi": 200, "svg.hashsalt": "emolib"}


def save(axes: Axes, path: str | Path, note: str = "") -> list[Path]:
    """Writes `path` as .svg and .png with the note below; returns both paths.

    Same figure, same bytes: no dates, fixed ids.
    """
    figure = axes.figure
    if note:
        figure.canvas.draw()
        lowest = figure.get_tightbbox().y0 / figure.get_figheight()
        figure.text(0.5, lowest - 0.03, note, ha="center", va="top", fontsize="small")
    paths = [Path(path).with_suffix(suffix) for suffix in (".svg", ".png")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for target, empty in zip(paths, ({"Date": None}, {"Software": None}), strict=True):
        with files.replacing(target) as temporary:
            figure.savefig(temporary, format=target.suffix[1:], bbox_inches="tight", metadata=empty)
    return paths
