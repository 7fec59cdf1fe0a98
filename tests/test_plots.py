import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emolib.data import aeb
from emolib.evaluation import item_errors, metrics
from emolib.report import error_plots, score_plots, style
from emolib.tasks import TASKS


def answer(row: dict, generator) -> str:
    """A fake response: mostly right, a few off, a few that cannot be read."""
    if generator.random() < 0.1:
        return "cry"
    if TASKS[row["task"]].kind == "score":
        return f"{np.clip(float(row['gold']) + generator.normal(0, 0.2), 0, 1):.3f}"
    return row["gold"]


@pytest.fixture(scope="module")
def table():
    rows, generator = aeb.build(data="sample"), np.random.default_rng(0)
    responses = rows.to_pandas()[["id", "task", "emotion"]]
    return item_errors.compare(
        rows, responses.assign(response=[answer(row, generator) for row in rows])
    )


@pytest.fixture(scope="module")
def scores(table):
    part = table[table["task"].isin(["V-reg", "E-c"])]
    return pd.concat(metrics.tabulate(part, model) for model in ("ours", "theirs"))


@pytest.fixture(autouse=True)
def closed():
    style.set_style()
    yield
    plt.close("all")


LOG = pd.DataFrame({"step": [1, 2, 2], "loss": [2.0, 1.5, None], "eval_loss": [None, None, 1.7]})
NUMBERS = pd.DataFrame({"joy": [0.1, 0.2, 0.4], "fear": [0.4, 0.2, 0.1], "anger": [1, 3, 2]})
FIGURES = {
    "loss": lambda table, scores: score_plots.draw_loss(LOG),
    "scores": lambda table, scores: score_plots.draw_scores(scores),
    "agreement": lambda table, scores: error_plots.draw_agreement(table, "EI-reg"),
    "valence": lambda table, scores: error_plots.draw_agreement(table, "V-reg"),
    "calibration": lambda table, scores: error_plots.draw_calibration(table, "EI-reg"),
    "confusion": lambda table, scores: error_plots.draw_confusion(table, "V-oc"),
    "labels": lambda table, scores: error_plots.draw_labels(table),
    "correlations": lambda table, scores: error_plots.draw_correlations({"sample": NUMBERS.corr()}),
}


def read_texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


@pytest.mark.parametrize("name", FIGURES)
def test_figure_names_its_axes(table, scores, name):
    drawn = FIGURES[name](table, scores).figure
    drawn.canvas.draw()
    named = name == "correlations"  # its ticks are names
    assert named or any(axes.get_xlabel() for axes in drawn.axes)
    assert named or name == "scores" or any(axes.get_ylabel() for axes in drawn.axes)
    assert all(axes.has_data() for axes in drawn.axes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agreement", "labels", "correlations"])
def test_same_figure_gives_the_same_bytes(table, scores, tmp_path, name):
    saved = []
    for folder in ("a", "b"):
        drawn = FIGURES[name](table, scores)
        saved.append(style.save(drawn, tmp_path / folder / name, style.SAMPLE_NOTE))
    assert [path.suffix for path in saved[0]] == [".svg", ".png"]
    for one, other in zip(*saved, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_note_stands_on_the_figure(tmp_path):
    drawn = score_plots.draw_loss(LOG)
    style.save(drawn, tmp_path / "loss", style.SAMPLE_NOTE)
    assert style.SAMPLE_NOTE in read_texts(drawn.figure)


def test_scores_are_drawn_at_their_place_with_their_interval(scores):
    axes = score_plots.draw_scores(scores)
    drawn = [x for line in axes.lines for x in line.get_xdata()]
    assert drawn == pytest.approx(scores["value"].tolist())
    ends = np.concatenate([np.array(x)[:, 0] for c in axes.collections for x in c.get_segments()])
    assert sorted(ends) == pytest.approx(sorted([*scores["low"], *scores["high"]]))


def test_scores_say_how_many_items_are_behind_them(scores):
    labels = [t.get_text() for t in score_plots.draw_scores(scores).get_yticklabels()]
    assert labels[0] == f"V-reg r, n = {scores['n'].iloc[0]}"


def test_nothing_is_smoothed_below_thirty_items(table):
    part = table[table["task"] == "V-reg"].head(29)
    lines = error_plots.draw_agreement(part, "V-reg").lines
    assert [line.get_linestyle() for line in lines] == ["--"]
    assert len(error_plots.draw_calibration(part, "V-reg").lines) == 1


def test_correlations_are_drawn_to_two_decimals():
    matrix = NUMBERS.corr()
    drawn = error_plots.draw_correlations({"sample": matrix}).collections[0].get_array()
    assert np.asarray(drawn) == pytest.approx(matrix.to_numpy(), abs=0.005)


def test_label_that_was_never_predicted_has_no_precision(table):
    rows = table[table["task"] == "E-c"].assign(predicted=[()] * (table["task"] == "E-c").sum())
    precision, recall, _ = error_plots.draw_labels(rows).containers
    assert (len(precision), len(recall)) == (0, 11)


def test_loss_curves_are_those_of_the_log():
    curves = [line.get_xydata().tolist() for line in score_plots.draw_loss(LOG).lines]
    assert curves == [[[1, 2.0], [2, 1.5]], [[2, 1.7]]]


def test_confusion_rows_are_shares_of_each_gold_class(table):
    part = table[(table["task"] == "V-oc") & table["predicted"].notna()]
    drawn = error_plots.draw_confusion(table, "V-oc").collections[0].get_array()
    shares = np.asarray(drawn).reshape(7, 7)
    present = [value in set(part["gold"]) for value in range(-3, 4)]
    assert shares.sum(axis=1).tolist() == pytest.approx([float(x) for x in present])
    assert np.diag(shares).tolist() == pytest.approx([float(x) for x in present])


@pytest.mark.parametrize("name", ["agreement", "labels", "confusion", "calibration"])
def test_figure_shows_how_many_texts_are_behind_it(table, scores, name):
    text = read_texts(FIGURES[name](table, scores).figure)
    task = {"labels": "E-c", "confusion": "V-oc"}.get(name, "EI-reg")
    rows = table[table["task"] == task]
    read = rows[rows["predicted"].notna()]
    counts = {"labels": f"of {len(rows)}", "confusion": "(n="}
    assert counts.get(name, f"n = {len(read)}") in text


def test_copies_are_drawn_with_their_scores_and_costs():
    copies = pd.DataFrame(
        {"copy": ["f16", "q4"], "megabytes": [270, 105], "items_per_second": [2.0, 3.0]}
    )
    rows = [
        (copy, task, metric, value, value - 0.1, value + 0.1, 40)
        for copy, value in (("f16", 0.8), ("q4", 0.7))
        for task, metric in (("V-reg", "pearson"), ("E-c", "jaccard"), ("E-c", "f1"))
    ]
    names = ["model", "task", "metric", "value", "low", "high", "n"]
    left, right = score_plots.draw_copies(copies, pd.DataFrame(rows, columns=names))
    labels = [t.get_text() for t in left.get_yticklabels()]
    assert labels == ["V-reg r, n = 40", "E-c Jaccard, n = 40"]
    assert sorted(x for line in left.lines for x in line.get_xdata()) == [0.7, 0.7, 0.8, 0.8]
    assert right.get_xlabel() == "weights in memory (MB)"
    shown = {tuple(p.get_offsets()[0]) for p in right.collections}
    assert shown == {(270.0, 2.0), (105.0, 3.0)}
