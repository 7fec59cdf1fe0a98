"""The published numbers, the reading of ours, and the tables made of both."""

import numpy as np
import pandas as pd
import pytest

from emolib import DataError, files
from emolib.evaluation import score_files
from emolib.report import paper_tables
from emolib.tasks import AAID, AEB, AEB_2

ROW = {
    "model": "base",
    "task": "V-reg",
    "metric": "pearson",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "n": 937,
    "unparsed": 0,
    "data": "official",
    "run": "mine",
    "base": "org/Some-7b",
}
PUBLISHED = pd.concat([score_files.read_published(5), score_files.read_published(6)])


def write(folder, *changes: dict, name: str = "mine"):
    """A score file with a row per dict of changes to ROW; the folder."""
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame([ROW | change for change in changes])
    frame.to_csv(folder / f"{name}_scores.csv", index=False)
    return folder


def build(folder, *changes: dict, number: int = 5) -> paper_tables.Table:
    ours = score_files.read_ours(write(folder, *changes))
    return paper_tables.build_scores(pd.concat([PUBLISHED, ours]), number)


def find(table: paper_tables.Table, model: str, column: tuple) -> tuple[str, str]:
    """Text and style of a cell."""
    (row,) = np.flatnonzero(table.cells[("", "model")] == model)
    place = table.cells.columns.get_loc(column)
    return table.cells.iloc[row, place], table.marks.iloc[row, place]


@pytest.mark.parametrize(
    ("model", "task", "metric", "value"),
    [
        ("EmoLLaMA-chat-13B", "EI-reg", "pearson", 0.831),
        ("EmoLLaMA-chat-13B", "EI-oc", "pearson.joy", 0.777),
        ("Leaderboard(1)", "E-c", "accuracy", 0.609),
        ("GPT-4-FS", "V-oc", "pearson", 0.793),
        ("LLaMA2-chat-13B", "V-NYT", "pearson", -0.011),
        ("VADER", "TDT", "f1_macro", 0.266),
        ("EmoLLaMA-chat-7B", "GoEmotions", "accuracy", 0.371),
    ],
)
def test_published_number_is_as_printed(model, task, metric, value):
    rows = PUBLISHED.query("model == @model and task == @task and metric == @metric")
    assert rows["value"].tolist() == [value]


def test_published_tables_hold_every_printed_number():
    sizes = [len(score_files.read_published(number)) for number in (5, 6)]
    # Dashes: two encoders' four emotions of EI-oc; EmoBank, GoEmotions and SST5 (seven
    # columns) of the two lexicons.
    assert sizes == [19 * 15 - 2 * 4, 14 * 14 - 2 * 7]
    assert set(PUBLISHED["task"]) == set(AEB)


def test_published_averages_follow_from_the_emotions_but_for_two():
    wide = PUBLISHED.pivot(index="model", columns=["task", "metric"], values="value")
    for task, odd in (("EI-reg", {"BERT-base", "GPT-4"}), ("EI-oc", set())):
        gap = wide[task]["pearson"] - wide[task].filter(like=".").mean(axis=1)
        assert set(gap[gap.abs() > 0.0006].index) - odd == set()


def test_table_has_the_papers_columns():
    table = paper_tables.build_scores(PUBLISHED, 5)
    heads = [pair for pair in table.cells.columns if pair[0] == "E-c"]
    assert heads == [("E-c", "acc."), ("E-c", "micro F1"), ("E-c", "macro F1")]
    assert table.cells.shape == (19, 3 + 15)
    assert paper_tables.build_scores(PUBLISHED, 6).cells.shape == (14, 3 + 14)


def test_best_published_number_is_bold_and_a_dash_is_a_dash():
    table = paper_tables.build_scores(PUBLISHED, 5)
    best = find(table, "EmoLLaMA-chat-13B", ("EI-reg", "average"))
    assert best == ("0.831", "font-weight: bold")
    assert find(table, "EmoOPT", ("EI-reg", "average")) == ("0.825", "")
    assert find(table, "SentiBERT", ("EI-oc", "joy")) == (paper_tables.DASH, "")


def test_our_best_is_italic_and_bold_only_where_it_beats_all(tmp_path):
    table = build(tmp_path, {}, {"model": "tuned", "value": 0.9}, {"task": "V-oc", "value": 0.1})
    name = "Some-7b, tuned (mine)"
    assert find(table, name, ("V-reg", "r"))[1] == ("font-weight: bold; font-style: italic")
    weak = find(table, "Some-7b, zero-shot (mine)", ("V-oc", "r"))
    assert weak[1] == "font-style: italic"
    assert find(table, "EmoOPT", ("V-reg", "r")) == ("0.887", "")


def test_equal_prints_are_equally_bold(tmp_path):
    table = build(tmp_path, {"value": 0.8872, "low": 0.8, "high": 0.9})
    assert "bold" in find(table, "EmoOPT", ("V-reg", "r"))[1]
    assert "bold" in find(table, "Some-7b, zero-shot (mine)", ("V-reg", "r"))[1]


def test_our_cell_shows_interval_and_n_only_where_items_are_missing(tmp_path):
    table = build(tmp_path, {}, {"task": "V-oc", "n": 250})
    name = "Some-7b, zero-shot (mine)"
    assert find(table, name, ("V-reg", "r"))[0] == "0.500\n[0.400, 0.600]"
    assert find(table, name, ("V-oc", "r"))[0] == "0.500\n[0.400, 0.600]\nn = 250"


def test_emotion_counts_as_whole_where_its_task_is(tmp_path):
    rows = [{"task": "EI-reg", "n": 4068}]
    rows += [{"task": "EI-reg", "n": 1002, "metric": "pearson.anger"}]
    ours = score_files.read_ours(write(tmp_path, *rows))
    assert ours["partial"].tolist() == [False, False]


def test_jaccard_stands_apart_from_printed_accuracy(tmp_path):
    table = build(tmp_path, {"task": "E-c", "metric": "jaccard", "n": 3259})
    name = "Some-7b, zero-shot (mine)"
    assert find(table, name, ("E-c", "acc."))[0] == paper_tables.DASH
    assert find(table, name, ("E-c", "Jaccard"))[0].startswith("0.500")
    assert find(table, "GPT-4", ("E-c", "Jaccard"))[0] == paper_tables.DASH


def test_rows_say_where_they_come_from(tmp_path):
    table = build(tmp_path, {"model": "tuned"})
    last = table.cells.iloc[-1, :3].tolist()
    assert last == ["ours", "Some-7b, tuned (mine)", "instruction-tuned on AAID"]
    assert set(table.cells[("", "from")][:-1]) == {"published"}


def test_same_name_in_two_runs_says_which(tmp_path):
    write(tmp_path, {"model": "VADER", "run": "one"}, name="one")
    write(tmp_path, {"model": "VADER", "run": "two"}, {"model": "x"}, name="two")
    found = score_files.read_ours(tmp_path)["model"].tolist()
    assert found == ["VADER (one)", "VADER (two)", "x"]


def test_sample_rows_are_left_out(tmp_path):
    write(tmp_path, {"data": "sample"}, {"model": "x", "data": "release"})
    assert score_files.read_ours(tmp_path)["model"].tolist() == ["x"]


def test_later_folder_replaces_a_file_of_the_same_name(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    write(first, {"value": 0.1}), write(second, {"value": 0.2})
    assert score_files.read_ours(first, second)["value"].tolist() == [0.2]
    assert score_files.read_ours(first, first)["value"].tolist() == [0.1]


@pytest.mark.parametrize("number", [5, 6])
def test_tables_are_built_without_any_score_of_ours(tmp_path, number):
    write(tmp_path, {"data": "sample"})
    for ours in (score_files.read_ours(tmp_path), score_files.read_ours(tmp_path / "none")):
        table = paper_tables.build_scores(pd.concat([PUBLISHED, ours]), number)
        assert "no score on these sub-tasks yet" in table.caption
        assert set(table.cells[("", "from")]) == {"published"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": None}, r"mine_scores\.csv:3: column value holds no number"),
        ({"high": "much"}, r"mine_scores\.csv:3: column high holds no number"),
        ({"task": "V-x"}, r"mine_scores\.csv:3: column task: no task 'V-x'"),
        ({"value": 48}, r"mine_scores\.csv:3: column value: 48"),
        ({"value": 0.4}, r"mine_scores\.csv:3: a second pearson of base on V-reg"),
    ],
)
def test_bad_score_names_file_line_and_column(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        score_files.read_ours(write(tmp_path, {}, change))


@pytest.mark.parametrize("name", ["model", "metric", "low", "n", "data"])
def test_missing_column_is_named(tmp_path, name):
    write(tmp_path, {})
    path = tmp_path / "mine_scores.csv"
    pd.read_csv(path).drop(columns=name).to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"mine_scores\.csv:1: no column {name}"):
        score_files.read_ours(tmp_path)


def test_unreadable_files_are_data_errors(tmp_path):
    (tmp_path / "mine_scores.csv").write_text("")
    with pytest.raises(DataError, match="not readable CSV"):
        score_files.read_ours(tmp_path)
    with pytest.raises(DataError, match=r"table5\.csv: no such file"):
        score_files.read_published(5, tmp_path)
    with pytest.raises(DataError, match="no table of scores 7"):
        paper_tables.build_scores(PUBLISHED, 7)


def test_published_table_with_an_odd_column_is_refused(tmp_path):
    text = "model,kind,source,V-reg.spearman\nx,y,z,0.5\n"
    (tmp_path / "table5.csv").write_text(text)
    with pytest.raises(DataError, match=r"table5\.csv:1: column 'V-reg.spearman'"):
        score_files.read_published(5, tmp_path)


def test_counted_sizes_are_the_published_ones():
    sizes = paper_tables.count_sizes()
    assert sizes["published"].tolist() == sizes["ours"].tolist()
    assert sizes.query("table == 3")["task"].tolist()[:5] == list(AAID)
    assert set(sizes.query("table == 3")["task"]) == {*AAID, *AEB_2}
    totals = sizes.query("table == 1").groupby("split")["ours"].sum()
    assert totals["instruction train"] == 234_040
    assert totals["instruction dev"] == 47_120


def test_committed_sizes_are_what_is_counted_now():
    text = paper_tables.count_sizes().to_csv(index=False)
    assert text == files.place("figures/data/sizes.csv").read_text()


@pytest.mark.parametrize("number", [1, 3, 5, 6])
def test_committed_tables_are_made_of_the_committed_scores(tmp_path, number):
    if number in score_files.COLUMNS:
        both = pd.concat([PUBLISHED, score_files.read_ours("figures/data")])
        table = paper_tables.build_scores(both, number)
    else:
        table = paper_tables.build_sizes(paper_tables.count_sizes(), number)
    for path in paper_tables.write(table, tmp_path):
        committed = files.place("figures/tables") / path.name
        assert path.read_bytes() == committed.read_bytes(), "run `make figures`"


def test_sizes_that_differ_are_bold():
    sizes = paper_tables.count_sizes()
    sizes.loc[0, "ours"] -= 1
    table = paper_tables.build_sizes(sizes, 1)
    assert table.cells.iloc[0, :3].tolist() == ["EI-reg", "7,102", "7,101"]
    assert table.marks.iloc[0, 1:4].tolist() == ["font-weight: bold"] * 2 + [""]
    with pytest.raises(DataError, match="no table of sizes 2"):
        paper_tables.build_sizes(sizes, 2)


def test_published_emotions_are_the_corpus_counts(real_data):
    from emolib.data import corpora

    printed = pd.read_csv(files.place(score_files.PAPER) / "table1.csv").set_index("subset")
    for split in ("train", "dev"):
        counts = corpora.read("EI-reg", split)["emotion"].value_counts()
        assert counts.to_dict() == printed[f"raw_{split}"].iloc[:4].to_dict()


def test_markdown_keeps_zeros_and_marks_the_best(tmp_path):
    text = paper_tables.format_markdown(build(tmp_path, {"n": 250}))
    lines = [line for line in text.splitlines() if "EmoLLaMA-chat-13B" in line]
    assert lines[0].split("|")[4].strip() == "**0.831**"
    assert "| 0.720 " in text
    assert "*0.500<br>[0.400, 0.600]<br>n = 250*" in text


def test_latex_escapes_names_and_stacks_our_cells(tmp_path):
    text = paper_tables.format_latex(build(tmp_path, {"base": "a_b", "run": "50%"}))
    assert r"a\_b, zero-shot (50\%)" in text
    assert r"\itshape \shortstack{0.500\\{}[0.400, 0.600]}" in text
    assert r"\bfseries 0.831" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_html_escapes_names(tmp_path):
    html = paper_tables.style(build(tmp_path, {"model": "<b>x</b>"})).to_html()
    assert "&lt;b&gt;x" in html and "<b>x" not in html
    assert "0.500<br>[0.400, 0.600]" in html


def test_same_table_gives_the_same_bytes(tmp_path):
    table = build(tmp_path, {})
    written = [paper_tables.write(table, tmp_path / name) for name in ("a", "b")]
    assert [p.name for p in written[0]] == ["table5.md", "table5.tex", "table5.html"]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in written[0])
