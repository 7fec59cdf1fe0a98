"""Notebooks 3, 4, 7, 8, 9 and 11 where their committed parameters do not lead, in this process."""

import builtins
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_notebooks import NOTEBOOKS
from tuning import finetune

import emolib
from emolib import DataError, notebooks
from emolib.data import profiles
from emolib.tasks import EMOTIONS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "display", lambda *shown: None, raising=False)
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return {"out": str(folder), "figures": str(folder / "figures"), "name": "t"}


def run(number: int, **given) -> dict:
    return notebooks.run_cells(NOTEBOOKS[number], given)


@pytest.fixture(scope="module")
def evaluated(quiet, place):
    """Notebook 3 on the sample: written and constrained answers, few-shot, an encoder."""
    asked = {
        "data": "sample",
        "tasks": "EI-reg V-reg E-c SST5",
        "items_per_group": 2,
        "kept": False,
    }
    asked |= {"methods": "generate constrained", "shots": 1, "encoder": "minilm"}
    return run(3, **asked, **place)


def test_notebook_3_scores_lexicons_without_a_language_model(quiet, place):
    given = {"data": "sample", "model": "", "adapter": "none", "tasks": "V-reg SST"}
    found = run(3, **given, **place | {"name": "lexicons"})
    assert found["tests"].empty and set(found["measured"]["model"]) == {"VADER", "TextBlob"}
    numbers = Path(place["figures"]) / "data"
    assert len(pd.read_csv(numbers / "lexicons_scores.csv")) == len(found["measured"]) > 3
    assert not (numbers / "lexicons_tests.csv").exists()


def test_notebook_3_gives_every_kind_of_row(evaluated, place):
    title = evaluated["title"]
    models = {"base", "few-shot", title}
    models |= {f"{model}, constrained" for model in models} | {"VADER", "MiniLM with a head"}
    models |= {"TextBlob"}
    scores = pd.read_csv(f"{place['figures']}/data/t_scores.csv")
    assert set(scores["model"]) == set(evaluated["found"]) == models
    assert set(scores["data"]) == {"sample"}


def test_notebook_4_reads_answers_of_notebook_3(evaluated, place):
    given = {"data": "sample", "tasks": "EI-reg V-reg E-c SST5", "worst": 1}
    given["answers"] = f"{place['out']}/predict_t_tuned_constrained"
    found = run(4, **given, **{name: place[name] for name in ("name", "figures")})
    assert found["table"]["task"].unique().tolist() == ["EI-reg", "V-reg", "E-c", "SST5"]
    assert found["summary"]["items"].sum() == len(found["table"]) == 14


def test_notebook_7_asks_the_model_and_fits_on_development_texts(place):
    given = {"data": "sample", "tasks": "EI-reg V-reg V-oc E-c", "items_per_group": 4}
    given |= {"fit_on": "dev", "kept_file": "", "benchmark": "built"}
    found = run(7, **given, **place)
    assert {"dev", "test", "dev_also", "test_also"} == set(found["judged"])
    kept = found["calibration"].read(found["folder"] / "calibration.json")
    assert kept.joined.weights and kept.rules.thresholds == found["rules"].thresholds


def test_notebook_7_refuses_answers_of_another_model(place, tmp_path):
    with pytest.raises(DataError, match="is another model's"):
        run(7, kept_file="figures/data/smollm2_judgements.parquet", **place)


@pytest.mark.parametrize(
    ("label", "reason"),
    [("9", "row 1, column mine: '9' is no number from 1 to 7"), ("", "0 labelled texts")],
)
def test_notebook_9_names_a_label_that_it_cannot_read(tmp_path, place, label, reason):
    table = tmp_path / "mine.csv"
    table.write_text(f"text,mine\nI like it,{label}\n")
    given = {"texts": str(table), "label_column": "mine", "low": 1.0, "high": 7.0}
    with pytest.raises(DataError, match=reason):
        run(9, **given, **place)


@pytest.fixture(scope="module")
def profile_run(tiny_model, tmp_path_factory):
    """A finished run on profiles, of two steps."""
    rows = [profiles.build(split, "sample").select(range(16)) for split in ("train", "dev")]
    settings = {"prompt_form": "profile", "quantization": "", "max_steps": 2, "eval_steps": 1}
    return str(finetune(*rows, tiny_model, tmp_path_factory.mktemp("profile") / "run", **settings))


def test_notebook_11_asks_and_scores_every_benchmark(profile_run, place):
    given = {"data": "sample", "benchmarks": "", "profiles_kept": False}
    given |= {"profile_adapter": profile_run}
    found = run(11, **given, **place)
    tasks = found["scores"]["task"].unique()
    assert set(tasks) == {*found["AAID"], *found["AEB_2"], *found["AEB_3"]}
    fitted = found["calibration"].read(found["folder"] / "calibration.json")
    assert fitted.rules == found["fitted"].rules and fitted.half_widths
    scores = pd.read_csv(f"{place['figures']}/data/t_readings_scores.csv")
    assert set(scores["data"]) == {"sample"} and scores["rule"].notna().all()
    kept = {"profile_answers": f"{place['figures']}/data/t_judgements.parquet"}
    kept |= {"profiles_kept": True, "benchmarks": "SST SST5"}
    again = run(11, **given | kept, **place)
    assert set(again["scores"]["task"]) == {"SST", "SST5"}


def test_notebook_11_refuses_answers_of_another_model(profile_run, place):
    with pytest.raises(DataError, match="is another model's"):
        run(11, profile_adapter=profile_run, **place)


def test_notebook_8_audits_a_model_tuned_on_profiles(profile_run, place):
    found = run(8, model=profile_run, lexicons="", frames=1, **place)
    told = found["found"][profile_run].query("task == 'V-reg'").set_index("id")["prediction"]
    sentences = found["sentences"].head(3)
    alone = emolib.Annotator(profile_run, progress=False)(list(sentences["text"]))
    assert np.allclose(told.loc[sentences["id"]], alone["valence"], atol=1e-4)  # four digits
    assert set(found["table"]["measure"]) == {*EMOTIONS, "valence"}
