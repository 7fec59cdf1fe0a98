"""Copies of a tuned model on disk: merged with its base, or refused."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from emolib import DataError, files, models
from emolib.publishing import gguf


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A finished run with a random adapter."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    torch.manual_seed(0)
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(models.load(tiny_model)[0], lora)
    model.save_pretrained(folder / "adapter")
    settings = {"model": tiny_model, "prompt_form": "paper"}
    files.write_json(folder / "run.json", {"kind": "finetune", "settings": settings})
    return folder


def compute_logits(name):
    model, tokenizer = models.load(name)
    return model(tokenizer("so it begins", return_tensors="pt").input_ids).logits


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float16", 0.05)])
def test_merged_model_answers_like_its_parts(run, tmp_path, dtype, bound):
    folder = gguf.merge(run, tmp_path / "m", dtype)
    assert models.load(folder)[0].settings["adapter"] is None
    apart = (compute_logits(folder) - compute_logits(run)).abs().max()
    assert apart < bound


def test_merge_into_a_folder_that_exists_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="there already"):
        gguf.merge(run, tmp_path)


def test_merge_into_four_bits_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="dtype 'nf4': expected one of float32"):
        gguf.merge(run, tmp_path / "m", "nf4")


def test_full_disk_leaves_no_half_model(run, tmp_path, monkeypatch):
    def save(self, folder, **_):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    with pytest.raises(DataError, match="No space left"):
        gguf.merge(run, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_convert_without_llama_cpp_says_what_is_missing(tiny_model, tmp_path):
    with pytest.raises(DataError, match="make llamacpp"):
        gguf.convert(tiny_model, tmp_path / "x.gguf", converter="/no")
    assert not list(tmp_path.iterdir())
