"""Graphics cards to plan for: what fits and how fast they are on paper."""

import os
from dataclasses import dataclass

from emolib import DataError

_CORE_TFLOPS = 0.095  # a CPU core's float32 with AVX-512: figures/data/bench_train.json


@dataclass(frozen=True)
class Gpu:
    """A GPU: what PyTorch counts as its memory, and its peak on the data sheet."""

    name: str
    memory_gib: float
    bf16: bool  # computes in bfloat16 and does not only emulate it
    tflops: float | None  # matrix products in 16 bit, dense, sums in float32
    source: str

    @property
    def precision(self) -> str:
        """What `models.choose_precision` finds there."""
        if self.name == "cpu":
            return "float32"
        return "bfloat16" if self.bf16 else "float16"


# Peaks are those of NVIDIA's data sheets, without sparsity. Memory is "total capacity"
# in PyTorch's messages, which is less than the nominal size.
GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 14.6, False, 65, "T4 data sheet, float16; 16 GB, Colab's free GPU"),
        Gpu("l4", 22.0, True, 121, "L4 data sheet; 24 GB"),
        Gpu("a10g", 22.0, True, 70, "A10G data sheet; 24 GB, AWS g5"),
        Gpu("rtx3090", 23.5, True, 71, "GA102 white paper; 24 GB"),
        Gpu("rtx4090", 23.5, True, 165, "Ada white paper; 24 GB"),
        Gpu("a100-40", 39.4, True, 312, "A100 data sheet; 40 GB"),
        Gpu("a100-80", 79.1, True, 312, "A100 data sheet; 80 GB"),
        Gpu("h100", 79.1, True, 989, "H100 SXM data sheet; 80 GB"),
        Gpu("h200", 139.8, True, 989, "H200 SXM data sheet; 141 GB"),
    )
}


def find(gpu: str | float) -> Gpu:
    """The card by its name in GPUS, by its GiB, or this machine as "cpu".

    DataError names what there is.
    """
    name = str(gpu).lower().strip()
    if name in GPUS:
        return GPUS[name]
    if name == "cpu":
        cores = len(os.sched_getaffinity(0))
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return Gpu(
            "cpu", size, False, _CORE_TFLOPS * cores, "this machine's cores in float32"
        )
    try:
        size = float(name.removesuffix("gib").removesuffix("gb"))
    except ValueError:
        size = 0.0
    if not 0 < size < 10_000:
        raise DataError(
            f"gpu {gpu!r}: expected one of {', '.join(GPUS)}, cpu, or a number of GiB"
        )
    return Gpu(f"{size:g} GiB", size, True, None, "a number of GiB")
