"""Memory of real training steps, measured, beside what the planner says.

    python tests/bench/bench_memory.py

SmolLM2-135M on the CPU in float32, LoRA on all linear layers, two optimizer steps of
one micro-batch each, with shared instructions and without, with activation
checkpointing and without. Each case is a process of its own; its peak is the most
memory it held above what it had before the model was loaded, libraries imported
(measured_gib), and the most that was allocated in there (allocated_gib), which leaves
out the holes between. The planner is told the tokens of the largest micro-batch that
was trained on.
Saved to figures/data/bench_memory.csv and .json.

    python tests/bench/bench_memory.py --device cuda --out /tmp/bench

measures max_memory_reserved, max_memory_allocated and tokens per second of QLoRA on
Llama shapes of 1, 3, 7 and 13 billion parameters, whose weights are random and made on
the device layer by layer. It was never run: no GPU was at hand. Its way of making a
model was tried on the CPU with a shape of two layers (`--shapes tiny`).
"""

import argparse
import ctypes
import gc
import os
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from emolib import aaid, models  # first, for it keeps bitsandbytes quiet

# isort: split
import pandas as pd
import torch
from measure import FIGURES, Worker, save
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    EarlyStoppingCallback,
    LlamaConfig,
    set_seed,
)

from emolib import budget, runs

MODEL = "smollm2-135m"
RANK, DROPOUT, STEPS = 16, 0.05, 2
_MALLINFO = (
    "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
)
_WIDTHS = ("hidden_size", "intermediate_size", "num_hidden_layers")
_HEADS = ("num_attention_heads", "num_key_value_heads")
SHAPES = {
    "tiny": (64, 128, 2, 4, 4),
    "1b": (2048, 5632, 22, 32, 4),
    "3b": (3200, 8640, 26, 32, 32),
    "7b": (4096, 11008, 32, 32, 32),
    "13b": (5120, 13824, 40, 40, 40),
}


@dataclass(frozen=True)
class Case:
    """One measurement. `shape`: a name from SHAPES, or "" for SmolLM2-135M."""

    shape: str
    share: bool
    checkpointing: bool
    micro: int
    device: str


def configure(shape: str) -> LlamaConfig:
    """Llama's configuration, its vocabulary SmolLM2's, whose tokenizer is used."""
    sizes = dict(zip((*_WIDTHS, *_HEADS), SHAPES[shape], strict=True))
    return LlamaConfig(vocab_size=49152, **sizes)


def make_random(shape: str, device: str, dtype: torch.dtype):
    """A model in nf4 with random weights, never larger on the device than in nf4."""
    import bitsandbytes as bnb

    config = configure(shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    rotary = model.model.rotary_emb  # its buffers are computed, not drawn
    model.model.rotary_emb = type(rotary)(config).to(device)
    for name, module in list(model.model.named_modules()):
        if type(module) is torch.nn.Linear:
            shape = module.weight.shape
            new = bnb.nn.Linear4bit(
                *reversed(shape), False, dtype, quant_type="nf4", device="meta"
            )
            drawn = torch.randn(shape, dtype=dtype) / shape[1] ** 0.5
            new.weight = bnb.nn.Params4bit(
                drawn, requires_grad=False, quant_type="nf4", module=new
            ).to(device)
            model.model.set_submodule(name, new)
    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is not None and old.is_meta:
                drawn = torch.randn(old.shape, dtype=dtype, device=device) * 0.02
                module._parameters[name] = torch.nn.Parameter(drawn)
    models.keep_unpacked(model)
    model.is_loaded_in_4bit = True
    return model


def load(case: Case):
    """Model and tokenizer of a case."""
    if not case.shape:
        return models.load(MODEL, device=case.device)
    dtype = models.choose_precision(case.device).dtype
    model = make_random(case.shape, case.device, dtype)
    return model, models.load_tokenizer(MODEL)


class _Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLINFO.split())


class Peak(threading.Thread):
    """The most memory of this process from now on, in GiB above what it had.

    Looks every two milliseconds. `resident`: RssAnon; what is mapped from files,
    libraries among it, the system takes away and brings back as it likes. `allocated`:
    what malloc has given out (glibc), which is tensors for the most part.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self._ask = ctypes.CDLL(None).mallinfo2
        self._ask.restype = _Mallinfo
        self.before = self.most = self.read()
        self.ended = threading.Event()
        self.start()

    def read(self) -> tuple[float, float]:
        """Resident and allocated GiB now."""
        text = Path("/proc/self/status").read_text()
        found = self._ask()
        resident = int(text.partition("RssAnon:")[2].split()[0]) / 2**20  # from kB
        return resident, (found.uordblks + found.hblkhd) / 2**30

    def run(self):
        while not self.ended.wait(0.002):
            self.most = tuple(map(max, self.most, self.read()))

    def stop(self) -> dict:
        """The peaks above what was there in the beginning."""
        self.ended.set()
        above = [most - old for most, old in zip(self.most, self.before, strict=True)]
        return {"measured_gib": above[0], "allocated_gib": above[1]}


def prepare(rows: list[dict]):
    """Setup of a case's process, with all libraries imported."""
    from datasets import Dataset

    from emolib.recipe import Settings
    from emolib.trainer import make_trainer

    def work(case: Case) -> dict:
        set_seed(0)
        gc.collect()
        peak = Peak()
        model, tokenizer = load(case)
        for parameter in model.parameters():  # from the mapped file into memory
            if not case.shape:
                parameter.data = parameter.data.clone()
        tokenizer.padding_side = "right"
        chosen = Settings(
            quantization="nf4" if case.shape else None,
            max_steps=STEPS,
            batch_size=case.micro,
            micro_batch_size=case.micro,
            lora_rank=RANK,
            lora_dropout=DROPOUT,
            device=case.device,
            activation_checkpointing=case.checkpointing,
            share=case.share,
            progress=False,
        )
        some = Dataset.from_list(rows[: STEPS * case.micro])
        with tempfile.TemporaryDirectory() as folder:
            one = some.select([0])
            trainer = make_trainer(model, tokenizer, some, one, Path(folder), chosen)
            trainer.remove_callback(EarlyStoppingCallback)
            trainer.args.eval_strategy = trainer.args.save_strategy = "no"
            trainer.args.load_best_model_at_end = False
            found = watch(trainer)
        if case.device.startswith("cuda"):
            found["measured_gib"] = torch.cuda.max_memory_reserved() / 2**30
            found["allocated_gib"] = torch.cuda.max_memory_allocated() / 2**30
            return found
        del found["tokens_per_second"]  # memory is measured beside other work
        return found | peak.stop()

    return work


def watch(trainer) -> dict:
    """Trains; the tokens and answers' tokens of the largest micro-batch, and speed."""
    step, seen = trainer.training_step, []

    def note(model, inputs, *others, **named):
        forest = inputs.get("forest")
        ids = forest.ids if forest else inputs["input_ids"]
        answers = int((inputs["labels"] != -100).sum())
        start = time.perf_counter()
        loss = step(model, inputs, *others, **named)
        if loss.is_cuda:
            torch.cuda.synchronize()
        seen.append((ids.numel(), answers, time.perf_counter() - start))
        return loss

    trainer.training_step = note
    trainer.train()
    tokens, _, seconds = seen[-1]  # the first step is a warm-up
    largest = max(seen)
    return {
        "tokens": largest[0],
        "answers": largest[1],
        "tokens_per_second": tokens / seconds,
    }


def plan(case: Case, found: dict) -> dict:
    """The planner's GiB for the micro-batch that was trained on: all, and tensors."""
    config = configure(case.shape) if case.shape else _read_config()
    precision = str(models.choose_precision(case.device).dtype).removeprefix("torch.")
    method = "qlora" if case.shape else "lora"
    job = budget.prepare(config, precision, method, RANK, DROPOUT, share=case.share)
    memory = budget.weigh(job, found["tokens"], found["answers"], case.checkpointing)
    # What PyTorch reserves on a GPU is without CUDA's own context.
    outside = budget.CONTEXT if case.device.startswith("cuda") else 0
    tensors = memory.total - memory.reserve
    return {"planned_gib": memory.total - outside, "planned_tensors_gib": tensors}


def _read_config():
    return AutoConfig.from_pretrained(models.resolve(MODEL))


def list_cases(given) -> list[Case]:
    """All cases, small ones first."""
    return [
        Case(shape, share, checkpointing, micro, given.device)
        for shape in given.shapes or [""]
        for share in (True, False)
        for checkpointing in (False, True)
        for micro in given.micro
    ]


def measure(case: Case, rows: list[dict]) -> dict:
    """A row of the table: the case, what was measured and what was planned."""
    worker = Worker(str(case), prepare, rows)
    try:
        found, _ = worker.ask(case)
    finally:
        worker.close()
    found |= plan(case, found)
    found["ratio"] = found["planned_gib"] / found["measured_gib"]
    found["tensors_ratio"] = found["planned_tensors_gib"] / found["allocated_gib"]
    return asdict(case) | found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--micro", type=int, nargs="+", default=[2, 8, 16])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[])
    parser.add_argument("--out", default=FIGURES)
    given = parser.parse_args()
    if given.device.startswith("cuda") and not given.shapes:
        given.shapes = [name for name in SHAPES if name != "tiny"]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    data = "official" if os.environ.get("EMOLIB_DATA") else "sample"
    wanted = STEPS * max(given.micro)
    rows = aaid.build(data)["train"].select(range(wanted)).to_list()
    machine = runs.provenance() | {"device": given.device}
    settings = {"rank": RANK, "dropout": DROPOUT, "steps": STEPS, "data": data}
    done = []
    for case in list_cases(given):
        try:
            done.append(measure(case, rows))
        except RuntimeError as error:  # too large, for one
            print(f"left out: {error}", flush=True)
            continue
        print(pd.DataFrame(done[-1:]).to_string(header=len(done) == 1), flush=True)
        save(pd.DataFrame(done), None, "memory", machine, given.out, **settings)
    if not done:
        raise SystemExit("no case came through")
    ratios = pd.DataFrame(done)["ratio"]
    print(f"planned / measured: {ratios.min():.2f} to {ratios.max():.2f}")


if __name__ == "__main__":
    main()
