"""Score files as notebook 3 writes them and notebook 5 reads them."""

import pandas as pd
import pytest

from emolib import DataError, baselines, files, runs
from emolib.evaluation import item_errors, metrics, score_files


@pytest.fixture(scope="module")
def measured(sample_aeb):
    found = baselines.lexicon("vader", sample_aeb)
    return metrics.tabulate(item_errors.compare(sample_aeb, found), "VADER")


def save(measured, path, rows, folders=None, **columns):
    about = {"kind": "lexicon", "data": "official", "items": "all", "run": "r"}
    score_files.write(measured, path, rows, folders or {}, **(about | columns), seed=0)
    return path


@pytest.mark.slow
def test_written_scores_are_read_back(measured, sample_aeb, tmp_path):
    path = save(measured, tmp_path / "data" / "a_scores.csv", sample_aeb)
    found = score_files.read_ours(path.parent)
    assert found["task"].tolist() == measured["task"].tolist()
    assert found["value"].tolist() == pytest.approx(measured["value"], abs=1e-6)
    assert set(found["kind"]) == {"lexicon"} and found["partial"].all()


def test_every_row_says_where_it_comes_from(measured, sample_aeb, tmp_path):
    run = tmp_path / "run"
    settings = {"model": "m", "quantization": "nf4", "adapter_weights": "abc"}
    with runs.opened(run, "predict", settings):
        pass
    measured = pd.concat([measured, measured.assign(model="tuned")])
    path = save(measured, tmp_path / "a_scores.csv", sample_aeb, {"tuned": run})
    table = pd.read_csv(path).set_index("model")
    tuned, made = table.loc["tuned"].iloc[0], runs.read(run)
    assert tuned[["base", "quantization", "adapter_weights"]].tolist() == [*settings.values()]
    assert tuned["commit"] == made["commit"] and tuned["made"] == made["made"]
    assert set(table["rows_sha256"]) == {files.hash_rows(sample_aeb)[:16]}
    assert table.loc["VADER"]["base"].isna().all()
    assert table["commit"].notna().all() and len(table) == len(measured)


def test_scores_of_the_sample_are_not_read_as_ours(measured, sample_aeb, tmp_path):
    path = save(measured, tmp_path / "a_scores.csv", sample_aeb, data="sample")
    assert len(score_files.read_ours(path.parent)) == 0


def test_score_without_a_value_is_named(measured, sample_aeb, tmp_path):
    bad = measured.assign(value=float("nan"))
    path = save(bad, tmp_path / "a_scores.csv", sample_aeb)
    with pytest.raises(DataError, match=r"a_scores.csv:2: column value holds no"):
        score_files.read_ours(path.parent)
