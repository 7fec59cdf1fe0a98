"""Training, examples per second at equal loss and peak memory: ours beside others.

The same weights, rows, LoRA, optimizer and schedule, on the CPU, contestants in turn:

    python tests/bench/bench_train.py --rows 640 --rounds 3 --out /tmp/bench

Every round gives all contestants the same rows of AAID, one instruction for each text
(its first tenth, see `aaid.build`; real corpora where EMOLIB_DATA is set). Each trains
one epoch from the base model on, with an adapter drawn from the same seed, and is
scored by one function on the same validation rows. The clock runs from the end of the
first optimizer step to the end of the last: loading, tokenizing, scoring are not in it.
Peak memory is the process's whole, with imports and loading.

`TRL` is SFTTrainer as it comes; only what the comparison fixes is set (`list_fixed`),
among it no activation checkpointing, which is TRL's default and saves memory for time.
`TRL, sorted` groups rows by length over the epoch, which changes what a batch holds.
`TRL, packing` has one pack in a forward pass, and packs enough for about `--batch` rows
in an optimizer step: its number of rows per step varies.

`reference loop` is the authors' (src/sft_train.py in lzw108/EmoLLMs): transformers'
Trainer and its sequence-to-sequence collator, rows in random order padded on the left
to the longest, every position through the language-model head, weights in fp32, as they
come on a CPU. Not kept, to compare like with like: LoRA instead of all weights and
DeepSpeed; our learning rate, batch and micro-batch instead of 1e-6, 256 and 128; no
activation checkpointing; today's transformers.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial

from emolib import files, models
from emolib.data import aaid
from emolib.models import tokens  # first: keeps bitsandbytes quiet

# isort: split
import pandas as pd
import torch
from datasets import Dataset
from measure import FIGURES, Worker, measure_machine, run_in_turn, save, summarize
from transformers import PrinterCallback, TrainerCallback, set_seed

OURS = "emolib"
MODEL = "smollm2-135m"
RANK, ALPHA, RATE, DECAY, WARMUP = 16, 32, 1e-3, 1e-5, 0.05


@dataclass(frozen=True)
class Plan:
    """What is equal for all contestants."""

    batch: int  # rows in an optimizer step
    micro: int  # rows in a forward pass
    pack: int  # tokens of a pack, and the longest row
    seed: int


def load_base(dtype: str, seed: int):
    """Model and tokenizer; the seed is set last, so that all draw the same adapter."""
    model, tokenizer = models.load(MODEL, device="cpu", dtype=dtype)
    set_seed(seed)
    return model, tokenizer


def list_fixed(plan: Plan, folder: str) -> dict:
    """The Trainer's arguments that decide what is learnt, and no side shows."""
    return {
        "output_dir": folder,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": WARMUP,  # below 1 it is a share
        "weight_decay": DECAY,
        "per_device_train_batch_size": plan.micro,
        "gradient_accumulation_steps": plan.batch // plan.micro,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": plan.seed,
        "use_cpu": True,
        "bf16": False,  # TRL's contestants and ours compute in it: their default
        "report_to": "none",
        "disable_tqdm": True,
    }


def make_lora():
    """The adapter's configuration."""
    from peft import LoraConfig

    return LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def make_emolib(rows: Dataset, plan: Plan, folder: str, share: bool):
    """Our trainer, its steps alone: a run's validations and checkpoints left out."""
    from trl import SFTConfig

    from emolib.training.sft_trainer import SharedPromptTrainer

    model, tokenizer = load_base("bfloat16", plan.seed)
    tokenizer.padding_side = "right"
    rows, _ = tokens.keep_short(rows, tokenizer, 2048)
    arguments = list_fixed(plan, folder) | {"bf16": True, "max_length": None}
    return SharedPromptTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=rows,
        eval_dataset=rows.select([0]),
        processing_class=tokenizer,
        peft_config=make_lora(),
        share=share,
    )


def make_trl(rows: Dataset, plan: Plan, folder: str, **options):
    """TRL's SFTTrainer with `options` beside what is fixed for all."""
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load_base("bfloat16", plan.seed)
    return SFTTrainer(
        model=model,
        args=SFTConfig(**list_fixed(plan, folder) | {"bf16": True} | options),
        train_dataset=rows.select_columns(["prompt", "completion"]),
        processing_class=tokenizer,
        peft_config=make_lora(),
    )


def make_packing(rows: Dataset, plan: Plan, folder: str):
    """TRL with rows packed by best fit, one pack per forward pass."""
    from trl import pack_dataset

    tokenizer = models.load_tokenizer(MODEL)
    ids = [encode(tokenizer, row)[0] for row in rows]
    packs = len(pack_dataset(Dataset.from_dict({"input_ids": ids}), plan.pack, "bfd"))
    return make_trl(
        rows,
        plan,
        folder,
        packing=True,
        packing_strategy="bfd",
        max_length=plan.pack,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, round(packs * plan.batch / len(rows))),
    )


def make_reference(rows: Dataset, plan: Plan, folder: str):
    """The authors' loop; what is kept of it stands on top of this file."""
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model, tokenizer = load_base("float32", plan.seed)
    encoded = []
    for row in rows:
        ids, start = encode(tokenizer, row)
        encoded.append({"input_ids": ids, "labels": [-100] * start + ids[start:]})
    return Trainer(
        model=get_peft_model(model, make_lora()),
        args=TrainingArguments(**list_fixed(plan, folder)),
        train_dataset=Dataset.from_list(encoded),
        data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8),
    )


def encode(tokenizer, row: dict) -> tuple[list[int], int]:
    """A row's tokens up to end-of-text, and where its completion begins."""
    whole = row["prompt"] + row["completion"] + tokenizer.eos_token
    return tokenizer(whole).input_ids, len(tokenizer(row["prompt"]).input_ids)


def count_rows(inputs: dict) -> int:
    """Training rows in a micro-batch of any contestant's form."""
    if "forest" in inputs:  # ours, shared
        return len(inputs["forest"].ends)
    if "cu_seq_lens_q" in inputs:  # packed: where rows begin, and the end
        return len(inputs["cu_seq_lens_q"]) - 1
    return len(inputs["labels"])


class Clock(TrainerCallback):
    """When each optimizer step ended, and how many rows it trained on."""

    def __init__(self, trainer):
        self.ends, self.rows = [], [0]
        step = trainer.training_step

        def count(model, inputs, *others, **named):
            self.rows[-1] += count_rows(inputs)
            return step(model, inputs, *others, **named)

        trainer.training_step = count

    def on_step_end(self, *_, **__):
        self.ends.append(time.perf_counter())
        self.rows.append(0)


def contest(make, validation: list[dict]):
    """Setup of a contestant's process; `make(rows, plan, folder)` gives its trainer."""

    def work(payload) -> dict:
        rows, plan = payload
        gc.collect()  # the round before
        with tempfile.TemporaryDirectory() as folder:
            trainer = make(Dataset.from_list(rows), plan, folder)
            found = train(trainer, len(rows))
        tokenizer = models.load_tokenizer(MODEL)
        found["validation_nll"] = score(trainer.model, tokenizer, validation)
        del trainer
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # room for the others
            ctypes.CDLL(None).malloc_trim(0)
        return found

    return work


def train(trainer, rows: int) -> dict:
    """Trains and says how fast: steps after the first one, rows counted as they come.

    `loss`: of each optimizer step, in nats per completion token.
    """
    trainer.remove_callback(PrinterCallback)
    clock = Clock(trainer)
    trainer.add_callback(clock)
    trainer.train()
    if sum(clock.rows) != rows:
        raise RuntimeError(f"trained on {sum(clock.rows)} rows of {rows}")
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    items, seconds = sum(clock.rows[1:]), clock.ends[-1] - clock.ends[0]
    return {
        "items": items,
        "seconds": seconds,
        "per_second": items / seconds,
        "steps": len(clock.ends),
        "train_loss": losses[-1],
        "loss": losses,
    }


@torch.inference_mode()
def score(model, tokenizer, rows: list[dict], size: int = 4) -> float:
    """Mean negative log-likelihood of the completions' tokens, in nats.

    A plain forward pass of padded rows, in fp32 for all contestants: after two steps
    the same adapter scored 0.17 nats worse in bf16, whichever way it was trained.
    """
    model.float().eval()
    encoded = sorted((encode(tokenizer, row) for row in rows), key=lambda e: len(e[0]))
    total, count = 0.0, 0
    for first in range(0, len(encoded), size):
        part = encoded[first : first + size]
        longest = max(len(ids) for ids, _ in part)
        inputs = torch.full((len(part), longest), tokenizer.pad_token_id)
        labels = torch.full((len(part), longest), -100)
        mask = torch.zeros_like(inputs)
        for line, (ids, start) in enumerate(part):
            inputs[line, : len(ids)] = torch.tensor(ids)
            labels[line, start : len(ids)] = torch.tensor(ids[start:])
            mask[line, : len(ids)] = 1
        logits = model(input_ids=inputs, attention_mask=mask, use_cache=False).logits
        wanted = labels[:, 1:] != -100
        likely = logits[:, :-1][wanted].float().log_softmax(-1)
        total -= likely.gather(1, labels[:, 1:][wanted][:, None]).sum().item()
        count += int(wanted.sum())
    return total / count


CONTESTANTS = {
    OURS: partial(make_emolib, share=True),
    "emolib, unshared": partial(make_emolib, share=False),
    "TRL": make_trl,
    "TRL, sorted": partial(make_trl, train_sampling_strategy="group_by_length"),
    "TRL, packing": make_packing,
    "reference loop": make_reference,
}


def draw(given) -> tuple[list, list[dict]]:
    """The payload of each round, rows and plan, and the validation rows."""
    data = "official" if os.environ.get("EMOLIB_DATA") else "sample"
    built = aaid.build(data, given.seed)
    wanted = {"train": given.rows * given.rounds, "validation": given.validation}
    found = {}
    for name, count in wanted.items():
        if count > len(built[name]) // 10:
            raise SystemExit(f"{count} {name} rows: more than AAID has texts ({data})")
        rows, tokenizer = built[name].select(range(count)), models.load_tokenizer(MODEL)
        found[name], cut = tokens.keep_short(rows, tokenizer, given.pack)
        if cut:
            raise SystemExit(f"{cut} {name} rows are longer than --pack {given.pack}")
    train = found["train"].to_list()
    payloads = []
    for number in range(given.rounds):
        plan = Plan(given.batch, given.micro, given.pack, given.seed + number)
        payloads.append((train[number * given.rows : (number + 1) * given.rows], plan))
    return payloads, found["validation"].to_list()


def start(names: list[str], validation: list[dict]) -> dict[str, Worker]:
    """The contestants' processes, as far as they start."""
    workers = {}
    for name in names:
        try:
            workers[name] = Worker(name, contest, CONTESTANTS[name], validation)
        except RuntimeError as error:
            print(f"  left out: {error}", flush=True)
    return workers


def list_losses(frame: pd.DataFrame) -> pd.DataFrame:
    """The loss curves: contestant, round, step from 1 on, loss of that step."""
    curves = frame[["contestant", "round", "loss"]].explode("loss", ignore_index=True)
    curves["step"] = curves.groupby(["contestant", "round"]).cumcount() + 1
    return curves[["contestant", "round", "step", "loss"]]


def add_losses(summary: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The summary with medians of the losses; `nll_over_ours` is each round's own."""
    ours = frame[frame["contestant"] == OURS].set_index("round")["validation_nll"]
    over = frame["validation_nll"] - frame["round"].map(ours)
    names = ["steps", "train_loss", "validation_nll", "nll_over_ours"]
    losses = frame.assign(nll_over_ours=over).groupby("contestant")[names].median()
    return summary.merge(losses, on="contestant")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=640, help="in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64, help="rows per optimizer step")
    parser.add_argument("--micro", type=int, default=8, help="rows per forward pass")
    parser.add_argument("--pack", type=int, default=1024, help="tokens of a pack")
    parser.add_argument("--validation", type=int, default=320, help="rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--out", default=FIGURES)
    given = parser.parse_args()
    if given.batch % given.micro or given.rows % given.batch:
        parser.error("--micro must divide --batch, and --batch must divide --rows")
    if given.rows < 2 * given.batch:
        parser.error("--rows: the first optimizer step is not timed, so two at least")
    os.environ["TQDM_DISABLE"] = "1"  # bars of every round would hide the results
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    compare(given)


def compare(given) -> None:
    payloads, validation = draw(given)
    machine = measure_machine()
    print(json.dumps(machine, indent=1))
    settings = {k: value for k, value in vars(given).items() if k != "out"}
    settings |= {"only": list(given.only), "model": MODEL, "lora_rank": RANK}
    workers = start(list(given.only), validation)

    def keep(frame, summary=None):
        curves, rounds = list_losses(frame), frame.drop(columns="loss")
        save(rounds, summary, "train", machine, given.out, **settings)
        text = curves.to_csv(index=False, float_format="%.6g")
        files.write_text(f"{given.out}/bench_train_loss.csv", text)
        shown = rounds[rounds["round"] == rounds["round"].max()]
        if summary is None:
            print(shown.to_string(index=False, float_format="%.3f"), flush=True)

    frame = run_in_turn(workers, payloads, lambda payload: len(payload[0]), after=keep)
    for worker in workers.values():
        worker.close()
    if frame.empty:
        raise SystemExit("no contestant came through a round")
    summary = add_losses(summarize(frame, OURS), frame)
    keep(frame, summary)
    print(summary.to_string(index=False, float_format="%.3f"))
    print(f"ratio: {OURS} / contestant, median (least, greatest) over rounds")


if __name__ == "__main__":
    main()
