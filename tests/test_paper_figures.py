"""Figures 2 and 3 and the forest plot, on the published numbers and made-up ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emolib import DataError
from emolib.evaluation import score_files
from emolib.report import paper_figures, style

PUBLISHED = pd.concat([score_files.read_published(5), score_files.read_published(6)])


def invent(models: int, value: float = 0.5) -> pd.DataFrame:
    """Scores of ours on every sub-task, each model 0.01 better than the one before."""
    rows = [
        ("ours", f"model {k}", "x", *pair, v, v - 0.1, v + 0.2, 250, True)
        for k in range(models)
        for v in [value + k / 100]
        for number in (5, 6)
        for pair in score_files.COLUMNS[number]
    ]
    return pd.DataFrame(rows, columns=score_files.LONG)


def join(models: int) -> pd.DataFrame:
    return pd.concat([PUBLISHED, invent(models)]) if models else PUBLISHED


FIGURES = {
    "figure2": lambda rows: paper_figures.draw_bars(rows, 5),
    "figure3": lambda rows: paper_figures.draw_bars(rows, 6),
    "forest_aeb1": lambda rows: paper_figures.draw_forest(rows, 5)[0],
    "forest_aeb2": lambda rows: paper_figures.draw_forest(rows, 6)[0],
}
each = pytest.mark.parametrize("name", FIGURES)


@pytest.fixture(autouse=True)
def closed():
    style.set_style()
    yield
    plt.close("all")


def read_texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


def read_segments(axes) -> list:
    return [line for found in axes.collections for line in found.get_segments()]


@each
@pytest.mark.parametrize("models", [0, 1, 12])
def test_figure_is_drawn_for_any_number_of_our_models(name, models):
    figure = FIGURES[name](join(models)).figure
    figure.canvas.draw()
    text = read_texts(figure)
    assert ("no score on these sub-tasks yet" in text) == (models == 0)
    assert (paper_figures.WHISKERS in text) == (models > 0)
    assert ("best of our 12 models" in text) == (models == 12)
    assert ("n = 250" in text) == (models > 0)


@each
@pytest.mark.slow
def test_same_figure_gives_the_same_bytes(tmp_path, name):
    saved = [
        style.save(FIGURES[name](join(2)), tmp_path / folder / name, "note")
        for folder in ("a", "b")
    ]
    for one, other in zip(*saved, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_figure2_has_the_papers_bars_at_their_height():
    axes = paper_figures.draw_bars(PUBLISHED, 5)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[:2] == ["EmoLLaMA-chat-13B", "Leaderboard(1)"] and len(names) == 5
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights == [0.831, 0.763, 0.886, 0.860, 0.545]
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks[0] == "EI-reg\nr" and ticks[-1] == "E-c\nmacro F1"


def test_figure3_has_nine_sub_tasks_and_two_tuned_models():
    axes = paper_figures.draw_bars(PUBLISHED, 6)
    heights = [bar.get_height() for bar in axes.containers[1]]
    expected = [0.885, 0.835, 0.797, 0.910, 0.822, 0.728, 0.392, 0.362, 0.554]
    assert heights == expected


def test_our_bars_are_hatched_and_have_our_interval():
    axes = paper_figures.draw_bars(join(1), 5)
    ours = [bar for bar in axes.patches if bar.get_hatch()]
    assert [bar.get_height() for bar in ours] == [0.5] * 5
    ends = np.array(read_segments(axes))[:, :, 1]
    assert ends == pytest.approx(np.array([[0.4, 0.7]] * 5))


def test_only_the_best_of_many_are_drawn():
    axes = paper_figures.draw_bars(join(6), 5, most=2)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[5:] == ["ours: model 4, n = 250", "ours: model 5, n = 250"]


def test_missing_score_is_no_bar():
    rows = join(1)
    axes = paper_figures.draw_bars(rows[(rows["origin"] != "ours") | (rows.task == "E-c")], 5)
    heights = [bar.get_height() for bar in axes.patches if bar.get_hatch()]
    assert np.isnan(heights).tolist() == [True] * 4 + [False]


def test_whole_test_set_is_called_so():
    axes = paper_figures.draw_bars(join(1).assign(partial=False), 5)
    assert "ours: model 0, all items" in read_texts(axes.figure)


def test_forest_shows_our_score_less_each_published_one():
    first = paper_figures.draw_forest(join(1), 5)[0]
    rows = [tick.get_text() for tick in first.get_yticklabels()]
    points = dict(zip(rows, first.containers[0].lines[0].get_xdata(), strict=True))
    assert rows[0] == "EmoLLaMA-chat-13B" and rows[-1] == "Leaderboard(1)"
    assert points["ChatGPT"] == pytest.approx(0.5 - 0.599)
    low, high = read_segments(first)[rows.index("ChatGPT")][:, 0]
    assert (low, high) == pytest.approx((0.4 - 0.599, 0.7 - 0.599))


def test_forest_writes_a_difference_that_is_far():
    first = paper_figures.draw_forest(join(1), 5)[0]
    written = {round(t.get_position()[1]): t.get_text() for t in first.texts}
    assert written[0] == "-0.33"  # 0.5 - 0.831
    assert np.isnan(first.containers[0].lines[0].get_xdata()[0])


def test_model_asked_in_two_ways_is_drawn_once():
    rows = pd.concat([join(1), invent(1).assign(model="model 0, joined", value=0.6)])
    names = [t.get_text() for t in paper_figures.draw_bars(rows, 5).get_legend().get_texts()]
    assert [name for name in names if name.startswith("ours")] == ["ours: model 0, joined, n = 250"]


def test_forest_has_a_panel_per_sub_task():
    titles = [axes.get_title() for axes in paper_figures.draw_forest(join(1), 6)]
    assert len(titles) == 9 and titles[0] == "V-A\nr"
    assert titles[-1] == "TDT\nmacro F1"
    with pytest.raises(DataError, match="no figure of Table 3"):
        paper_figures.draw_forest(PUBLISHED, 3)


def test_interval_that_misses_its_value_is_drawn_all_the_same():
    rows = pd.concat([PUBLISHED, invent(1).assign(low=0.51)])  # a bootstrap may do so
    paper_figures.draw_bars(rows, 5)
    paper_figures.draw_forest(rows, 5)


def test_figures_take_the_axes_they_are_given():
    figure, grid = plt.subplots(2, 5)
    assert paper_figures.draw_bars(join(1), 5, grid[0, 0]) is grid[0, 0]
    assert paper_figures.draw_forest(join(1), 5, grid[1]) == list(grid[1])
    assert plt.get_fignums() == [figure.number]
