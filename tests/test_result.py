"""The committed result, scored again from the committed judgements.

`make result-check` runs this file alone. It needs the corpora for gold, and no model.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib import models
from emolib.data import aaid, aeb
from emolib.evaluation import (
    calibration,
    decision_rules,
    item_errors,
    judgements,
    metrics,
    score_files,
    stacked_regression,
)
from emolib.models import weight_files
from emolib.report import calibration_plots, released, standings, style
from emolib.tasks import AAID, TASKS, get

ROOT = Path(__file__).parents[1]
NUMBERS = ROOT / "figures" / "data"
ADAPTER = models.BUNDLED["emo-smollm2-135m"]
NAME = "emo_smollm2"


def read(kind: str) -> pd.DataFrame:
    return pd.read_csv(NUMBERS / f"{NAME}_{kind}.csv")


@pytest.fixture(scope="module")
def kept():
    return judgements.load(NUMBERS / f"{NAME}_judgements.parquet")


@pytest.fixture(scope="module")
def rows(kept, real_data):
    seed = kept[1]["seed"]
    dev = aaid.take(
        aaid.build(seed=seed)["validation"], " ".join(f"{t}=1" for t in AAID), seed
    )
    return {"dev": dev, "test": aeb.build(seed=seed)}


@pytest.fixture(scope="module")
def judged(kept, rows):
    return {
        split: part.assign(gold=None)
        if split.endswith("_also")
        else judgements.add_gold(part, rows[split])
        for split, part in kept[0].items()
    }


@pytest.fixture(scope="module")
def rules(judged, kept):
    return decision_rules.choose(judged["dev"], kept[1]["seed"])[0]


@pytest.fixture(scope="module")
def joined(judged, kept):
    """Weights, development and test items: read off all answers about a text."""
    sides = [
        pd.concat([judged[split], judged[f"{split}_also"]], ignore_index=True)
        for split in ("dev", "test")
    ]
    return stacked_regression.join_splits(*sides, kept[1]["seed"])


@pytest.fixture(scope="module")
def rules_joined(joined, kept):
    return decision_rules.choose(joined[1], kept[1]["seed"])[0]


@pytest.fixture(scope="module")
def decided(judged, rules, joined, rules_joined):
    return {
        standings.MODEL: decision_rules.decide(judged["test"], rules),
        f"{standings.MODEL}, joined": decision_rules.decide(joined[2], rules_joined),
    }


def test_judgements_are_the_shipped_adapters(kept):
    assert kept[1]["adapter_weights"] == weight_files.hash_weights(ADAPTER / "adapter")


def test_every_item_was_asked(kept):
    parts = kept[0]
    for split, tasks in {"dev": AAID, "test": TASKS}.items():
        assert not parts[split].duplicated(judgements.KEYS).any()
        found = parts[split]["task"].value_counts()
        sizes = {
            t: get(t).sizes["dev"] if split == "dev" else get(t).items for t in tasks
        }
        assert found.to_dict() == sizes
        own = parts[split][parts[split]["task"].isin(AAID)]
        whole = pd.concat([own, parts[f"{split}_also"]])
        assert not whole.duplicated(judgements.KEYS).any()
        assert (whole["id"].value_counts() == 11).all()  # questions of annotate's


def test_shipped_rules_are_those_that_development_items_choose(
    judged, rules, joined, rules_joined
):
    shipped = decision_rules.read(ADAPTER / decision_rules.FILE)
    heat = calibration.fit_temperatures(judged["dev"])
    for own, known, dev in (
        (rules, shipped, judged["dev"]),
        (rules_joined, shipped.joined, joined[1]),
    ):
        assert (known.classes, known.labels) == (own.classes, own.labels)
        assert known.thresholds == own.thresholds and known.temperatures == heat
        assert known.cuts.keys() == own.cuts.keys()
        for key, cuts in own.cuts.items():
            assert known.cuts[key] == pytest.approx(cuts)
        widths = calibration.list_widths(calibration.fit_widths(dev))
        assert known.half_widths.keys() == widths.keys()
        for key, levels in widths.items():
            assert known.half_widths[key] == pytest.approx(levels, abs=2e-4)
    assert shipped.joined.weights.keys() == joined[0].keys()
    for key, weights_of in joined[0].items():
        assert shipped.joined.weights[key] == pytest.approx(weights_of, rel=1e-6)


def test_scores_are_those_of_the_judgements(decided, rows):
    known = read("answers_scores").set_index(["model", "task", "metric"])["value"]
    for who, answers in decided.items():
        table = item_errors.compare(rows["test"], answers)
        for task, items in table.groupby("task", sort=False):
            groups = list(items["emotion"]) if get(task).emotions else None
            pair = list(items["gold"]), list(items["predicted"])
            found = metrics.score(task, *pair, groups)
            for name in get(task).metrics[: get(task).primary]:
                each = [key for key in found if key.split(".")[0] == name]
                for key in each:
                    assert known[who, task, key] == pytest.approx(found[key], abs=1e-6)
    assert set(known.index.get_level_values("task")) == set(answers["task"])


def test_intervals_are_those_of_the_judgements(decided, rows):
    answers = decided[standings.MODEL].query("task == 'TDT'")
    found = metrics.tabulate(
        item_errors.compare(rows["test"], answers), standings.MODEL
    )
    known = read("answers_scores").query("task == 'TDT' and model == @standings.MODEL")
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(known[name], found[name], atol=1e-6)


def test_paired_differences_are_those_of_the_judgements(decided, rows, real_data):
    known = read("paired").set_index(["ours", "model", "task", "metric"])
    names = {"as asked": standings.MODEL, "joined": f"{standings.MODEL}, joined"}
    assert set(known.index.unique("ours")) == set(names)
    for name, who in names.items():
        ours = item_errors.compare(rows["test"], decided[who])
        for model in released.THEIRS:
            theirs = released.read(real_data / "release", model)
            pairs = released.compare(ours, theirs, resamples=1)
            assert len(pairs) == len(known.loc[name, model])
            for row in pairs.itertuples():
                each = known.loc[(name, model, row.task, row.metric)]
                assert each["first"] == pytest.approx(row.first, abs=1e-6)
                assert each["difference"] == pytest.approx(row.difference, abs=1e-6)
    sides = [side[side["task"] == "V-reg"] for side in (ours, theirs)]
    found = released.compare(*sides).iloc[0]
    for side in ("low", "high", "p"):
        each = known.loc[(name, model, "V-reg", "pearson"), side]
        assert each == pytest.approx(found[side], abs=1e-6)


def test_readings_are_those_of_the_judgements(judged):
    found = decision_rules.compare(judged["dev"], judged["test"])
    known = read("readings")
    assert known[["rule", "task", "metric"]].equals(found[["rule", "task", "metric"]])
    np.testing.assert_allclose(known["value"], found["value"], atol=1e-6)


@pytest.fixture(scope="module")
def trust(judged):
    heat = calibration.fit_temperatures(judged["dev"])
    trained = judged["test"][judged["test"]["task"].isin(heat)]
    return {
        "as given": calibration.list_confidences(trained),
        "after scaling": calibration.list_confidences(trained, heat),
    }


@pytest.fixture(scope="module")
def held(judged, joined):
    sides = {"as asked": (judged["dev"], judged["test"]), "joined": joined[1:]}
    found = {
        who: calibration.cover(test, calibration.fit_widths(dev))
        for who, (dev, test) in sides.items()
    }
    return pd.concat(found, names=["answers"]).reset_index("answers")


def test_trust_is_that_of_the_judgements(trust):
    known = read("trust").set_index(["state", "task"])["calibration_error"]
    for state, confidences in trust.items():
        for row in calibration.measure(confidences).itertuples():
            assert known[state, row.task] == pytest.approx(
                row.calibration_error, abs=1e-6
            )


def test_coverage_is_that_of_the_judgements(judged, held):
    sets = calibration.cover_classes(judged["dev"], judged["test"])
    found, known = pd.concat([held, sets]), read("coverage")
    for name in ("level", "n", "coverage", "width"):
        np.testing.assert_allclose(known[name], found[name], atol=1e-6)


@pytest.mark.parametrize("number", [5, 6])
def test_readme_shows_the_scores(number):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ours = score_files.read_csv(ROOT / standings.SCORES, ["model", "value"])
    table = standings.format_markdown(ours, number)
    assert standings.fill(text, f"table{number}", table) == text


def test_readme_shows_the_paired_differences():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = released.format_markdown(read("paired"))
    assert standings.fill(text, "paired", table) == text


def test_readme_says_what_the_audit_found(kept):
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = read("bias").query("weights == @kept[1]['adapter_weights']")
    assert len(found) == 10 and (found["items"] == "144 of 144 frames").all()
    assert found["difference"].abs().max() < 0.008
    said = re.search(r"More than the choice of first names(.*?)That is small", text)
    named = re.findall(r"(\w+) ([-+]0\.\d{3})", said[1])
    clear = found[found["p_names"] < 0.05]
    assert named == [(r.measure, f"{r.difference:+.3f}") for r in clear.itertuples()]


def test_figures_show_the_scores(trust, held, tmp_path):
    ours = score_files.read_csv(ROOT / standings.SCORES, ["model", "value"])
    style.set_style()
    note = "Data: AEB as built, corpora: official."
    drawn = {
        "standings": (standings.draw(ours, standings.MODEL), standings.NOTE),
        "reliability": (calibration_plots.draw_reliability(trust), note),
        "coverage": (
            calibration_plots.draw_coverage(held[held["answers"] == "joined"]),
            note,
        ),
    }
    for kind, (axes, below) in drawn.items():
        style.save(axes, tmp_path / kind, below)
        known = (ROOT / "figures" / f"{NAME}_{kind}.svg").read_bytes()
        assert (tmp_path / f"{kind}.svg").read_bytes() == known, kind
