import pytest

from emolib import DataError, baselines
from emolib.data.release import read_release
from emolib.evaluation import metrics

FOUND_BEFORE = {  # on release/AEB.jsonl, before this code was written
    "vader": {"V-A": 0.558, "V-M": 0.446, "V-NYT": 0.464, "V-T": 0.862, "SST": 0.450},
    "textblob": {
        "V-A": 0.490, "V-M": 0.372, "V-NYT": 0.288, "V-T": 0.666, "SST": 0.408,
    },
}  # fmt: skip
CASES = [(name, task) for name, found in FOUND_BEFORE.items() for task in found]


def make(*pairs):
    names = [{"id": str(i), "emotion": None} for i in range(len(pairs))]
    rows = [{"task": t, "text": x} for t, x in pairs]
    from datasets import Dataset

    return Dataset.from_list([a | b for a, b in zip(names, rows, strict=True)])


@pytest.mark.parametrize("name", ["vader", "textblob"])
def test_good_is_above_neutral_and_bad_below(name):
    rows = make(("V-A", "good"), ("V-A", "table"), ("V-A", "awful"))
    good, neutral, bad = baselines.lexicon(name, rows)["prediction"]
    assert 4 >= good > neutral == 0 > bad >= -4


@pytest.mark.parametrize("name", ["vader", "textblob"])
def test_tdt_gets_the_sign_and_zero_is_neutral(name):
    rows = make(("TDT", "good"), ("TDT", "table"), ("TDT", "awful"))
    assert baselines.lexicon(name, rows)["prediction"].tolist() == [1, 0, -1]


def test_score_lies_in_the_tasks_range():
    rows = make(("EmoBank-V", "table"), ("SST", "table"), ("V-reg", "table"))
    found = baselines.lexicon("vader", rows)
    assert found["prediction"].tolist() == [3, 0.5, 0.5]


def test_items_no_lexicon_can_judge_are_left_out(sample_aeb):
    found = baselines.lexicon("textblob", sample_aeb)
    assert set(found["task"]) == {
        "V-reg", "V-A", "V-M", "V-NYT", "V-T", "EmoBank-V", "SST", "TDT",
    }  # fmt: skip
    assert len(found) == 27 + 7 * 8 and found["emotion"].isna().all()


def test_data_frame_of_items_is_judged_alike(sample_aeb):
    found = baselines.lexicon("vader", sample_aeb.to_pandas())
    assert found.equals(baselines.lexicon("vader", sample_aeb))


def test_no_item_to_judge_is_an_error(sample_aeb):
    rows = sample_aeb.filter(lambda row: row["task"] == "E-c")
    with pytest.raises(DataError, match="only items of E-c"):
        baselines.lexicon("vader", rows)


def test_unknown_lexicon_names_those_there_are(sample_aeb):
    with pytest.raises(DataError, match="no lexicon 'nrc': there are vader, textblob"):
        baselines.lexicon("nrc", sample_aeb)


@pytest.fixture(scope="module")
def released(real_data):
    rows = read_release(real_data / "release" / "AEB.jsonl")
    gold = rows.to_pandas().set_index("id")["gold"]
    found = {name: baselines.lexicon(name, rows) for name in FOUND_BEFORE}
    return {
        (name, task): (gold[items["id"]], items["prediction"])
        for name, table in found.items()
        for task, items in table.groupby("task")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CASES)
def test_released_items_give_the_known_scores(released, real_data, name, task):
    found = metrics.score(task, *released[name, task])["pearson"]
    assert round(found, 3) == FOUND_BEFORE[name][task]


@pytest.mark.slow
def test_textblob_gives_the_published_tdt_row(released, real_data):
    found = metrics.score("TDT", *released["textblob", "TDT"])
    assert round(found["accuracy"], 3) == 0.434
    assert round(found["f1_macro"], 3) == 0.435
