"""Other benchmarks' answers, read off profiles by named rules."""

import numpy as np
import pandas as pd
import pytest

from emolib import DataError
from emolib.data import corpora, profiles
from emolib.evaluation import metrics
from emolib.inference import profile, readings
from emolib.tasks import AEB_2, AEB_3, get

LABELS = get("E-c").labels


@pytest.fixture
def table():
    """Three texts' profiles: glad, angry, nothing."""
    held = pd.DataFrame(0.1, index=["a", "b", "c"], columns=[f"has {x}" for x in LABELS])
    held.loc["a", "has love"], held.loc["a", "has joy"] = 0.9, 0.6
    held.loc["b", "has anger"], held.loc["b", "has fear"] = 0.8, 0.7
    held["valence"] = [0.9, 0.2, 0.5]
    return held.assign(anger=[0.1, 0.9, 0.3], fear=[0.1, 0.5, 0.2], joy=0.4, sadness=0.3)


def test_profiles_are_a_row_per_text():
    digits, labels = np.zeros((2, 5, 10)), np.full((2, 11), 0.25)
    digits[:, :, 9] = 1
    found = readings.tabulate(profile.judge(["x", "y"], digits, labels))
    assert list(found.index) == ["x", "y"] and list(found.columns)[:5] == [
        "anger", "fear", "joy", "sadness", "valence",
    ]  # fmt: skip
    assert (found["valence"] == 1).all() and (found["has trust"] == 0.25).all()


def test_valence_is_put_into_the_range_of_the_task(table):
    assert readings.read("V-T", table, "valence").tolist() == pytest.approx([3.2, -2.4, 0])
    assert readings.read("EmoBank-V", table, "valence").tolist() == pytest.approx([4.6, 1.8, 3])


def test_classes_are_cut_from_valence(table):
    by_cuts = readings.read("SST5", table, "valence at SST's cuts")
    assert by_cuts.tolist() == [4, 0, 2]  # 0.2 ends class 0
    rule = "valence at V-oc's cuts"
    assert readings.read("TDT", table, rule).tolist() == [1, -1, 0]


def test_quintiles_give_every_class_a_fifth():
    table = pd.DataFrame({"valence": np.linspace(0.4, 0.6, 50)})
    found = readings.read("SST5", table, "valence at the batch's quintiles")
    assert found.value_counts().tolist() == [10] * 5 and found.is_monotonic_increasing


def test_labels_are_merged_into_those_of_the_task(table):
    likeliest = readings.read("GoEmotions", table, "likeliest label")
    assert likeliest.tolist() == [("joy",), ("anger",), ("neutral",)]
    several = readings.read("GoEmotions", table, "list of labels")
    assert several.tolist() == [("joy",), ("anger", "fear"), ("neutral",)]
    narrow = table.assign(**{"has joy": 0.2})
    assert readings.read("BRIGHTER-A", narrow, "list of labels")["a"] == ()  # love is no joy there


def test_emotions_follow_one_another_as_in_the_corpus(table):
    found = readings.read("BRIGHTER-B", table, "presence times intensity")
    assert found.index.tolist() == ["a", "b", "c"] * 5
    assert found.tolist()[:3] == pytest.approx([3 * 0.01, 3 * 0.72, 3 * 0.03])
    assert found.tolist()[12:] == pytest.approx([0.3] * 3)  # surprise: presence alone


def test_place_of_one_sure_emotion_is_its_own(table):
    table[[f"has {label}" for label in LABELS]] = 0.0
    table["has fear"] = 1.0
    arousal = readings.read("EmoBank-A", table, "place of the emotions")
    assert arousal.tolist() == pytest.approx([1 + 4 * 0.840] * 3)
    control = readings.read("EmoBank-D", table, "place of the emotions")
    assert control.tolist() == pytest.approx([1 + 4 * 0.293] * 3)
    distance = readings.read("SemEval2026-A", table, "distance of valence")
    assert distance.tolist() == pytest.approx([1.6, 1.2, 0])


@pytest.mark.parametrize("task", AEB_2 + AEB_3)
def test_every_rule_gives_answers_that_are_scored(table, task):
    frame = corpora.read(task, "test", "sample")
    names = dict.fromkeys(frame["id"])
    draw = np.random.default_rng(0)
    own = table.iloc[draw.integers(3, size=len(names))].set_axis(list(names))
    for rule in readings.RULES[task]:
        found = readings.read(task, own, rule)
        assert found.index.tolist() == frame["id"].tolist()
        groups = list(frame["emotion"]) if get(task).emotions else None
        scores = metrics.score(task, list(frame["gold"]), list(found), groups)
        assert scores["unparsed"] == 0


def test_every_label_has_its_place():
    assert set(readings.SPACE) == set(LABELS)
    assert set(readings.RULES) == {*AEB_2, *AEB_3}
    assert profiles.CUTS["V-oc"][2:4] == (0.428, 0.6095)


@pytest.mark.parametrize(("task", "rule"), [("E-c", "list of labels"), ("SST5", "a guess")])
def test_rule_that_is_not_there_is_named(table, task, rule):
    with pytest.raises(DataError, match=rule):
        readings.read(task, table, rule)
