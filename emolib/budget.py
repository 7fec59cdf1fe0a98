"""The memory of a training step, in parts, from parameters and activations.

Known exactly: the numbers of parameters (`sizes`). Measured without a GPU: activations
(`footprint`) and the tokens of AAID's micro-batches. Assumed, as constants below: what
is needed beside tensors. `tests/bench/bench_memory.py` holds all of it against measured
peaks on the CPU; no GPU was at hand.
"""

import math
from dataclasses import dataclass, fields

from transformers import PretrainedConfig

from emolib import footprint, sizes
from emolib.footprint import ANSWER, INSTRUCTION, OWN

GIB = 2**30
FULL = 0.9  # share of a GPU that a plan may fill, since no GPU has confirmed one
FEW = 4  # rows: smaller micro-batches hardly share instructions and idle a GPU

# Over AAID's 234,040 training rows with SmolLM2's tokenizer, micro-batches as
# `batches.Sampler` orders them: 110 tokens a row, the longest 264; shared 74.5 a row in
# batches of 16 and 50.1 in batches of 256. The formula of `count_tokens` keeps within a
# tenth of what was counted (see its test). Another tokenizer makes other numbers.
LONGEST = 264
_GROUPS = 6.5  # runs of one instruction in a batch
_PADDING = 11.5  # tokens a row more with every doubling of a padded micro-batch
_SPREAD = 154  # tokens of the largest micro-batch above the mean, by m ** 0.25

# Assumed of a GPU. CONTEXT, GiB: CUDA's own, kernels, matrix products' workspace.
# SLACK, share of the activations: what the allocator cannot use, and what autocast
# keeps in float32. UTILIZATION: share of the peak speed; nf4 is unpacked first.
CONTEXT, SLACK = 0.8, 0.15
UTILIZATION = {"qlora": 0.2, "lora": 0.3, "full": 0.3}
# Measured on the CPU: glibc hardly uses again what a layer's short-lived tensors leave.
# These holes are between none and 0.6 of all layers' activations, in one case now this
# and now that, whether layers are checkpointed or not.
HOLES = 0.42


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU at the peak of a step, in parts."""

    weights: float
    constants: float  # of nf4: a scale per 64 weights
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    reserve: float  # context, slack, unpacked or gathered weights, 16-bit copies

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Job:
    """What is tuned, how and on what; the rest follows from it."""

    counts: sizes.Counts
    activations: footprint.Activations
    method: str
    precision: str
    rank: int
    gpus: int
    shared: bool  # instructions are computed once in a micro-batch, see `batches`


def prepare(
    config: PretrainedConfig,
    precision: str,
    method: str = "qlora",
    rank: int = 16,
    dropout: float = 0.05,
    gpus: int = 1,
    share: bool = True,
) -> Job:
    """The job, its parameters counted and its activations measured.

    `precision`: "bfloat16" or "float16" on a GPU, "float32" on the CPU. Rows are shared
    by decoders on one GPU alone, as `trainer` has it.
    """
    rank = 0 if method == "full" else rank
    shared = share and gpus == 1 and not config.is_encoder_decoder
    half = precision != "float32"
    activations = footprint.measure(config, shared, rank, dropout, half)
    counts = sizes.count(config)
    return Job(counts, activations, method, precision, rank, gpus, shared)


def count_tokens(micro: int, batch: int, shared: bool) -> tuple[float, float]:
    """Tokens of a micro-batch of AAID's rows: on average, and of the largest.

    `batch`: rows of an optimizer step, among which like ones stand side by side.
    """
    if not shared:
        return micro * (INSTRUCTION + OWN + ANSWER - 1 + _PADDING * math.log2(micro)), (
            micro * LONGEST
        )
    groups = min(micro, 1 + (micro - 1) * _GROUPS / batch)
    mean = micro * (OWN + ANSWER - 1) + INSTRUCTION * groups
    return mean, min(micro * LONGEST, mean + _SPREAD * micro**0.25)


def weigh(job: Job, tokens: float, answers: float, checkpointing: bool) -> Memory:
    """The memory of a step over so many tokens, `answers` of them to be predicted."""
    counts, wide = job.counts, 4 if job.precision == "float32" else 2
    layers = counts.layers
    active = job.activations.weigh(tokens, layers, checkpointing) / GIB
    # float32 logits: their log-probabilities and two gradients.
    logits = 12 * answers * counts.vocabulary / GIB
    reserve = CONTEXT + SLACK * (active + logits)
    if wide == 4:
        reserve = HOLES * job.activations.weigh(tokens, layers, False) / GIB
    if job.method == "full":
        # Weights in float32, AdamW's two moments; autocast keeps copies in 16 bit.
        share = counts.total / GIB / job.gpus
        if job.gpus > 1:  # gathered: this layer and the next, and the output
            layer = (counts.reading + counts.answering) / layers
            reserve += wide * (2 * layer + counts.head) / GIB
        elif wide == 2:
            reserve += wide * counts.total / GIB
        return Memory(4 * share, 0, 0, 4 * share, 8 * share, active, logits, reserve)
    weights, constants = _store(counts, job)
    if job.method == "qlora":
        reserve += wide * counts.largest / GIB  # unpacked, one at a time
    if wide == 2:  # autocast's copies of the adapter
        reserve += 2 * job.rank * counts.ranks / GIB
    adapter = 4 * job.rank * counts.ranks / GIB
    return Memory(
        weights, constants, adapter, adapter, 2 * adapter, active, logits, reserve
    )


def _store(counts: sizes.Counts, job: Job) -> tuple[float, float]:
    """GiB of frozen weights and of nf4's constants, double quantized."""
    wide = 4 if job.precision == "float32" else 2
    if job.method == "lora":
        packed, rest = 0, counts.total
    else:
        packed, rest = counts.quantized, counts.total - counts.quantized
    extra = 2 * counts.single if job.precision == "float16" else 0
    constants = packed / 64 * (1 + 4 / 256)
    return (packed / 2 + wide * rest + extra) / GIB, constants / GIB


def weigh_largest(job: Job, micro: int, batch: int, checkpointing: bool) -> Memory:
    """The memory of the largest of AAID's micro-batches of this many rows."""
    most = count_tokens(micro, batch, job.shared)[1]
    return weigh(job, most, micro * ANSWER, checkpointing)


def count_operations(job: Job, tokens: float, checkpointing: bool) -> float:
    """Floating-point operations of a training row that is so many tokens.

    A multiplication by a weight costs two forward, two for the gradient of what went
    in, two for the weight's own where it is tuned; checkpointing goes forward twice.
    """
    counts, full = job.counts, job.method == "full"
    passes = 2 * (2 + checkpointing + full)
    adapter = 2 * (3 + checkpointing) * job.rank * counts.ranks
    if counts.answering:  # each token goes through the encoder or the decoder
        adapter *= counts.reading / (counts.reading + counts.answering)
    last = ANSWER * passes * (counts.answering + counts.head)
    return tokens * (passes * counts.reading + adapter) + last
