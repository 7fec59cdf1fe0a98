"""One name in, model and tokenizer out; quantized or not, with or without adapter."""

import logging
import warnings
from pathlib import Path

import pooch
from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from tokenizers import processors
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from emolib import DataError, files
from emolib.models import catalog, precision, weight_files
from emolib.models.locate import find_file, read_form, resolve, split_adapter, trace
from emolib.models.weight_files import explaining, hash_weights

# Logged at import on some CPUs, about a kernel that nothing here needs; and a warning from inside
# transformers 5.23 that no caller can act on.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
disable_progress_bar()  # one bar per load; a run's own bars stay

BACKENDS = ("transformers", "llama.cpp")


def load(
    name: str | Path,
    quantization: str | None = None,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    backend: str = "transformers",
):
    """Model in evaluation mode and tokenizer, padding on the left.

    `name`: a Hub id, a model folder, a .gguf file (also ORG/REPOSITORY/FILE.gguf on the Hub), a
    member of the series as published, an alias, a finished fine-tuning run or another adapter
    folder (loaded onto its own base), or one that comes with emolib (see `catalog`).
    `quantization`: None, "nf4" (4 bits, double quantization) or "int8". `backend`: "llama.cpp"
    keeps a GGUF file quantized, where llama-cpp-python is installed; what comes back answers
    `predict` and `annotate`, but is no torch module. "transformers" unpacks it into `dtype`.
    The model's `settings` say how it was loaded (see `prepare`), for a run's provenance.

    Weights come from safetensors or GGUF only and no code from a model folder is ever run.
    DataError names the folder, file or setting that is wrong.
    """
    if quantization not in precision.QUANTIZATIONS:
        raise DataError(f"quantization {quantization!r}: expected one of None, nf4, int8")
    if backend not in BACKENDS:
        raise DataError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    if backend == "llama.cpp":
        return _load_file(name, quantization, adapter, device, dtype)
    base, adapter = split_adapter(name, adapter)
    chosen = precision.choose_precision(device, dtype)
    if chosen.device == "cpu":
        precision.keep_freed_memory()
    source = resolve(base)
    tokenizer = load_tokenizer(base)
    options = {"dtype": chosen.dtype, "device_map": chosen.placement}
    if quantization:
        options["quantization_config"] = precision.quantize(quantization, chosen)
    model = weight_files.read(source, **options)
    if adapter:
        model = _load_adapter(model, adapter)
    return prepare(model.eval(), base, quantization, chosen, adapter), tokenizer


def prepare(model, name: str | Path, quantization=None, how=None, adapter=None):
    """A model that was just read, safe to train and with `settings` for the record.

    Keeps bitsandbytes from a fault (see `precision.keep_unpacked`). `settings` say how it was
    loaded, in what precision (`how`), the hashes of its weights, the prompt form that it was
    trained on, and how its answers become tokens (see `tokens`).
    """
    precision.keep_unpacked(model)
    return _describe(model, name, hash_weights(resolve(name)), how, quantization, adapter)


def _describe(model, name, weights: str | None, how, quantization=None, adapter=None):
    member = catalog.find(trace(name))
    style = "apart" if member else "after"
    model.settings = {
        "model": str(name),
        "weights": weights,
        "adapter": str(adapter) if adapter else None,
        "adapter_weights": hash_weights(adapter) if adapter else None,
        "quantization": quantization or None,
        "precision": str(how),
        "prompt_form": read_form(adapter or name) or (member and member.form),
        "answers": "decoder" if model.config.is_encoder_decoder else style,
    }
    return model


def _load_file(name, quantization, adapter, device, dtype):
    """A GGUF file in llama.cpp and its tokenizer, as `load` gives them."""
    from emolib.models.llamacpp import LlamaCpp

    file = find_file(name)
    if not file or quantization or adapter or dtype:
        limits = "without quantization, adapter or dtype (publishing.gguf makes one of an adapter)"
        raise DataError(f"{name}: llama.cpp takes a .gguf file as it is, {limits}")
    device = precision.choose_precision(device).device
    model, weights = LlamaCpp(file, device), pooch.file_hash(file)[:16]
    _describe(model, name, weights, f"{device}, llama.cpp, {model.kind}")
    return model, _prepare(weight_files.read_tokenizer(file), name)


def merge(model):
    """The model with its adapter added into its weights, which is faster to ask.

    In the weights' own number type. A quantized model, whose weights cannot take it, and one
    without an adapter come back as they are. `settings` say what was done.
    """
    apart = not hasattr(model, "merge_and_unload") or model.settings["quantization"]
    whole = model if apart else model.merge_and_unload()
    whole.settings = model.settings | {"merged": not apart}
    return whole


def load_tokenizer(name: str | Path):
    """A base model's tokenizer alone, padding on the left; names as in `load`."""
    source = resolve(name)
    with explaining(source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return _prepare(tokenizer, name)


def _prepare(tokenizer, name: str | Path):
    """The tokenizer, with the special tokens that a published model was trained on."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if member := catalog.find(trace(name)):
        for role, number in member.special.items():
            setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
        if not member.start:
            tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    return tokenizer


def copy_adapter(start: str | Path, model) -> str:
    """Weights of another adapter into the model's own, which has to be alike.

    `start`: a run, an adapter folder or a bundled one's name; `model` has an adapter of PEFT's. The
    hash of what was copied. DataError if it is no adapter, or its rank, alpha or layers differ.
    """
    place = start if start in catalog.BUNDLED else files.place(start)
    folder, own = split_adapter(place, None)[1], getattr(model, "peft_config", {}).get("default")
    if folder is None:
        raise DataError(f"start: {start} is no adapter")
    if own is None:
        raise DataError("start: an adapter to go on from needs lora_rank above 0")
    _check_safetensors(folder)
    with explaining(start):
        given, weights = PeftConfig.from_pretrained(folder), load_peft_weights(folder, "cpu")
    for name in ("r", "lora_alpha"):
        there, here = getattr(given, name), getattr(own, name)
        both = f"{start} has {name}={there} in its LoRA, this run {here}"
        if there != here:
            raise DataError(f"start: {both}: they have to agree")
    with explaining(start):  # tensors of other sizes
        found = set_peft_model_state_dict(model, weights)
    odd = [name for name in found.missing_keys if "lora_" in name]
    if odd := [*odd, *found.unexpected_keys]:
        raise DataError(f"start: {start} was trained on other layers ({odd[0]})")
    return hash_weights(folder)


def _check_safetensors(folder: Path) -> None:
    if not (folder / "adapter_model.safetensors").is_file():
        raise DataError(f"{folder}: no adapter_model.safetensors (pickles are not read)")


def _load_adapter(model, folder: Path):
    _check_safetensors(folder)
    with explaining(folder), warnings.catch_warnings():
        # Else a layer without its weights is left as if it had not been trained.
        warnings.filterwarnings("error", message="Found missing adapter keys")
        return PeftModel.from_pretrained(model, folder)
