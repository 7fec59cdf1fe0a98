"""The bundled profile: its scores, calibration and figures are those of its kept answers."""

import markdown
import pandas as pd
import pytest
from conftest import ROOT

from emolib import models
from emolib.data import aeb, corpora, release
from emolib.evaluation import (
    calibration,
    conformal,
    decision_rules,
    item_errors,
    judgements,
    metrics,
    significance,
)
from emolib.inference import readings
from emolib.models import weight_files
from emolib.tasks import AAID, AEB_2, AEB_3, METRIC_NAMES, get

NUMBERS = ROOT / "figures" / "data"
ADAPTER = models.BUNDLED["emo-smollm2-135m-profile"]
ORDERS = {"first order, the shipped one": "runs/emo_profile/finetune"}
ORDERS |= {"second order": "runs/emo_profile_second/finetune", "mean of both": "runs/mean"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept():
    return judgements.load(NUMBERS / "emo_profile_judgements.parquet")


@pytest.fixture(scope="module")
def known():
    return pd.read_csv(NUMBERS / "emo_profile_readings_scores.csv")


@pytest.fixture(scope="module")
def judged(kept, real_data):
    """Development and test answers of AEB-1 with gold, and the rows."""
    dev = pd.concat([corpora.read(task, "dev") for task in AAID], ignore_index=True)
    found = {}
    for split, frame in (("dev", dev), ("test", aeb.build(list(AAID)).to_pandas())):
        own = kept[0][split].merge(frame[judgements.KEYS], on=judgements.KEYS)
        found[split] = judgements.add_gold(own, frame), frame
    return found


def test_answers_are_the_shipped_adapters(kept):
    assert kept[1]["adapter_weights"] == weight_files.hash_weights(ADAPTER / "adapter")


def test_shipped_calibration_is_fitted_to_development_answers(judged):
    dev, _ = judged["dev"]
    shipped = calibration.read(ADAPTER / calibration.FILE)
    assert shipped.rules == decision_rules.choose(dev)[0]
    assert shipped.temperatures == calibration.fit_temperatures(dev)
    assert shipped.half_widths == conformal.list_widths(conformal.fit_widths(dev))


def test_scores_of_the_tuned_tasks_are_those_of_the_answers(judged, known):
    test, frame = judged["test"]
    decided = decision_rules.decide(test, calibration.read(ADAPTER / calibration.FILE).rules)
    compared = item_errors.compare(frame, decided)
    for task in AAID:
        rows = compared[compared["task"] == task]
        found = metrics.score(*metrics.take_columns(rows))
        own = known[known["task"] == task].set_index("metric")["value"]
        assert len(own) >= len(get(task).primary_metrics)
        assert own.to_dict() == pytest.approx({name: found[name] for name in own.index}, abs=1e-6)


@pytest.mark.parametrize("task", AEB_2 + AEB_3)
def test_readings_of_the_answers_give_the_scores(kept, known, task, real_data):
    own = known[known["task"] == task]
    assert set(own["rule"]) == set(readings.RULES[task])
    frame = aeb.build([task]).to_pandas()
    table = readings.tabulate(kept[0][readings.SAME.get(task, task)])
    for rule in readings.RULES[task]:
        given = frame[judgements.KEYS].assign(prediction=list(readings.read(task, table, rule)))
        compared = item_errors.compare(frame, given)
        found = metrics.score(*metrics.take_columns(compared))
        values = own[own["rule"] == rule].set_index("metric")["value"]
        expected = {name: found[name] for name in values.index}
        assert values.to_dict() == pytest.approx(expected, abs=1e-6)


def test_page_shows_every_reading(known):
    lines = markdown.read_marked("readings")
    shown = {(line["task"], line["rule"]): line for line in lines}
    own = known[known["task"].isin(AEB_2 + AEB_3)]
    own = own[~own["metric"].str.contains(".", regex=False)]
    assert set(shown) == set(zip(own["task"], own["rule"], strict=True))
    for row in own.itertuples():
        text = f"{METRIC_NAMES[row.metric]} {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
        assert text in shown[row.task, row.rule]["score [95 % interval]"]
        assert shown[row.task, row.rule]["n"] == f"{row.n:,}"


def test_page_shows_the_differences_to_prompts():
    known = pd.read_csv(NUMBERS / "emo_profile_paired.csv").set_index(["task", "metric"])
    lines = markdown.read_marked("pairs")
    assert len(lines) == len(known) and set(known.index.unique("task")) == {*AAID, *AEB_2}
    for line, ((task, metric), row) in zip(lines, known.iterrows(), strict=True):
        assert (line["task"], line["figure"]) == (task, METRIC_NAMES[metric])
        shown = f"{row['difference']:+.3f}"
        shown = f"**{shown}**" if row["p"] < 0.05 else shown
        assert line["difference"] == f"{shown} [{row['low']:+.3f}, {row['high']:+.3f}]"
        assert line["one pass"] == f"{row['one pass']:.3f}"
        assert line["by prompt"] == f"{row['by prompt']:.3f}"


def test_differences_to_prompts_are_those_of_the_kept_answers(judged):
    known = pd.read_csv(NUMBERS / "emo_profile_paired.csv").set_index(["task", "metric"])
    old = judgements.load(NUMBERS / "emo_smollm2_judgements.parquet")[0]["test"]
    rules = calibration.read(models.BUNDLED["emo-smollm2-135m"] / calibration.FILE).rules
    other = decision_rules.decide(old.query("task == 'V-oc'"), rules)
    own, _ = judged["test"]
    own = decision_rules.decide(own, calibration.read(ADAPTER / calibration.FILE).rules)
    two = own.merge(other, on=judgements.KEYS, suffixes=("", "_by_prompt"))
    columns = (list(two[each]) for each in ("gold", "prediction", "prediction_by_prompt"))
    row = significance.compare("V-oc", *columns).iloc[0]
    for name in ("difference", "low", "high", "p"):
        assert known.loc[("V-oc", "pearson"), name] == pytest.approx(row[name], abs=1e-6)


def test_page_says_what_the_rules_for_labels_reach(judged):
    text = " ".join(markdown.read_pages().split())
    dev, test = judged["dev"][0], judged["test"][0]
    table = decision_rules.choose(dev)[1].set_index("rule")["score"]
    two = table["thresholds together"], table["one threshold"]
    assert "beat one threshold for all labels ({:.3f} to {:.3f},".format(*two) in text
    found = decision_rules.compare(dev, test).set_index(["rule", "task", "metric"])["value"]
    three = found["one threshold", "E-c"].loc[["jaccard", "f1_micro", "f1_macro"]]
    assert "would have given {:.3f}, {:.3f} and {:.3f}".format(*three) in text


def test_differences_to_joined_and_published_are_those_of_the_kept_answers(judged, real_data):
    known = pd.read_csv(NUMBERS / "emo_profile_beside.csv").set_index(["minus", "task", "metric"])
    names = ["joined", "EmoLLaMA-chat-7B", "EmoBLOOM"]
    assert list(known.index.unique("minus")) == names and len(known) == 3 * 7
    test, frame = judged["test"]
    own = decision_rules.decide(test, calibration.read(ADAPTER / calibration.FILE).rules)
    own = frame[judgements.KEYS].merge(own, on=judgements.KEYS)  # in the items' order
    own = item_errors.compare(frame, own).query("task == 'V-reg'")
    items = release.read_release(real_data / "release" / "AEB.jsonl")
    path = real_data / "release" / "responses-Emobloom-7b.jsonl"
    other = item_errors.compare(items, release.read_responses(path, items)).query("task == 'V-reg'")
    assert list(own["gold"]) == list(other["gold"])
    answers = list(own["predicted"]), list(other["predicted"])
    row = significance.compare("V-reg", list(own["gold"]), *answers).iloc[0]
    for name in ("first", "second", "difference", "low", "high", "p"):
        assert known.loc[("EmoBLOOM", "V-reg", "pearson"), name] == pytest.approx(
            row[name], abs=1e-6
        )
    joined = pd.read_csv(NUMBERS / "emo_smollm2_answers_scores.csv")
    joined = joined[joined["model"].str.endswith(", joined")].set_index(["task", "metric"])["value"]
    for key, value in known.loc["joined", "second"].items():
        assert value == pytest.approx(joined[key], abs=1e-6)


def test_page_shows_both_orders(known):
    shipped = known[known["task"].isin(AAID)].assign(
        adapter="runs/emo_profile/finetune", set="test"
    )
    whole = pd.concat([pd.read_csv(NUMBERS / "emo_profile_orders.csv"), shipped])
    whole = whole.set_index(["adapter", "set", "task", "metric"])["value"]
    lines = markdown.read_marked("orders")
    assert [(line["adapter"], line["set"]) for line in lines] == [
        *((name, "dev") for name in ORDERS),
        *((name, "test") for name in list(ORDERS)[:2]),
    ]
    for line in lines:
        for head in list(line)[2:]:
            value = whole[ORDERS[line["adapter"]], line["set"], *markdown.read_head(head)]
            assert line[head] == f"{value:.3f}"


def test_page_shows_the_rows_beside_aeb_3():
    known = pd.read_csv(NUMBERS / "aeb_3_scores.csv")
    text = " ".join(markdown.read_pages().split())
    assert len(known) == 4
    for row in known.itertuples():
        assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" in text, row.model
