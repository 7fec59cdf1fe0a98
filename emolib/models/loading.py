"""One name in, model and tokenizer out; quantized or not, with or without adapter."""

import ctypes
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import processors
from transformers import AutoTokenizer, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from emolib import DataError
from emolib.models import catalog, weight_files
from emolib.models.locate import FULL, find_file, read_form, resolve, split_adapter, trace
from emolib.models.catalog import SERIES
from emolib.models.catalog import ALIASES, BUNDLED
from emolib.models.weight_files import explain, hash_weights

__all__ = ["ALIASES", "BUNDLED", "FULL", "SERIES", "load", "merge", "resolve"]

# Logged at import on some CPUs, about a kernel that nothing here needs; and a warning
# from inside transformers 5.23 that no caller can act on.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
disable_progress_bar()  # one bar per load; a run's own bars stay

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h
QUANTIZATIONS = (None, "nf4", "int8")
BACKENDS = ("transformers", "llama.cpp")
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Precision:
    """What a device computes in. `mixed`: the autocast type in training, or None."""

    device: str
    dtype: torch.dtype
    mixed: str | None

    def __str__(self) -> str:
        return f"{self.device}, {str(self.dtype).removeprefix('torch.')}"


def choose_precision(device: str = "auto", dtype: str | None = None) -> Precision:
    """The device and the number type that works on it; `dtype` overrules the type.

    CPU: float32. CUDA from compute capability 8: bfloat16. Older cards, such as a T4:
    float16, because they only emulate bfloat16 (`is_bf16_supported` says True there).
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype is not None and dtype not in DTYPES:
        raise DataError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)} or None")
    on_gpu = device.startswith("cuda")
    if dtype is None:
        dtype = "float32"
        if on_gpu:
            modern = torch.cuda.get_device_capability(device)[0] >= 8
            dtype = "bfloat16" if modern else "float16"
    mixed = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype)
    if not on_gpu and mixed == "fp16":
        mixed = None
    return Precision(device, DTYPES[dtype], mixed)


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
    Hub), a member of SERIES as published, an alias from ALIASES, a finished fine-tuning
    run or another adapter folder (loaded onto its own base), or one that comes with
    emolib (BUNDLED).
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
        _keep_freed_memory()
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
            " adapter or dtype (an adapter becomes one by copies.convert)"
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


def is_sharded() -> bool:
    """Whether `accelerate launch` spreads the weights over processes."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in names)


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


def _keep_freed_memory() -> None:
    """Has glibc keep a batch's memory for the next one; elsewhere it does nothing.

    It gives large blocks back to the system at once, and every batch then waits for its
    pages again: a quarter of the time in a small model's forward pass.
    """
    mallopt = (
        getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    )
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_MAX, 0)


def quantize(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """The bitsandbytes configuration behind a quantization's name."""
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # FSDP spreads weights of one number type only.
        bnb_4bit_quant_storage=dtype if is_sharded() else torch.uint8,
    )


def keep_unpacked(model) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights on a CPU with AVX512-BF16.

    It does so in place in the first forward pass in evaluation mode (0.50.2), after
    which gradients and saved weights are wrong; a test pins that this prevents it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


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
