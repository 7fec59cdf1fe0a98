import numpy as np
import pytest

from emolib import DataError
from emolib.evaluation import metrics, significance

GOLD = [str(value) for value in np.linspace(0.05, 0.95, 40).round(3)]
GOOD = [float(value) for value in GOLD]
NOISE = [float(value) for value in np.random.default_rng(0).random(40).round(3)]


def test_a_model_against_itself_shows_nothing():
    row = significance.compare("V-reg", GOLD, NOISE, NOISE, resamples=99).iloc[0]
    assert [row["difference"], row["low"], row["high"], row["p"]] == [0, 0, 0, 1]


def test_a_clear_difference_is_found_with_its_sign():
    row = significance.compare("V-reg", GOLD, GOOD, NOISE, resamples=199).iloc[0]
    noise = metrics.score("V-reg", GOLD, NOISE)["pearson"]
    assert row["difference"] == pytest.approx(1 - noise)
    assert 0 < row["low"] < row["difference"] < row["high"] and row["p"] <= 0.02


def test_swapping_the_models_swaps_the_sign():
    there = significance.compare("V-reg", GOLD, GOOD, NOISE, resamples=99).iloc[0]
    back = significance.compare("V-reg", GOLD, NOISE, GOOD, resamples=99).iloc[0]
    assert back["difference"] == -there["difference"]
    assert back["low"] == pytest.approx(-there["high"], abs=0.15)


def test_equally_good_models_are_not_told_apart():
    rng = np.random.default_rng(1)
    sides = [np.clip(np.array(GOOD) + rng.normal(0, 0.1, 40), 0, 1) for _ in "ab"]
    row = significance.compare("V-reg", GOLD, *sides, resamples=199).iloc[0]
    assert row["low"] < 0 < row["high"] and row["p"] > 0.05


def test_groups_are_averaged_as_in_score():
    groups = ["joy"] * 20 + ["fear"] * 20
    row = significance.compare("EI-reg", GOLD, NOISE, GOOD, groups, 99).iloc[0]
    assert row["first"] == metrics.score("EI-reg", GOLD, NOISE, groups)["pearson"]
    assert row["second"] == pytest.approx(1)


@pytest.mark.slow
def test_label_tasks_give_a_row_per_metric():
    gold, good, bad = ["joy"] * 9 + ["anger"], ["joy"] * 9 + ["anger"], ["fear"] * 10
    sides = [[(label,) for label in side] for side in (good, bad)]
    found = significance.compare("GoEmotions", gold, *sides, resamples=99)
    assert found["metric"].tolist() == ["accuracy", "f1_macro"]
    assert found["difference"].iloc[0] == 1 and (found["p"] <= 0.05).all()


def test_lengths_that_differ_are_an_error():
    with pytest.raises(DataError, match="40 gold answers, 39 predictions"):
        significance.compare("V-reg", GOLD, GOOD, NOISE[:-1])
