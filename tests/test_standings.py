"""Our rows beside published ones, on invented scores of ours."""

import pandas as pd
import pytest

from emolib import DataError
from emolib.report import standings, style
from emolib.report.standings import COLUMNS, MODEL


@pytest.fixture
def ours():
    rows = [
        (who, task, metric, value, value - 0.01, value + 0.01)
        for who, value in ((MODEL, 0.7), (f"{MODEL}, joined", 0.95))
        for pairs in COLUMNS.values()
        for task, metric in pairs
    ]
    names = ["model", "task", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def test_published_rows_stand_below_ours(ours):
    rows = standings.collect(ours, 5)
    order = list(dict.fromkeys(rows["model"]))
    assert order[:3] == [MODEL, f"{MODEL}, joined", "EmoLLaMA-chat-13B"]
    best = rows[rows["model"] == "SemEval-2018's best"].set_index("metric")["value"]
    assert best["jaccard"] == 0.609
    # What the paper prints as its models' accuracy is another figure.
    theirs = rows[rows["model"] == "EmoLLaMA-7B"]
    assert "jaccard" not in set(theirs["metric"])


def test_gpt_4_goes_by_one_name(ours):
    for number in (5, 6):
        assert "GPT-4" in set(standings.collect(ours, number)["model"])


def test_best_of_a_column_is_bold_and_ours_have_intervals(ours):
    lines = standings.format_markdown(ours, 5).splitlines()
    assert lines[0].count("|") == len(COLUMNS[5]) + 2
    assert lines[2].startswith(f"| **{MODEL}** | 0.700<br>[0.690, 0.710]")
    assert all("**0.950**" in cell for cell in lines[3].split("|")[2:-1])
    assert sum("**0." in line for line in lines) == 1


def test_no_score_of_ours_is_an_error(ours):
    with pytest.raises(DataError, match="Table 6"):
        standings.collect(ours[ours["task"] == "EI-reg"], 6)


def test_table_goes_between_its_marks():
    text = "a\n<!-- t -->\nold\n<!-- /t -->\nb"
    assert standings.fill(text, "t", "new") == "a\n<!-- t -->\nnew\n<!-- /t -->\nb"
    with pytest.raises(DataError, match="<!-- u -->"):
        standings.fill(text, "u", "new")


def test_figure_has_a_mark_per_score(ours):
    style.set_style()
    axes = standings.draw(ours, MODEL)
    panels = axes.figure.axes
    assert [len(p.get_yticks()) for p in panels] == [len(COLUMNS[n]) for n in (5, 6)]
    drawn = {line.get_label(): line for line in panels[0].lines}
    assert len(drawn["EmoLLaMA-7B"].get_xdata()) == 6
    assert len(drawn["VADER"].get_xdata()) == 0
