"""Whether fine-tuning a model fits a GPU, with which settings, and how long it takes.

An estimate from the configuration: nothing is loaded and nothing run. `budget` says
what of the memory is known, measured or assumed. The time is arithmetic: operations
over an assumed share of the data sheet's peak. This project has timed no GPU.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from emolib import DataError, budget, models, series
from emolib.advice import describe, explain_plan
from emolib.budget import FEW, FULL, Job, Memory, weigh_largest
from emolib.gpus import GPUS, Gpu, find
from emolib.weights import explain

__all__ = ["GPUS", "Gpu", "Memory", "Plan", "describe", "plan"]

METHODS = ("qlora", "lora", "full")
ROWS = 234_040  # training rows of AAID


@dataclass(frozen=True)
class Plan:
    """What to expect and what to set; sizes in GiB on each GPU."""

    model: str
    gpu: Gpu
    gpus: int
    method: str
    precision: str
    batch_size: int
    micro_batch_size: int
    activation_checkpointing: bool
    memory: Memory
    tokens_per_row: float  # those computed, after sharing or with padding
    rows: int
    epochs: float
    seconds: float | None = None  # of all epochs; None where no speed is known
    why: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can be done on these GPUs."""
        return self.memory.total <= FULL * self.gpu.memory_gib

    @property
    def quantization(self) -> str | None:
        """As `finetune` takes it."""
        return "nf4" if self.method == "qlora" else None

    @property
    def hours(self) -> float | None:
        """The same in hours."""
        return None if self.seconds is None else self.seconds / 3600


def plan(
    model: str | Path | PretrainedConfig,
    gpu: str | float,
    gpus: int = 1,
    method: str = "qlora",
    rows: int = ROWS,
    epochs: float = 3.0,
    batch_size: int = 16,
    rank: int = 16,
    dropout: float = 0.05,
) -> Plan:
    """The plan for tuning `model` on AAID's rows; `fits` says whether it can be done.

    `model`: a member of the series, a Hub id, a folder, an alias or a configuration.
    `gpu`: a name from GPUS, a number of GiB, or "cpu". `method`: one of METHODS; full
    tuning over several GPUs divides weights, gradients and optimizer (ZeRO-3, FSDP).
    Settings: see `_choose`. DataError for unknown names, and sizes that do not divide.
    """
    card = find(gpu)
    _check(method, gpus, batch_size, rank)
    config = _configure(model)
    job = budget.prepare(config, card.precision, method, rank, dropout, gpus)
    micro, checkpointing, memory = _choose(job, card, batch_size)
    tokens = budget.count_tokens(micro, batch_size, job.shared)[0] / micro
    found = Plan(
        model=config.model_type if isinstance(model, PretrainedConfig) else str(model),
        gpu=card,
        gpus=gpus,
        method=method,
        precision=card.precision,
        batch_size=batch_size,
        micro_batch_size=micro,
        activation_checkpointing=checkpointing,
        memory=memory,
        tokens_per_row=tokens,
        rows=rows,
        epochs=epochs,
    )
    timed = replace(found, seconds=_time(found, job))
    return replace(timed, why=explain_plan(timed, job, config))


def _check(method: str, gpus: int, batch_size: int, rank: int) -> None:
    if method not in METHODS:
        raise DataError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if rank < 1 and method != "full":
        raise DataError(f"rank {rank}: expected at least 1 (method 'full' has none)")
    if gpus < 1 or batch_size < 1 or batch_size % gpus:
        raise DataError(f"gpus {gpus} does not divide batch_size {batch_size}")


def _configure(model: str | Path | PretrainedConfig) -> PretrainedConfig:
    if isinstance(model, PretrainedConfig):
        return model
    for member in series.SERIES.values():
        if member == series.find(model) or str(model).lower() == member.base.lower():
            return member.configure()
    source = models.resolve(model)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the readers' own errors are of every kind
        raise explain(str(model), error) from error


def _choose(job: Job, card: Gpu, batch_size: int) -> tuple[int, bool, Memory]:
    """Micro-batch, checkpointing and memory of the best that fits, else the least.

    The largest power of two that divides a GPU's rows and fits nine tenths of it,
    without activation checkpointing where FEW rows do.
    """
    whole = batch_size // job.gpus
    ladder = [2**n for n in range(whole.bit_length()) if whole % 2**n == 0][::-1]
    found = []
    for checkpointing in (False, True):
        for micro in ladder:
            memory = weigh_largest(job, micro, batch_size, checkpointing)
            if memory.total <= FULL * card.memory_gib:
                found.append((micro, checkpointing, memory))
                break
        if found and found[0][0] >= min(FEW, ladder[0]):
            break
    if not found:
        return 1, True, weigh_largest(job, 1, batch_size, True)
    return max(found, key=lambda each: each[0])


def _time(found: Plan, job: Job) -> float | None:
    """Seconds for all epochs."""
    if found.gpu.tflops is None:
        return None
    work = budget.count_operations(
        job, found.tokens_per_row, found.activation_checkpointing
    )
    speed = found.gpu.tflops * 1e12 * budget.UTILIZATION[job.method] * job.gpus
    return found.rows * found.epochs * work / speed
