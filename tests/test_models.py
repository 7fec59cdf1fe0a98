import json
import shutil
from pathlib import Path

import bitsandbytes as bnb
import pooch
import pytest
import torch

from emolib import DataError, models
from emolib.models import catalog, precision, weight_files

PROMPT = "Human: \nTask: How sad? Tweet: rain again. Assistant:\n"


def compute_logits(model, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(PROMPT, return_tensors="pt")).logits


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A finished run's folder with an adapter that changes what the model says."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model, tokenizer = models.load(tiny_model)
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("run")
    get_peft_model(model, config).save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    settings = {"model": tiny_model, "prompt_form": "plain"}
    (folder / "run.json").write_text(json.dumps({"settings": settings}))
    return folder


def test_cpu_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = models.choose_precision()
    assert found == precision.Precision("cpu", torch.float32, None)
    assert str(found) == "cpu, float32"


@pytest.mark.parametrize(
    ("capability", "dtype", "mixed"),
    [
        ((7, 5), torch.float16, "fp16"),
        ((8, 0), torch.bfloat16, "bf16"),
        ((9, 0), torch.bfloat16, "bf16"),
    ],
)
def test_card_computes_in_what_it_can(monkeypatch, capability, dtype, mixed):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert models.choose_precision() == precision.Precision("cuda", dtype, mixed)
    assert models.choose_precision("cpu").mixed is None


def test_number_type_can_be_asked_for():
    assert models.choose_precision("cpu", "bfloat16").dtype == torch.bfloat16
    with pytest.raises(DataError, match="dtype 'half': expected one of float32"):
        models.choose_precision("cpu", "half")


def test_model_is_ready_to_answer(tiny_model):
    model, tokenizer = models.load(tiny_model)
    assert not model.training and tokenizer.padding_side == "left"
    assert model.dtype == torch.float32 and tokenizer.pad_token_id is not None
    assert model.settings == {
        "model": tiny_model,
        "weights": models.hash_weights(tiny_model),
        "adapter": None,
        "adapter_weights": None,
        "quantization": None,
        "precision": "cpu, float32",
        "prompt_form": None,
        "answers": "after",
    }


@pytest.mark.parametrize(
    ("quantization", "layer", "least"),
    [("nf4", bnb.nn.Linear4bit, 0.4), ("int8", bnb.nn.Linear8bitLt, 0.9)],
)
def test_quantized_model_answers_nearly_alike(tiny_model, quantization, layer, least):
    exact = compute_logits(*models.load(tiny_model))
    model, tokenizer = models.load(tiny_model, quantization)
    layers = [m for m in model.modules() if isinstance(m, layer)]
    assert len(layers) == 14  # seven in each of the two blocks
    pair = torch.stack([exact, compute_logits(model, tokenizer).float()]).flatten(1)
    assert least < torch.corrcoef(pair)[0, 1] < 0.99999
    assert model.settings["quantization"] == quantization


def test_four_bit_weights_stay_as_they_are_after_a_forward_pass(tiny_model):
    model, tokenizer = models.load(tiny_model, "nf4")
    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert [m.support_avx512bf16_for_cpu for m in layers] == [False] * 14
    before = [m.weight.data.clone() for m in layers]
    compute_logits(model, tokenizer)
    for old, layer in zip(before, layers, strict=True):
        assert torch.equal(old, layer.weight.data)


def test_unknown_quantization_is_an_error(tiny_model):
    with pytest.raises(DataError, match="'nf5': expected one of None, nf4, int8"):
        models.load(tiny_model, "nf5")


@pytest.mark.parametrize("name", ["nowhere/at/all", "no-org/no-model", "nowhere"])
def test_model_that_is_not_there_is_an_error(name):
    with pytest.raises(DataError, match=f"cannot load model '{name}'"):
        models.load(name)


def test_pickled_weights_are_refused(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    model, _ = models.load(tiny_model)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"cannot load model .*pickled"):
        models.load(folder)


def test_damaged_weights_are_an_error(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "torn"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(DataError, match=r"cannot load model .*torn"):
        models.load(folder)


def test_adapter_run_loads_onto_its_base(run, tiny_model):
    base = compute_logits(*models.load(tiny_model))
    found = [models.load(name) for name in (run, str(run), run / "adapter")]
    found.append(models.load(tiny_model, adapter=run))
    logits = [compute_logits(*pair) for pair in found]
    assert all(torch.equal(logits[0], other) for other in logits[1:])
    assert not torch.allclose(base, logits[0], atol=0.1)
    settings = found[0][0].settings
    assert settings["model"] == tiny_model and settings["prompt_form"] == "plain"
    assert settings["adapter"] == str(run / "adapter")


def test_adapter_without_its_run_loads_onto_the_base_in_its_config(run, tmp_path):
    moved = shutil.copytree(run / "adapter", tmp_path / "moved")
    model, _ = models.load(moved)
    assert torch.equal(compute_logits(*models.load(run)), compute_logits(*models.load(moved)))
    assert model.settings["prompt_form"] is None


def test_adapter_without_safetensors_is_refused(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "run")) / "adapter"
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(DataError, match=f"{folder}: no adapter_model.safetensors"):
        models.load(tmp_path / "run")


def test_folder_that_is_no_adapter_is_an_error(tiny_model, tmp_path):
    with pytest.raises(DataError, match="not an adapter folder"):
        models.load(tiny_model, adapter=tmp_path)


def test_hash_hangs_on_the_weights(tiny_model, run):
    hashes = {models.hash_weights(tiny_model), models.hash_weights(run / "adapter")}
    assert len(hashes) == 2 and None not in hashes
    assert models.hash_weights("HuggingFaceTB/SmolLM2-135M-Instruct") is None


def test_alias_is_a_converted_folder(smollm2_tokenizer):
    folder = models.resolve("smollm2-135m")
    assert (Path(folder) / "model.safetensors").is_file()
    assert smollm2_tokenizer.name_or_path == folder


def test_alias_is_the_hub_id_without_the_package(monkeypatch):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda _: None)
    found = models.resolve("smollm2-135m")
    assert found == "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"GGUF", "not a readable GGUF")]
)
def test_bad_gguf_file_is_an_error_and_leaves_nothing(monkeypatch, tmp_path, content, reason):
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    if content:
        (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.gguf: {reason}"):
        models.load(tmp_path / "a.gguf")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.name != "models"] == []


def test_unpacked_gguf_of_another_process_stays(monkeypatch, tmp_path):
    """Two start at once: what the first unpacked, and may be reading, is not replaced."""
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"any")
    target = tmp_path / "models" / f"a-{pooch.file_hash(tmp_path / 'a.gguf')[:16]}"

    class Model:
        def save_pretrained(self, folder):
            for place, text in ((target, "first"), (folder, "second")):
                place.mkdir(parents=True, exist_ok=True)
                (place / "weights").write_text(text)

    monkeypatch.setattr(weight_files, "_read_weights", lambda *_, **__: Model())
    monkeypatch.setattr(weight_files, "read_tokenizer", lambda _: Model())
    assert weight_files.convert(tmp_path / "a.gguf") == str(target)
    assert (target / "weights").read_text() == "first"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_merged_model_answers_as_with_its_adapter_apart(run, tiny_model):
    model, tokenizer = models.load(run)
    ids = tokenizer("I am so", return_tensors="pt").input_ids
    apart = model(ids).logits
    whole = models.merge(model)
    assert torch.allclose(whole(ids).logits, apart, atol=1e-4)
    assert whole.settings["merged"] and not hasattr(whole, "peft_config")
    for plain in (tiny_model, run):  # nothing to merge, or nothing that could take it
        model, _ = models.load(plain, "nf4")
        assert models.merge(model) is model and not model.settings["merged"]


def test_adapter_that_comes_with_emolib_is_there(smollm2_tokenizer):
    model, _ = models.load("emo-smollm2-135m")
    assert model.settings["prompt_form"] == "paper"
    assert model.settings["model"] == "smollm2-135m"
    record = json.loads((models.BUNDLED["emo-smollm2-135m"] / "run.json").read_text())
    assert record["weights"] == model.settings["weights"]  # trained on this very base


def test_second_alias_is_not_the_first_ones_file(monkeypatch):
    other = catalog.Package("Org/Other", "no_such_package", "*.gguf")
    monkeypatch.setitem(catalog.ALIASES, "other", other)
    assert models.resolve("other") == "Org/Other"
    assert "smollm2" in models.resolve("smollm2-135m").lower()
