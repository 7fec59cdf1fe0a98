"""Annotated texts become a table to read and Axes to look at."""

import warnings
from collections.abc import Iterable
from contextlib import suppress

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from emolib import DataError
from emolib.tasks import EMOTIONS, get

MARKERS = dict(zip(EMOTIONS, "^v*o", strict=True))
_WIDTH = 44  # characters of a text beside a row


def summarize(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per text to read: the four intensities, valence, and emotions as words.

    `frame` as `annotate` gives it, with whatever tasks were predicted.
    """
    found = {name: frame[f"{name}_intensity"] for name in _find_emotions(frame)}
    if "valence" in frame:
        found["valence"] = frame["valence"]
    labels = [name for name in get("E-c").labels if f"has_{name}" in frame]
    if labels:
        present = frame[[f"has_{name}" for name in labels]].fillna(False).to_numpy(bool)
        found["emotions"] = [", ".join(np.array(labels)[row]) for row in present]
    return pd.DataFrame({"text": frame["text"], **found})


def color(frame: pd.DataFrame):
    """`summarize` as a coloured pandas Styler.

    The darker, the stronger the emotion; valence from red (negative) to blue (positive).
    """
    table = summarize(frame)
    emotions, valence = (table.columns.intersection(x) for x in (EMOTIONS, ["valence"]))
    styler = table.style.format(precision=2, na_rep="").hide(axis="index")
    styler = styler.background_gradient("Greens", subset=emotions, vmin=0, vmax=1)
    styler = styler.background_gradient("RdBu", subset=valence, vmin=0, vmax=1)
    return styler.set_properties(subset=["text"], **{"text-align": "left"})


def draw_profile(frame: pd.DataFrame) -> Axes:
    """The four intensities of each text on one line, its valence as a bar beside it.

    The left of two Axes. Texts without an annotation keep an empty line.
    """
    emotions = _find_emotions(frame)
    if not emotions or "valence" not in frame:
        raise DataError("a profile needs the tasks EI-reg and V-reg")
    places = np.arange(len(frame))[::-1]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7, 0.9 + 0.36 * len(frame)), width_ratios=(3, 1), sharey=True
    )
    for number, emotion in enumerate(emotions):
        beside = places + 0.14 * ((len(emotions) - 1) / 2 - number)  # seen where equal
        style = {"marker": MARKERS[emotion], "linestyle": "none", "label": emotion}
        left.plot(frame[f"{emotion}_intensity"], beside, **style)
    left.set(xlim=(-0.02, 1.02), xlabel="intensity", ylim=(-0.6, len(frame) - 0.4))
    lines = [" ".join(str(text).split()) for text in frame["text"]]
    left.set_yticks(places, [x if len(x) <= _WIDTH else x[: _WIDTH - 1] + "…" for x in lines])
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    known = frame["valence"].astype(float).to_numpy()
    shades = plt.get_cmap("RdBu")(np.nan_to_num(known, nan=0.5))
    right.barh(places, known - 0.5, left=0.5, height=0.6, color=shades, edgecolor="k")
    right.axvline(0.5, color="grey", linewidth=1)
    right.set(xlim=(0, 1), xlabel="valence")
    figure.tight_layout()
    return left


def draw_timeline(
    frame: pd.DataFrame, times: Iterable, window: str = "7D", events: dict[str, str] | None = None
) -> Axes:
    """Valence of each text over time with its running mean, and the four intensities'.

    The upper of two Axes. `times`: one per text, whatever pandas reads as dates; `window`: of the
    running mean, centred; `events`: dates to what happened then, drawn as lines with words. Texts
    without a valence or a date are left out.
    """
    dated = frame.assign(time=read_times(times).to_numpy())
    dated = dated.dropna(subset=["valence", "time"]).sort_values("time").set_index("time")
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, height_ratios=(3, 2))
    shades = {"c": dated["valence"], "cmap": "RdBu", "vmin": 0, "vmax": 1}
    upper.scatter(dated.index, dated["valence"], 18, edgecolor="grey", **shades)
    smooth = dated["valence"].rolling(window, center=True).mean()
    upper.plot(smooth, color="black", label=f"mean over {window}")
    style = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 7}
    for date, words in (events or {}).items():
        for axes in (upper, lower):
            axes.axvline(pd.Timestamp(date), color="grey", linestyle=":", linewidth=1)
        upper.text(pd.Timestamp(date), 1.05, words, **style)
    upper.set(ylabel="valence", ylim=(-0.02, 1.08))
    upper.set_title(f"{len(dated)} texts", loc="left")
    upper.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    for emotion in _find_emotions(dated):
        mean = dated[f"{emotion}_intensity"].rolling(window, center=True).mean()
        lower.plot(mean, label=emotion, marker=MARKERS[emotion], markevery=7)
    lower.set(ylabel=f"intensity,\nmean over {window}", ylim=(0, 1))
    lower.legend(ncols=4, loc="upper center", fontsize=8)
    figure.autofmt_xdate()
    figure.tight_layout()
    return upper


def read_times(times: Iterable) -> pd.Series:
    """Dates of one form, in UTC where they have a zone; DataError names the first that has another.

    None of them may be guessed: 07/03/2024 is in July for some and in March for others.
    """
    given = pd.Series(list(times), dtype=object)
    with warnings.catch_warnings(action="ignore"):  # of forms that pandas reads one by one
        for zone in (False, True):  # summer time has another zone than winter time
            with suppress(ValueError, TypeError, OverflowError):
                return pd.to_datetime(given, utc=zone).dt.tz_localize(None)
        for number, value in enumerate(given, start=1):
            try:
                pd.to_datetime(given[:number], utc=True)
            except (ValueError, TypeError, OverflowError):
                hint = f"no date of the form of the first, {given[0]!r:.40}"
                raise DataError(f"row {number}: {value!r:.40} is {hint}: write all alike") from None
    return given


def _find_emotions(frame: pd.DataFrame) -> list[str]:
    return [name for name in EMOTIONS if f"{name}_intensity" in frame]
