"""What a plan says: its settings, its memory in parts, and why; what else would fit."""

from dataclasses import replace

from transformers import PretrainedConfig

from emolib import budget, series, sizes
from emolib.budget import FEW, FULL, UTILIZATION, Job, weigh_largest
from emolib.gpus import GPUS


def describe(found) -> str:
    """A `plan.Plan` as text: the verdict, what to set, the memory in parts, and why."""
    many = f"{found.gpus} x " if found.gpus > 1 else ""
    verdict = "fits" if found.fits else "does not fit"
    lines = [
        f"{found.model}, {found.method}: {verdict} {many}{found.gpu.name}",
        "",
        f"  precision                 {found.precision}",
        f"  quantization              {found.quantization or 'none'}",
        f"  batch_size                {found.batch_size}",
        f"  micro_batch_size          {found.micro_batch_size}",
        f"  activation_checkpointing  {found.activation_checkpointing}",
        "",
    ]
    parts = vars(found.memory) | {"in all": found.memory.total}
    lines += [f"  {name:12} {size:8.2f} GiB" for name, size in parts.items() if size]
    if found.hours is not None:
        lines.append(
            f"  {found.rows:,} rows, {found.epochs:g} epochs: {found.hours:.1f} hours"
        )
    return "\n".join([*lines, "", *found.why])


def explain_plan(found, job: Job, config: PretrainedConfig) -> tuple[str, ...]:
    """Why a `plan.Plan` is what it is, in sentences."""
    total, room = found.memory.total, found.gpu.memory_gib
    name, counts = found.gpu.name, job.counts
    told = [f"The configuration has {counts.total / 1e9:.3f} billion parameters."]
    if found.fits:
        told.append(f"A step takes about {total:.1f} of {room:.1f} GiB on {name}.")
        told.append(_explain_choice(found, job))
    else:
        most = max(vars(found.memory), key=vars(found.memory).get)
        told.append(
            f"It does not fit {name}: one row at a time, with activation checkpointing,"
            f" takes about {total:.1f} of {room:.1f} GiB, most of it {most}; a plan"
            f" fills {FULL:.0%} at most."
        )
        told += _suggest(found, job, config)
    if found.method == "full":
        divided = f", divided among {job.gpus} GPUs" if job.gpus > 1 else ""
        told.append(
            "Full tuning holds 16 bytes a parameter: weight, gradient and AdamW's two"
            f" moments, all in float32{divided}."
        )
    if found.precision == "float16":
        told.append(f"{name} has no bfloat16, so it computes in float16.")
    how = "with instructions shared" if job.shared else "with padding"
    told.append(
        f"A row of AAID is {found.tokens_per_row:.0f} tokens {how}; memory is that of"
        " the largest micro-batch, time that of the mean one."
    )
    return (*told, _explain_time(found))


def _explain_choice(found, job: Job) -> str:
    if not found.activation_checkpointing:
        return "That is without activation checkpointing, which would cost time."
    plain = weigh_largest(
        job, min(FEW, found.micro_batch_size), found.batch_size, False
    ).total
    return (
        f"Without activation checkpointing {min(FEW, found.micro_batch_size)} rows"
        f" would take {plain:.1f} GiB, so it is on; a forward pass more."
    )


def _explain_time(found) -> str:
    if found.seconds is None:
        return "Of a number of GiB the speed is not known, so no time is given."
    share = UTILIZATION[found.method]
    peak = f"{found.gpu.tflops:.3g} TFLOPS ({found.gpu.source})"
    return (
        f"The {found.hours:.1f} hours, without validation, assume {share:.0%} of"
        f" {peak}: no GPU timing was measured by this project."
    )


def _suggest(found, job: Job, config: PretrainedConfig) -> list[str]:
    """What would fit instead."""
    room, told = FULL * found.gpu.memory_gib, []

    def takes(other: Job) -> float:
        return weigh_largest(other, 1, found.batch_size, True).total

    if job.method == "full":
        divided = (2**n for n in range(1, 8) if 2**n > job.gpus)
        enough = (n for n in divided if takes(replace(job, gpus=n)) <= room)
        if number := next(enough, None):
            told.append(f"{number} such GPUs would hold it.")
    cards = sorted(GPUS.values(), key=lambda card: card.memory_gib)
    if card := next(
        (c for c in cards if found.memory.total <= FULL * c.memory_gib), None
    ):
        told.append(f"On {card.name} ({card.memory_gib:g} GiB) it would fit.")
    if job.method != "qlora":
        other = budget.prepare(config, job.precision, "qlora")
        if takes(other) <= room:
            return [*told, f"Method qlora takes {takes(other):.1f} GiB and would fit."]
    smaller = sorted(
        ((member, member.configure()) for member in series.SERIES.values()),
        key=lambda pair: -sizes.count(pair[1]).total,
    )
    for member, shape in smaller:
        fewer = sizes.count(shape).total < job.counts.total
        if fewer and takes(budget.prepare(shape, job.precision, "qlora")) <= room:
            return [*told, f"A smaller model such as {member.name} fits with qlora."]
    return told
