"""One name in, model and tokenizer out; quantized or not, with or without adapter."""

import logging
import warnings
from pathlib import Path

from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from tokenizers import processors
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from emolib import DataError, files
from emolib.models import catalog, weight_files
from emolib.models.catalog import BUNDLED
from emolib.models.locate import find_file, read_form, resolve, split_adapter, trace
from emolib.models.precision import (
    QUANTIZATIONS,
    choose_precision,
    keep_freed_memory,
    keep_unpacked,
    quantize,
)
from emolib.models.weight_files import explain, hash_weights

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
    keeps a GGUF file quantized and asks it there, where llama-cpp-python is installed; what comes
    back answers `predict` and `annotate`, but is no torch module. "transformers" unpacks the file
    into `dtype`. The model's `settings` attribute says how it was loaded, for a run's provenance.

    Weights come from safetensors or GGUF only and no code from a model folder is ever run.
    DataError names the folder, file or setting that is wrong.
    """
    if quantization not in QUANTIZATIONS:
        raise DataError(
            f"quantization {quantization!r}: expected one of {', '.join(map(str, QUANTIZATIONS))}"
        )
    if backend != "transformers":
        return _load_file(name, quantization, adapter, device, dtype, backend)
    base, adapter = split_adapter(name, adapter)
    precision = choose_precision(device, dtype)
    if precision.device == "cpu":
        keep_freed_memory()
    source = resolve(base)
    tokenizer = load_tokenizer(base)
    options = {"dtype": precision.dtype, "device_map": precision.placement}
    if quantization:
        options["quantization_config"] = quantize(quantization, precision)
    model = weight_files.read(source, **options)
    if adapter:
        model = _load_adapter(model, adapter)
    return prepare(model.eval(), base, quantization, precision, adapter), tokenizer


def prepare(model, name: str | Path, quantization=None, precision=None, adapter=None):
    """A model that was just read, safe to train and with `settings` for the record.

    Keeps bitsandbytes from a fault (see `precision.keep_unpacked`). `settings` say how it was
    loaded: model, weights (a hash), quantization, the prompt form that it was trained on, and how
    its answers become tokens (see `tokens`).
    """
    keep_unpacked(model)
    member = catalog.find(trace(name))
    style = "apart" if member else "after"
    model.settings = {
        "model": str(name),
        "weights": hash_weights(resolve(name)),
        "adapter": str(adapter) if adapter else None,
        "adapter_weights": hash_weights(adapter) if adapter else None,
        "quantization": quantization or None,
        "precision": str(precision),
        "prompt_form": read_form(adapter or name) or (member and member.form),
        "answers": "decoder" if model.config.is_encoder_decoder else style,
    }
    return model


def _load_file(name, quantization, adapter, device, dtype, backend: str):
    """A GGUF file in llama.cpp and its tokenizer, as `load` gives them."""
    if backend not in BACKENDS:
        raise DataError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    file = find_file(name)
    if not file or quantization or adapter or dtype:
        raise DataError(
            f"{name}: llama.cpp takes a .gguf file as it is, without quantization,"
            " adapter or dtype (an adapter becomes one by publishing.gguf)"
        )
    from emolib.models.llamacpp import LlamaCpp

    device = choose_precision(device).device
    model, member = LlamaCpp(file, device), catalog.find(name)
    model.settings = {
        "model": str(name),
        "weights": weight_files.hash_file(file),
        "adapter": None,
        "adapter_weights": None,
        "quantization": None,
        "precision": f"{device}, llama.cpp, {model.kind}",
        "prompt_form": member and member.form,
        "answers": "apart" if member else "after",
    }
    return model, _prepare(weight_files.read_tokenizer(file), name)


def merge(model):
    """The model with its adapter added into its weights, which is faster to ask.

    In the weights' own number type. A quantized model, whose weights cannot take it, and one
    without an adapter come back as they are. `settings` say what was done.
    """
    apart = not hasattr(model, "merge_and_unload") or model.settings["quantization"]
    settings = {**model.settings, "merged": not apart}
    whole = model if apart else model.merge_and_unload()
    whole.settings = settings
    return whole


def load_tokenizer(name: str | Path):
    """A base model's tokenizer alone, padding on the left; names as in `load`."""
    source = resolve(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the readers' own errors are of every kind
        raise explain(source, error) from error
    return _prepare(tokenizer, name)


def _prepare(tokenizer, name: str | Path):
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    member = catalog.find(trace(name))
    return _ask_as_trained(tokenizer, member) if member else tokenizer


def _ask_as_trained(tokenizer, member: catalog.Member):
    """The tokenizer with the special tokens that a published model was trained on."""
    for role, number in member.special.items():
        setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
    if not member.start:
        tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    return tokenizer


def copy_adapter(start: str | Path, model) -> str:
    """Weights of another adapter into the model's own, which has to be alike.

    `start`: a run, an adapter folder or the name of a bundled one; `model` has an adapter of
    PEFT's. The hash of what was copied. DataError where it is no adapter, or one of another rank,
    alpha or on other layers.
    """
    folder = _find_start(start)
    own = getattr(model, "peft_config", {}).get("default")
    if own is None:
        raise DataError("start: an adapter to go on from needs lora_rank above 0")
    try:
        given = PeftConfig.from_pretrained(folder)
        weights = load_peft_weights(folder, "cpu")
    except Exception as error:  # of every kind
        raise explain(str(start), error) from error
    for name in ("r", "lora_alpha"):
        if getattr(own, name) != getattr(given, name):
            raise DataError(
                f"start: {start} has {name}={getattr(given, name)} in its LoRA, this"
                f" run {getattr(own, name)}: they have to agree"
            )
    try:
        found = set_peft_model_state_dict(model, weights)
    except RuntimeError as error:  # tensors of other sizes
        raise explain(str(start), error) from error
    odd = [name for name in found.missing_keys if "lora_" in name]
    if odd := [*odd, *found.unexpected_keys]:
        raise DataError(f"start: {start} was trained on other layers ({odd[0]})")
    return hash_weights(folder)


def _find_start(start: str | Path) -> Path:
    _, folder = split_adapter(start if start in BUNDLED else files.place(start), None)
    if folder is None:
        raise DataError(f"start: {start} is no adapter")
    if not (folder / "adapter_model.safetensors").is_file():
        raise DataError(f"start: {start} has no adapter_model.safetensors")
    return folder


def _load_adapter(model, folder: Path):
    if not (folder / "adapter_model.safetensors").is_file():
        raise DataError(f"{folder}: no adapter_model.safetensors (pickles are not read)")
    try:
        with warnings.catch_warnings():
            # Else a layer without its weights is left as if it had not been trained.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, folder)
    except Exception as error:  # of every kind, too
        raise explain(str(folder), error) from error
