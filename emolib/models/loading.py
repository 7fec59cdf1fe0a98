"""One name in, model and tokenizer out; quantized or not, with or without adapter."""

import logging
import warnings
from pathlib import Path

from tokenizers import processors
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from emolib import DataError
from emolib.models import catalog, weight_files
from emolib.models.locate import find_file, read_form, resolve, split_adapter, trace
from emolib.models.precision import (
    QUANTIZATIONS,
    choose_precision,
    is_sharded,
    keep_freed_memory,
    keep_unpacked,
    quantize,
)
from emolib.models.weight_files import explain, hash_weights

# Logged at import on some CPUs, about a kernel that nothing here needs; and a warning
# from inside transformers 5.23 that no caller can act on.
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

    `name`: a Hub id, a model folder, a .gguf file (also ORG/REPOSITORY/FILE.gguf on the
    Hub), a member of the series as published, an alias, a finished fine-tuning
    run or another adapter folder (loaded onto its own base), or one that comes with
    emolib (see `catalog`).
    `quantization`: None, "nf4" (4 bits, double quantization) or "int8".
    `backend`: "llama.cpp" keeps a GGUF file quantized and asks it there, where
    llama-cpp-python is installed; what comes back answers `predict` and `annotate`, but
    is no torch module. "transformers" unpacks the file into `dtype`.
    The model's `settings` attribute says how it was loaded, for a run's provenance.

    Weights come from safetensors or GGUF only and no code from a model folder is ever
    run. DataError names the folder, file or setting that is wrong.
    """
    if quantization not in QUANTIZATIONS:
        raise DataError(
            f"quantization {quantization!r}: expected one of"
            f" {', '.join(map(str, QUANTIZATIONS))}"
        )
    if backend != "transformers":
        return _load_file(name, quantization, adapter, device, dtype, backend)
    base, adapter = split_adapter(name, adapter)
    member = catalog.find(trace(base))
    precision = choose_precision(device, dtype)
    if precision.device == "cpu":
        keep_freed_memory()
    source = resolve(base)
    tokenizer = load_tokenizer(base)
    options = {"dtype": precision.dtype, "use_safetensors": True}
    if not is_sharded():  # then the launcher's library places them
        options["device_map"] = precision.device
    if quantization:
        options["quantization_config"] = quantize(quantization, precision.dtype)
    model = weight_files.read(source, **options)
    keep_unpacked(model)
    if adapter:
        model = _load_adapter(model, adapter)
    model.eval()
    model.settings = {
        "model": str(base),
        "weights": hash_weights(source),
        "adapter": str(adapter) if adapter else None,
        "adapter_weights": hash_weights(adapter) if adapter else None,
        "quantization": quantization,
        "precision": str(precision),
        "prompt_form": read_form(adapter or base) or (member and member.form),
        "answers": _choose_style(model, member),
    }
    return model, tokenizer


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


def _choose_style(model, member: catalog.Member | None) -> str:
    """How answers become tokens, see `tokens`."""
    if model.config.is_encoder_decoder:
        return "decoder"
    return "apart" if member else "after"


def merge(model):
    """The model with its adapter added into its weights, which is faster to ask.

    In the weights' own number type. A quantized model, whose weights cannot take it,
    and one without an adapter come back as they are. `settings` say what was done.
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


def _load_adapter(model, folder: Path):
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise DataError(
            f"{folder}: no adapter_model.safetensors (pickles are not read)"
        )
    try:
        with warnings.catch_warnings():
            # Else a layer without its weights is left as if it had not been trained.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, folder)
    except Exception as error:  # of every kind, too
        raise explain(str(folder), error) from error
