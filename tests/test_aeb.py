import json

import pandas as pd
import pytest

from emolib import DataError
from emolib.data import aeb, parsing, prompts
from emolib.data.prompts import instructions
from emolib.data.release import read_release, read_responses
from emolib.evaluation import item_errors, metrics
from emolib.tasks import AAID, AEB, TASKS

LINE = {
    "task": "TDT",
    "prompt": "Human: \nTask: Say how. Text: a b. c. Sentiment Class: \n\nAssistant:\n",
    "gold": 1,
}


def test_items_follow_tasks_and_files(sample_aeb):
    assert list(dict.fromkeys(sample_aeb["task"])) == list(AEB)
    assert tuple(sample_aeb.column_names) == aeb.COLUMNS
    assert not any("mystery" in name for name in sample_aeb["id"])


def test_prompts_are_as_render_makes_them(sample_aeb):
    for row in sample_aeb.select(range(0, len(sample_aeb), 20)):
        assert prompts.render(row | {"gold": None}) == {"prompt": row["prompt"]}
        assert row["instruction"] in prompts.instructions(row["task"])


def test_same_seed_gives_the_same_items_and_another_does_not(sample_aeb):
    again = aeb.build(data="sample").to_pandas()
    other = aeb.build(data="sample", seed=1).to_pandas()
    assert again.equals(sample_aeb.to_pandas())
    assert not other["instruction"].equals(again["instruction"])
    assert other["gold"].equals(again["gold"])


@pytest.mark.parametrize("form", ["paper", "plain"])
def test_texts_are_completed_to_all_that_annotate_asks(form):
    rows = aeb.build(["EI-reg", "V-oc", "TDT"], data="sample", form=form)
    more = aeb.complete(rows, form)
    asks = [(task, e) for task in AAID for e in TASKS[task].emotions or (None,)]
    texts = rows.to_pandas().query("task != 'TDT'").drop_duplicates("id")
    both = pd.concat([rows.to_pandas().query("task != 'TDT'"), more.to_pandas()])
    keys = both[["id", "task", "emotion"]].astype(object)
    keys = keys.where(keys.notna(), None)
    assert not keys.duplicated().any()
    assert set(zip(keys["task"], keys["emotion"], strict=True)) == set(asks)
    assert len(keys) == len(texts) * len(asks)
    assert both.groupby("id")["text"].nunique().max() == 1
    row = more[0]
    assert row["gold"] is None and row["instruction"] == instructions(row["task"])[0]
    assert prompts.render(row, form) == {"prompt": row["prompt"]}
    assert len(aeb.complete(aeb.build(["TDT"], data="sample"))) == 0


@pytest.mark.slow
def test_one_id_is_one_text_of_semeval(real_data, whole_aeb):
    own = whole_aeb[whole_aeb["task"].isin(AAID)]
    texts = own.assign(text=own["text"].str.split().str.join(" "))
    assert texts.groupby("id")["text"].nunique().max() == 1


def test_a_tasks_items_do_not_hang_on_the_other_tasks(sample_aeb):
    alone = aeb.build(["V-oc"], data="sample").to_pandas()
    rows = sample_aeb.to_pandas().query("task == 'V-oc'").reset_index(drop=True)
    assert alone.equals(rows)


def test_unknown_task_is_an_error():
    with pytest.raises(DataError, match="no task 'SST-5'"):
        aeb.build(["SST-5"], data="sample")


def test_draw_keeps_so_many_of_each_group_in_order(sample_aeb):
    drawn = aeb.draw(sample_aeb, 3).to_pandas()
    sizes = drawn.groupby(["task", "emotion"], dropna=False).size()
    assert len(sizes) == 22 and set(sizes) == {3}
    prompts = list(sample_aeb["prompt"])
    places = [prompts.index(prompt) for prompt in drawn["prompt"]]
    assert places == sorted(places)


def test_draw_is_seeded(sample_aeb):
    ids = [list(aeb.draw(sample_aeb, 3, seed)["id"]) for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("size", [None, 10_000])
def test_draw_of_more_than_there_are_keeps_all(sample_aeb, size):
    assert aeb.draw(sample_aeb, size).to_pandas().equals(sample_aeb.to_pandas())


def test_data_frame_of_items_is_drawn_and_completed_alike(sample_aeb):
    frame, own = sample_aeb.to_pandas(), sample_aeb.select(range(60))
    assert aeb.draw(frame, 3).to_list() == aeb.draw(sample_aeb, 3).to_list()
    assert aeb.complete(frame[:60]).to_list() == aeb.complete(own).to_list()


def test_draw_of_none_is_an_error(sample_aeb):
    with pytest.raises(DataError, match="per_group is 0"):
        aeb.draw(sample_aeb, 0)


def test_released_line_is_taken_apart(tmp_path):
    (tmp_path / "AEB.jsonl").write_text(json.dumps(LINE) + "\n")
    assert read_release(tmp_path / "AEB.jsonl")[0] == LINE | {
        "id": "0",
        "emotion": None,
        "text": "a b. c.",
        "instruction": "Say how.",
        "gold": "1",
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "expected JSON with task, prompt and gold"),
        ("[1]", "expected JSON with task, prompt and gold"),
        (json.dumps({"task": "SST", "prompt": ""}), "KeyError.*gold"),
        (json.dumps(LINE | {"prompt": "Human: hi"}), "not a prompt as released: 'Hum"),
        (json.dumps(LINE | {"prompt": None}), "not a prompt as released|expected JSON"),
    ],
)
def test_bad_released_line_is_named(tmp_path, bad, reason):
    path = tmp_path / "AEB.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{bad}\n")
    with pytest.raises(DataError, match=rf"AEB.jsonl:2: .*({reason})"):
        read_release(path)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["built", "released"])
def test_real_items_are_30808_in_their_published_sizes(whole_aeb, whole_release, which):
    rows = whole_aeb if which == "built" else whole_release
    counts = rows["task"].value_counts().to_dict()
    assert counts == {name: task.items for name, task in TASKS.items() if name in AEB}
    assert len(rows) == 30_808 and not rows["id"].str.contains("mystery").any()


@pytest.mark.slow
def test_real_items_are_the_released_ones_in_text(real_aeb, release):
    assert real_aeb["task"].tolist() == release["task"].tolist()
    assert real_aeb["emotion"].tolist() == release["emotion"].tolist()
    ours, theirs = (
        [" ".join(text.split()) for text in frame["text"]] for frame in (real_aeb, release)
    )
    # The release adds a full stop, here and there after the raw text's last space.
    other = [
        (raw, released)
        for raw, released in zip(ours, theirs, strict=True)
        if released not in (raw, f"{raw}.", f"{raw} .")
    ]
    assert other == [] and len(ours) == 13_269


@pytest.mark.slow
def test_real_items_are_the_released_ones_in_gold(real_aeb, release):
    ours, theirs = (
        [parsing.read_gold(*pair) for pair in zip(x["task"], x["gold"], strict=True)]
        for x in (real_aeb, release)
    )
    assert ours == theirs and len(ours) == 13_269
    classes = real_aeb["task"].isin(["EI-oc", "V-oc"]).to_numpy()
    assert real_aeb["gold"][classes].tolist() == release["gold"][classes].tolist()


@pytest.fixture
def three(sample_aeb):
    return sample_aeb.filter(lambda row: row["task"] == "SST").select(range(3))


def write_responses(path, *pairs):
    lines = [json.dumps({"row": row, "response": text}) + "\n" for row, text in pairs]
    path.write_text("".join(lines))
    return path


def test_responses_in_any_order_go_to_their_rows(three, tmp_path):
    path = write_responses(tmp_path / "r.jsonl", (2, "0.9"), (0, None), (1, 0.25))
    found = read_responses(path, three)
    assert found["response"].tolist() == ["", "0.25", "0.9"]
    assert found["id"].tolist() == list(three["id"])
    table = item_errors.compare(three, found)
    assert table["predicted"].tolist() == [None, 0.25, 0.9]


def test_nan_huge_and_foreign_responses_are_unparsed(three, tmp_path):
    pairs = enumerate([float("nan"), "x" * 100_000, "０．９ отлично"])
    found = read_responses(write_responses(tmp_path / "r.jsonl", *pairs), three)
    table = item_errors.compare(three, found)
    assert metrics.score("SST", table["gold"], table["predicted"])["unparsed"] == 3


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(0, "1"), (2, "1")], r"2 responses to 3 items; row 1 \(SST\) is the first"),
        ([(0, "1"), (1, "1"), (2, "1"), (3, "1")], ":4: row 3, expected 0 to 2"),
        ([(0, "1"), (1, "1"), (1, "1")], ":3: a second response to row 1"),
        ([("0", "1")], ":1: row '0', expected 0 to 2"),
        ([(-1, "1")], ":1: row -1, expected"),
        ([(0, ["1"])], ":1: response .*, expected a text"),
    ],
)
def test_response_file_that_does_not_fit_is_an_error(three, tmp_path, pairs, reason):
    path = write_responses(tmp_path / "r.jsonl", *pairs)
    with pytest.raises(DataError, match=reason):
        read_responses(path, three)


@pytest.mark.parametrize("line", ["", "{", "[0]", '{"row": 0}', "0"])
def test_response_line_that_is_none_is_named(three, tmp_path, line):
    (tmp_path / "r.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"r.jsonl:1: expected JSON with row and re"):
        read_responses(tmp_path / "r.jsonl", three)


@pytest.mark.slow
def test_real_responses_are_scored_as_line_by_line(real_data, whole_release):
    rows = read_release(real_data / "release" / "AEB.jsonl")
    path = real_data / "release" / "responses-Emollama-chat-7b.jsonl"
    table = item_errors.compare(rows, read_responses(path, rows))
    items = table[table["task"] == "EI-reg"]
    found = metrics.score("EI-reg", items["gold"], items["predicted"], items["emotion"])
    assert found["pearson"] == pytest.approx(0.824, abs=0.005)  # Table 5
    sst = table[table["task"] == "SST"]
    assert metrics.score("SST", sst["gold"], sst["predicted"])["pearson"] == pytest.approx(
        0.822, abs=0.015
    )  # Table 6


def test_missing_release_is_named(tmp_path):
    with pytest.raises(DataError, match=r"AEB.jsonl: no such file: the authors' AEB"):
        read_release(tmp_path / "AEB.jsonl")


def test_responses_that_are_not_there_are_an_error(sample_aeb, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        read_responses(tmp_path / "nothing.jsonl", sample_aeb)
