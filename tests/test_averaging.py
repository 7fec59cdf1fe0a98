"""Exports of a run: its adapter in float16, or the mean of several adapters."""

import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from emolib import DataError, files, models, runs
from emolib.publishing.export import export

RANK, ALPHA = 4, 12
SCRIPT = ROOT / "papers" / "emo_smollm2" / "average_adapters.py"
average_adapters = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def make_run(folder, base, seed, form="paper"):
    """A finished run: all adapters share A, so that a mean has the same rank."""
    model, _ = models.load(base)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config)
    for place, name in ((0, "lora_A"), (seed, "lora_B")):
        torch.manual_seed(place)
        for key, weight in model.named_parameters():
            if name in key:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder / "adapter")
    files.write_text(folder / "adapter" / "README.md", "A card.\n")
    record = {
        "kind": "finetune",
        "settings": {"model": str(base), "prompt_form": form, "seed": seed},
        "finished": "2026-01-01T00:00:00+00:00",
    }
    files.write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="module")
def three(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    return [make_run(folder / str(n), tiny_model, n) for n in (1, 2, 3)]


def read_changes(weights: dict) -> dict:
    """What an adapter adds to each layer, without its scale."""
    return {
        key: weights[key.replace("lora_A", "lora_B")] @ weights[key]
        for key in weights
        if "lora_A" in key
    }


def read_run(run) -> dict:
    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    return read_changes({key: weight.float() for key, weight in weights.items()})


def test_mean_is_that_of_the_changes(three):
    found = read_changes(average_adapters.average(three[0], three[1:]))
    each = [read_run(run) for run in three]
    assert found.keys() == each[0].keys() and len(found) == 4
    for key, change in found.items():
        wanted = torch.stack([changes[key] for changes in each]).mean(0)
        assert torch.allclose(change, wanted, atol=1e-5), key
        assert not torch.allclose(change, each[0][key], atol=1e-2), key


def test_mean_of_one_run_with_itself_is_that_run(three):
    found = read_changes(average_adapters.average(three[0], three[:1]))
    for key, change in read_run(three[0]).items():
        assert torch.allclose(found[key], change, atol=1e-5), key


def test_export_of_a_mean_loads_like_any_run(three, tmp_path):
    target = average_adapters.write(three[0], three[1:], tmp_path / "mean")
    model, _ = models.load(target)
    assert model.peft_config["default"].lora_alpha == ALPHA
    assert model.settings["prompt_form"] == "paper"
    found, wanted = read_run(target), average_adapters.average(three[0], three[1:])
    for key, change in read_changes(wanted).items():
        assert torch.allclose(found[key], change, atol=1e-3), key
    assert "mean over 3 runs" in (target / "adapter" / "README.md").read_text()


def test_export_of_a_mean_records_its_runs(three, tmp_path):
    record = runs.read(average_adapters.write(three[0], three[1:], tmp_path / "mean"))
    assert record["settings"]["seed"] == 1
    others = record["averaged_with"]
    assert [each["settings"]["seed"] for each in others] == [2, 3]
    hashes = [models.hash_weights(run / "adapter") for run in three[1:]]
    assert [each["adapter_weights"] for each in others] == hashes


def test_export_of_one_run_has_its_weights_in_half_the_size(three, tmp_path):
    target = export(three[0], tmp_path / "half")
    name = "adapter/adapter_model.safetensors"
    halves, weights = load_file(target / name), load_file(three[0] / name)
    for key, weight in weights.items():
        torch.testing.assert_close(halves[key], weight.half())
    assert runs.read(target) == runs.read(three[0])


def test_export_of_an_unfinished_run_is_refused(three, tmp_path):
    files.write_json(tmp_path / "run.json", {"kind": "finetune", "settings": {}})
    with pytest.raises(DataError, match="not finished"):
        export(tmp_path, tmp_path / "half")


def test_run_of_another_form_or_base_does_not_fit(three, tiny_model, tmp_path):
    other = make_run(tmp_path / "other", tiny_model, 5, form="chat")
    with pytest.raises(DataError, match="other: prompt_form is 'chat', that of"):
        average_adapters.write(three[0], [other], tmp_path / "mean")
    record = runs.read(other)
    record["settings"] |= {"prompt_form": "paper", "model": "elsewhere"}
    files.write_json(other / "run.json", record)
    with pytest.raises(DataError, match="other: model is 'elsewhere', that of"):
        average_adapters.write(three[0], [other], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_other_run_without_an_adapter_is_refused(three, tmp_path):
    with pytest.raises(DataError, match="no adapter"):
        average_adapters.write(three[0], [tmp_path], tmp_path / "mean")


def test_command_writes_the_mean_of_its_runs(three, tmp_path, monkeypatch, capsys):
    names = [str(path) for path in (*three, tmp_path / "mean")]
    monkeypatch.setattr(sys, "argv", ["average_adapters.py", *names])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert capsys.readouterr().out == f"{tmp_path / 'mean'}\n"
    assert len(runs.read(tmp_path / "mean")["averaged_with"]) == 2


def test_bundled_adapter_says_what_it_is_the_mean_of():
    record = runs.read(models.BUNDLED["emo-smollm2-135m"])
    (other,) = record["averaged_with"]
    assert other["settings"]["model"] == record["settings"]["model"]
    assert other["weights"] == record["weights"]  # the base's
    assert record["settings"]["start_weights"] == other["adapter_weights"]
