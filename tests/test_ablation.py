"""What a choice of the recipe is worth: variants, items, differences, the table."""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_calibration import judge

from emolib import DataError, notebooks, runs
from emolib.evaluation import judgements
from emolib.report import ablation, standings
from emolib.tasks import AAID
from emolib.training import finetune


@pytest.fixture
def file(tiny_model, tmp_path):
    """A run file on the tiny model and the sample."""
    given = {
        "data": "sample",
        "out": str(tmp_path / "runs"),
        "model": tiny_model,
        "quantization": "",
        "dtype": "",
        "train_rows": 16,
        "validation_rows": 8,
        "batch_size": 8,
        "micro_batch_size": 4,
        "eval_steps": 2,
        "regression_weight": 10.0,
    }
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_variants_differ_in_one_parameter_that_notebook_2_has(name):
    changes = ablation.VARIANTS[name]
    base = notebooks.read_run(ROOT / ablation.RUN)
    found = notebooks.read_run(ROOT / ablation.RUN, **changes)
    differing = {key for key in found if found[key] != base.get(key)}
    assert differing == set(changes)
    assert len(changes) == (name != next(iter(ablation.VARIANTS)))
    finetune.read_more(found.get("more", ""))


def test_variants_are_asked_the_same_items_and_read_back(file, monkeypatch):
    monkeypatch.setattr(ablation, "JUDGED", 0)  # all of the sample's
    names = ("as shipped", "plain prompt", "another seed")
    first, *others = (ablation.answer(name, file) for name in names)
    assert set(first["task"]) == set(AAID)
    assert not first.duplicated(judgements.KEYS).any()
    for other in others:
        table = ablation.compare(first, other, resamples=20)
        assert set(table["task"]) == {*AAID, ablation.MEAN}
        assert (table["difference"] != 0).any()
    settings = runs.read(file.parent / "runs" / "plain_prompt" / "finetune")["settings"]
    assert settings["prompt_form"] == "plain" and settings["regression_weight"] == 10
    told = ablation.describe("another seed", file)
    assert told["seed"] == 1 and told["commit"]
    assert told["train_sha256"] != ablation.describe("as shipped", file)["train_sha256"]
    monkeypatch.setattr(finetune, "_train", None)  # nothing is trained again
    pd.testing.assert_frame_equal(ablation.answer("as shipped", file), first)


def test_unknown_variant_is_an_error(file):
    with pytest.raises(DataError, match="'rank 5': expected one of as shipped,"):
        ablation.answer("rank 5", file)


def test_better_answers_are_ahead_in_every_task():
    poor = judge(items=40)
    good = poor.copy()
    for place, row in poor.iterrows():
        if row["task"] == "E-c":
            told = {x: 0.9 * (x in row["gold"]) for x in row["probabilities"]}
            good.at[place, "probabilities"] = told
        else:
            good.at[place, "mean"] = (row["mean"] + 3 * row["gold"]) / 4
    table = ablation.compare(poor, good, resamples=50).set_index("task")
    assert list(table.index) == [*AAID, ablation.MEAN]
    assert (table["low"] > 0).all() and table.loc["E-c", "value"] == 1
    tasks, mean = table.loc[list(AAID)], table.loc[ablation.MEAN]
    for name in ("value", "difference"):  # four emotions count like one task
        assert mean[name] == pytest.approx(tasks[name].mean())
    same = ablation.compare(poor, poor, resamples=20)
    assert not same[["difference", "low", "high"]].any(axis=None)


def test_other_items_are_an_error():
    judged = judge(items=4)
    with pytest.raises(DataError, match="not asked the same items"):
        ablation.compare(judged, judged.iloc[1:])


def test_table_shows_differences_and_which_are_no_chance():
    rows = [
        ("base", "V-reg", 0.5, 0.0, 0.0, 0.0),
        ("base", "mean", 0.5, 0.0, 0.0, 0.0),
        ("worse", "V-reg", 0.4, -0.1, -0.15, -0.05),
        ("worse", "mean", 0.49, -0.01, -0.05, 0.03),
    ]
    names = ["variant", "task", "value", "difference", "low", "high"]
    lines = ablation.format_markdown(pd.DataFrame(rows, columns=names)).splitlines()
    assert lines[0] == "| variant | V-reg | mean |" and lines[2].endswith("0.500 |")
    assert "**-0.100**<br>[-0.150, -0.050] | -0.010<br>[-0.050, +0.030]" in lines[3]


def test_readme_shows_the_committed_ablation():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT / ablation.TABLE)
    shown = ablation.format_markdown(table)
    assert standings.fill(text, "ablation", shown) == text
    first = table[table["variant"] == "as shipped"]
    assert (first["difference"] == 0).all() and np.isfinite(table["low"]).all()
