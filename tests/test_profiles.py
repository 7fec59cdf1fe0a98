import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emolib import DataError
from emolib.annotation import annotate
from emolib.data import corpora
from emolib.report import text_plots
from emolib.tasks import EMOTIONS


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def frame():
    """Four texts as `annotate` gives them; the third was empty."""
    columns = annotate.list_columns(("EI-reg", "V-reg", "E-c"))
    values = np.tile(np.array([[0.9], [0.2], [np.nan], [0.6]]), len(columns))
    made = pd.DataFrame(values, columns=list(columns))
    flags = [name for name, kind in columns.items() if kind == "boolean"]
    made[flags] = False
    made.loc[0, ["has_joy", "has_love"]] = True
    made = made.astype(columns)
    made.loc[2, flags] = pd.NA
    made.insert(0, "text", ["A " + "very " * 20 + "long text", "b", "", "d"])
    return made.assign(reason=[None, None, "empty text", None])


def test_summary_has_words_for_the_emotions(frame):
    found = text_plots.summarize(frame)
    assert list(found) == ["text", *EMOTIONS, "valence", "emotions"]
    assert found["emotions"].tolist() == ["joy, love", "", "", ""]


def test_summary_has_only_what_was_judged(frame):
    found = text_plots.summarize(frame[["text", "valence", "reason"]])
    assert list(found) == ["text", "valence"]
    assert "0.90" in text_plots.color(frame[["text", "valence"]]).to_html()


def test_colors_follow_the_values(frame):
    html = text_plots.color(frame).to_html()
    assert html.count("background-color") >= 5 and "joy, love" in html


def test_profile_draws_every_text_and_emotion(frame):
    axes = text_plots.draw_profile(frame)
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    assert set(lines) == set(EMOTIONS)
    assert np.allclose(lines["joy"], [0.9, 0.2, np.nan, 0.6], equal_nan=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0].endswith("…") and len(labels[0]) == 44 and labels[3] == "d"
    bars = axes.figure.axes[1].patches
    assert [round(bar.get_width(), 2) for bar in bars][:2] == [0.4, -0.3]


def test_profile_needs_intensities_and_valence(frame):
    with pytest.raises(DataError, match="needs the tasks EI-reg and V-reg"):
        text_plots.draw_profile(frame[["text", "valence"]])


def test_timeline_is_in_the_order_of_time(frame):
    dates = ["2025-01-09", "2025-01-01", "2025-01-02", "2025-01-05"]
    axes = text_plots.draw_timeline(frame, dates, events={"2025-01-02": "moves"})
    mean, event = axes.lines
    assert mean.get_ydata()[0] == pytest.approx(0.2)  # alone in its week's half
    assert [text.get_text() for text in axes.texts] == ["moves"]
    assert event.get_xdata()[0] == pd.Timestamp("2025-01-02")
    assert axes.get_title(loc="left") == "3 texts"  # the empty one has no valence


def test_timeline_takes_texts_of_one_day_and_none(frame):
    dates = ["2025-01-02", "2025-01-02", "2025-01-03", None]
    axes = text_plots.draw_timeline(frame, dates)
    assert len(axes.texts) == 0
    assert axes.get_title(loc="left") == "2 texts"


def test_bundled_diary_is_a_hundred_days_in_order():
    diary = pd.read_csv(corpora.locate("sample").parent / "sample" / "diary.csv")
    assert len(diary) == 100 and diary["text"].str.len().between(5, 120).all()
    assert pd.to_datetime(diary["date"]).is_monotonic_increasing
