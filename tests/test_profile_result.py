"""The bundled profile: its scores, calibration and figures are those of its kept answers."""

import json
import runpy

import markdown
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import t as student

from emolib import models, notebooks, runs
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
SEEDS = [f"runs/profile_choices/seed_{seed}/finetune" for seed in range(5)]
CHANGES = {
    "no penalty": "no_penalty",
    "no moving average": "no_average",
    "rate 5e-4": "learning_rate_5e-4",
    "rate 2e-3": "learning_rate_2e-3",
    "32 texts a step": "batch_32",
    "dropout 0.1": "dropout_0.1",
    "rank 64": "rank_64",
    "all weights, rate 1e-4": "all_weights",
}
BY_HAND = ("label loss times 1", "squared error times 30", "text read both ways")
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


@pytest.fixture(scope="module")
def choices():
    """Scores of repeated trainings, by adapter, set, task and metric."""
    found = pd.read_csv(NUMBERS / "emo_profile_choices.csv")
    return found.set_index(["adapter", "set", "task", "metric"])["value"]


def test_page_shows_the_seeds_and_their_averages(known, choices):
    shipped = "runs/emo_profile/finetune"
    own = known[known["task"].isin(AAID)].assign(adapter=shipped, set="test")
    whole = pd.concat([choices, own.set_index(choices.index.names)["value"]])
    lines = markdown.read_marked("seeds")
    assert len(lines) == 8
    for line in lines:
        name = {"the shipped one": shipped}.get(line["adapter"], line["adapter"])
        for head in list(line)[2:]:
            place = line["set"], *markdown.read_head(head)
            if name == "five seeds":
                five = pd.Series([whole[seed, *place] for seed in SEEDS])
                assert line[head] == f"{five.mean():.3f} ± {five.std():.3f}"
            else:
                assert line[head] == f"{whole[name, *place]:.3f}"


def test_pages_say_how_far_seeds_scatter_and_what_averaging_gains(choices):
    heads = [(task, metric) for task in AAID for metric in get(task).primary_metrics]
    five = pd.DataFrame({key: [choices[seed, "test", *key] for seed in SEEDS] for key in heads})
    text = " ".join(markdown.read_pages().split())
    assert f"standard deviations of {five.std().min():.3f} to {five.std().max():.3f}" in text
    gain = choices["probabilities averaged", "test"].reindex(heads) - five.mean()
    r = {task: f"{gain[task, 'pearson']:.3f} in {task}" for task in ("EI-reg", "EI-oc", "V-reg")}
    told = (
        f"gain {r['EI-reg']}, {r['EI-oc']}, {r['V-reg']} and {gain['E-c', 'jaccard']:.3f} in E-c's"
    )
    assert told in text
    alone = choices.xs(("test", "EI-reg", "pearson"), level=["set", "task", "metric"])
    assert alone.drop(["probabilities averaged", "weights averaged"]).max() < 0.81


def test_page_shows_what_a_change_is_worth(choices):
    lines = markdown.read_marked("choices")
    assert [line["change"] for line in lines] == [*CHANGES, *BY_HAND]
    reach = student.ppf(0.975, len(SEEDS) - 1) * (1 + 1 / len(SEEDS)) ** 0.5
    for line in lines:
        name = CHANGES.get(line["change"])
        name = f"runs/profile_choices/{name}/finetune" if name else line["change"]
        for head in list(line)[1:]:
            place = "dev", *markdown.read_head(head)
            five = pd.Series([choices[seed, *place] for seed in SEEDS])
            difference = choices[name, *place] - five.mean()
            text = f"{round(difference, 3) + 0:+.3f}"
            bold = abs(difference) > reach * five.std()
            assert line[head] == (f"**{text}**" if bold else text)


def test_every_choice_of_the_script_was_trained_so(choices):
    script = runpy.run_path(str(ROOT / "papers" / "emo_smollm2" / "train_choices.py"))
    record = json.loads((NUMBERS / "emo_profile_choices.json").read_text())
    assert set(record["runs"]) <= set(choices.index.get_level_values("adapter"))
    shipped = runs.read(ADAPTER)["settings"] | {"dtype": "float32"}
    assert {key: record["settings"][key] for key in shipped} == shipped
    trained = [name for name in record["runs"] if name.startswith(script["FOLDER"])]
    assert [name.split("/")[2] for name in trained] == list(script["CHOICES"])
    for name, change in zip(trained, script["CHOICES"].values(), strict=True):
        told = dict(record["runs"][name]["changed"])
        told.pop("validation", None)  # drawn by the seed
        assert told == {key: value for key, value in change.items() if value != shipped[key]}
        assert notebooks.read_run(ROOT / script["RUN"], **change)


def test_coverage_is_that_of_the_answers(judged):
    (dev, _), (test, _) = judged["dev"], judged["test"]
    held = conformal.cover(test, conformal.fit_widths(dev))
    found = pd.concat([held, conformal.cover_classes(dev, test)], ignore_index=True)
    known = pd.read_csv(NUMBERS / "emo_profile_coverage.csv", keep_default_na=False)
    found["emotion"] = found["emotion"].fillna("")
    pd.testing.assert_frame_equal(known, found, check_dtype=False, atol=1e-6)
    text = " ".join(markdown.read_pages().split())
    at90 = {(row.task, row.emotion): row for row in found[found["level"] == 0.9].itertuples()}
    scores = sorted(row.coverage for (task, _), row in at90.items() if task == "EI-reg")
    assert f"hold {scores[0]:.3f} (sadness) to {scores[-1]:.3f} (fear)" in text
    assert f"and {at90['V-reg', ''].coverage:.3f} for valence" in text
    widths = [row.width for (task, _), row in at90.items() if get(task).kind == "score"]
    assert f"{min(widths):.2f} to {max(widths):.2f} of the scale wide" in text
    sets = sorted(row.coverage for (task, _), row in at90.items() if get(task).kind == "ordinal")
    assert f"hold {sets[0]:.3f} (EI-oc's anger) to {sets[-1]:.3f} (fear)" in text


def test_page_shows_the_rows_beside_aeb_3():
    known = pd.read_csv(NUMBERS / "aeb_3_scores.csv")
    text = " ".join(markdown.read_pages().split())
    assert len(known) == 4
    for row in known.itertuples():
        assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" in text, row.model
