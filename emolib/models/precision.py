"""What a device computes in, quantization, and two faults of the machine avoided."""

import ctypes
import os
from dataclasses import dataclass

import torch
from transformers import BitsAndBytesConfig

from emolib import DataError

QUANTIZATIONS = (None, "nf4", "int8")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """What a device computes in. `mixed`: the autocast type in training, or None."""

    device: str
    dtype: torch.dtype
    mixed: str | None

    @property
    def placement(self) -> str | None:
        """The device_map for loading; None where a launcher's library places weights."""
        return None if is_sharded() else self.device

    @property
    def storage(self) -> torch.dtype:
        """The type that holds 4-bit weights: FSDP spreads weights of one type only."""
        return self.dtype if is_sharded() else torch.uint8

    def __str__(self) -> str:
        return f"{self.device}, {str(self.dtype).removeprefix('torch.')}"


def choose_precision(device: str = "auto", dtype: str | None = None) -> Precision:
    """The device and the number type that works on it; `dtype` overrules the type.

    CPU: float32. CUDA from compute capability 8: bfloat16. Older cards, such as a T4: float16,
    because they only emulate bfloat16 (`is_bf16_supported` says True there).
    """
    if dtype is not None and dtype not in DTYPES:
        raise DataError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)} or None")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    mixed = {"bfloat16": "bf16"}
    if device.startswith("cuda"):
        modern = torch.cuda.get_device_capability(device)[0] >= 8
        dtype = dtype or ("bfloat16" if modern else "float16")
        mixed["float16"] = "fp16"
    dtype = dtype or "float32"
    return Precision(device, DTYPES[dtype], mixed.get(dtype))


def is_sharded() -> bool:
    """Whether `accelerate launch` spreads the weights over processes."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in names)


def keep_freed_memory() -> None:
    """Makes glibc keep a batch's memory for the next one; elsewhere it does nothing.

    It gives large blocks back to the system at once, and every batch then waits for its pages
    again: a quarter of the time in a small model's forward pass.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    for name, value in ((-1, 2**31 - 1), (-4, 0)) if mallopt else ():
        mallopt(name, value)  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h


def quantize(quantization: str, precision: Precision) -> BitsAndBytesConfig:
    """The bitsandbytes configuration behind a quantization's name."""
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision.dtype,
        bnb_4bit_quant_storage=precision.storage,
    )


def keep_unpacked(model) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights on a CPU with AVX512-BF16.

    It does so in place in the first forward pass in evaluation mode (0.50.2), after which gradients
    and saved weights are wrong; a test pins that this prevents it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
