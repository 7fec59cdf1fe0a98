"""Fine-tuning without the notebook: one process or two; an adapter or all weights."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import load_file
from tuning import finetune

from emolib import DataError, files, models, notebooks, runs
from emolib.data import aaid, aeb
from emolib.inference import predict
from emolib.publishing import gguf
from emolib.training import record
from emolib.training.shared_batches import Sampler

pytestmark = pytest.mark.slow  # trains, kills or compares whole models


RUN = {
    "data": "sample",
    "quantization": "",
    "train_rows": 32,
    "validation_rows": 8,
    "epochs": 2.0,
    "learning_rate": 1.0e-2,
    "batch_size": 8,
    "micro_batch_size": 2,
    "eval_steps": 4,
    "patience": 9,
}
FAST = {
    "quantization": None,
    "max_steps": 6,
    "eval_steps": 3,
    "batch_size": 8,
    "micro_batch_size": 4,
}


@pytest.fixture
def write_run(tiny_model, tmp_path):
    """A function: changes -> a run file on the tiny model."""

    def write(name: str, **changes) -> str:
        given = RUN | {"model": tiny_model, "out": str(tmp_path / name)} | changes
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(given))
        return str(path)

    return write


def start(processes: int, file: str) -> None:
    """`emolib train` in so many processes on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(processes), "-m", "emolib", "train", file]
    told = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [16, 0])
def test_two_processes_reach_the_loss_of_one(write_run, tmp_path, rank):
    rate = 1.0e-2 if rank else 1.0e-3
    one = notebooks.train(write_run("one", lora_rank=rank, learning_rate=rate))
    start(2, write_run("two", lora_rank=rank, learning_rate=rate))
    two = tmp_path / "two" / "finetune"
    assert runs.read(two)["processes"] == 2 and runs.read(one)["processes"] == 1
    logs = [record.read_log(run) for run in (one, two)]
    for column in ("loss", "eval_loss"):
        ours, theirs = (log[column].dropna().to_numpy() for log in logs)
        assert len(ours) and np.allclose(ours, theirs, atol=2e-3), column
    name = "adapter/adapter_model" if rank else "model/model"
    weights = [load_file(run / f"{name}.safetensors") for run in (one, two)]
    for key in weights[0]:
        assert torch.allclose(weights[0][key], weights[1][key], atol=2e-3), key


def test_run_file_trains_as_the_notebook_does(write_run):
    run = notebooks.train(write_run("once", epochs=1.0))
    settings = runs.read(run)["settings"]
    assert settings["train"]["rows"] == 32 and settings["quantization"] == ""
    assert settings["prompt_form"] == "paper" and settings["epochs"] == 1.0
    assert settings["lora_dropout"] == 0.0
    assert notebooks.train(write_run("once", epochs=1.0)) == run  # finished: at once


def test_wrong_run_file_is_an_error_before_anything_is_built(write_run, tmp_path):
    with pytest.raises(DataError, match="no parameter 'lora_rnk'"):
        notebooks.train(write_run("bad", lora_rnk=3))
    assert not (tmp_path / "bad").exists()


def test_passes_and_settings_reach_the_run(write_run, sample_aaid):
    given = {"passes": "V-reg=2-3 E-c=1", "validation_rows": 10, "eval_steps": 1}
    given |= {"choose_by": "score", "max_steps": 1, "lora_dropout": 0.1}
    given["lora_targets"] = "q_proj"
    run = notebooks.train(write_run("mixed", **given))
    settings, log = runs.read(run)["settings"], record.read_log(run)
    taken = aaid.take(sample_aaid["train"], given["passes"]).select(range(32))
    assert settings["train"] == {"rows": 32, "sha256": files.hash_rows(taken)}
    checked = aaid.spread(sample_aaid["validation"], 10, even=True)
    assert settings["validation"]["sha256"] == files.hash_rows(checked)
    assert checked["task"] != sample_aaid["validation"]["task"][:10]
    assert log["eval_score"].notna().any() and "best_eval_score" in runs.read(run)
    wanted = {"max_steps": 1, "lora_dropout": 0.1, "lora_targets": "q_proj"}
    assert {name: settings[name] for name in wanted} == wanted


@pytest.fixture(scope="module")
def rows(sample_aaid):
    """Training and validation rows."""
    train, validation = sample_aaid["train"], sample_aaid["validation"]
    return train.select(range(40)), validation.select(range(8))


@pytest.fixture(scope="module", params=["llama", "t5"])
def whole(request, rows, save_tiny, tmp_path_factory):
    """A base and a finished run that tuned all of its weights."""
    tokenizer = {"llama": "byte_tokenizer", "t5": "t5_tokenizer"}[request.param]
    base = save_tiny(request.param, tokenizer)
    run = tmp_path_factory.mktemp("runs") / "whole"
    options = FAST | {"lora_rank": 0, "learning_rate": 2e-3}
    return base, finetune(*rows, base, run, **options)


def test_all_weights_are_tuned_and_the_loss_falls(whole):
    base, run = whole
    log = record.read_log(run)["loss"].dropna()
    assert log.iloc[-1] < log.iloc[0] - 0.3
    before, after = models.load(base)[0], models.load(run)[0]
    moved = [
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    ]
    assert len(moved) > 0.9 * len(list(before.parameters()))
    assert after.settings["adapter"] is None
    assert after.settings["prompt_form"] == "paper"


def test_tuned_model_is_a_base_like_any_other(whole, rows, tmp_path):
    _, run = whole
    options = FAST | {"max_steps": 1}
    above = finetune(*rows, str(run), tmp_path / "above", **options)
    model, tokenizer = models.load(above)
    items = aeb.build(["V-reg"], data="sample").select(range(4))
    found = predict.predict(items, model, tokenizer, tmp_path / "p", progress=False)
    assert found["mean"].notna().all()
    folder = gguf.merge(above, tmp_path / "merged", "float32")
    alone = predict.predict(items, *models.load(folder), tmp_path / "m", progress=False)
    assert np.allclose(found["mean"], alone["mean"], atol=1e-4)


def test_quantized_weights_cannot_be_tuned(rows, tiny_model, tmp_path):
    with pytest.raises(DataError, match="lora_rank=0 tunes all weights"):
        finetune(*rows, tiny_model, tmp_path, quantization="nf4", lora_rank=0)


def test_batches_must_divide_among_processes(rows, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(DataError, match="4 in 3 processes does not divide batch_size"):
        finetune(*rows, tiny_model, tmp_path, **FAST)


def test_sampler_orders_whole_steps_whatever_the_processes():
    """A step's rows are the same in two processes as in one."""
    keys = [("a", "x")] * 20 + [("b", "y")] * 20
    order = list(Sampler(8, [1] * 40, seed=0, keys=keys))
    assert all({keys[i][0] for i in order[n : n + 8]} == {"a", "b"} for n in range(0, 40, 8))


@pytest.mark.parametrize("name", ["fsdp_qlora", "zero3_full"])
def test_launcher_files_are_what_accelerate_reads(name):
    from accelerate.commands.config.config_args import load_config_from_file

    folder = ROOT / "notebooks" / "runs" / "accelerate"
    config = load_config_from_file(str(folder / f"{name}.yaml"))
    assert config.num_processes == 2 and config.mixed_precision == "bf16"
    kind = {"fsdp_qlora": "FSDP", "zero3_full": "DEEPSPEED"}[name]
    assert config.distributed_type == kind
    run = yaml.safe_load((folder.parent / f"{name}.yaml").read_text())
    assert run["batch_size"] % (run["micro_batch_size"] * config.num_processes) == 0
