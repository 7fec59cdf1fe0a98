"""How the cost grows: with items, with rows to prepare, with tasks per text.

    python tests/bench/bench_growth.py --model runs/semeval_cpu/finetune

Three sweeps, each once, largest last; saved to figures/data/bench_growth*.csv.
`predict`: the first items of a shuffled AEB through `predict.predict`, constrained,
bfloat16. `tasks`: 100 tweets asked one to sixteen things each. `prepare`: AEB built,
and a share of AAID built, tokenized and put in order for training, no model involved.
"""

import argparse
import os
import tempfile
import time

import pandas as pd
from bench_predict import merge
from measure import FIGURES, measure_machine, save

from emolib import models, runs
from emolib.data import aaid, aeb
from emolib.data.prompts import instructions, render
from emolib.inference import predict
from emolib.tasks import TASKS
from emolib.training import shared_batches


def time_predict(rows, model, tokenizer) -> dict:
    """Seconds and tokens of one run over the rows."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        predict.predict(rows, model, tokenizer, folder, progress=False)
        seconds = time.perf_counter() - start
        tokens = runs.read(folder)["tokens_computed"]
    return {"seconds": seconds, "tokens": tokens, "answers": len(rows)}


def ask_many(texts: list[str], tasks: list[str]) -> aeb.Dataset:
    """Every text under the first instruction of every task; joy where one is named."""
    made = []
    for name in tasks:
        emotion = "joy" if TASKS[name].emotions else None
        for number, text in enumerate(texts):
            row = {"id": str(number), "task": name, "emotion": emotion, "text": text}
            row["instruction"] = instructions(name)[0]
            made.append(row | {"prompt": render(row)["prompt"]})
    return aeb.Dataset.from_list(made)


def prepare(share: float, tokenizer) -> dict:
    """Builds, tokenizes and orders the first part of AAID."""
    start = time.perf_counter()
    train = aaid.build()["train"]
    rows = train[: int(share * len(train))]
    pairs = zip(rows["prompt"], rows["completion"], strict=True)
    whole = [prompt + completion for prompt, completion in pairs]
    lengths = [len(ids) for ids in tokenizer(whole).input_ids]
    keys = list(zip(rows["task"], rows["instruction"], strict=True))
    order = list(shared_batches.Sampler(64, lengths, seed=0, keys=keys))
    return {"seconds": time.perf_counter() - start, "tokens": sum(lengths), "answers": len(order)}


def sweep(given, keep) -> None:
    """Measures one after the other; `keep` is told all that was found so far."""
    tokenizer = models.load_tokenizer("smollm2-135m")
    found = []

    def note(what: str, size: float, measured: dict) -> None:
        found.append({"sweep": what, "size": size, **measured})
        print(found[-1], flush=True)
        keep(found)

    start = time.perf_counter()
    whole = aeb.build()
    seconds = time.perf_counter() - start
    note("build AEB", len(whole), {"seconds": seconds, "answers": len(whole)})
    for share in (0.1, 0.25, 0.5, 1.0):
        note("prepare", share, prepare(share, tokenizer))
    with tempfile.TemporaryDirectory() as scratch:
        folder = merge(given.model, scratch)
        model, tokenizer = models.load(folder, dtype="bfloat16")
    time_predict(whole.select(range(20)), model, tokenizer)  # warm
    texts = whole.filter(lambda row: row["task"] == "E-c")[:100]["text"]
    for count in (1, 2, 4, 8, 16):
        rows = ask_many(texts, list(TASKS)[:count])
        note("tasks", count, time_predict(rows, model, tokenizer))
    mixed = whole.shuffle(seed=0)
    for size in given.sizes:
        rows = mixed.select(range(min(size, len(mixed))))
        note("predict", len(rows), time_predict(rows, model, tokenizer))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="merged weights or a run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000, 30808])
    parser.add_argument("--out", default=FIGURES)
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    machine = measure_machine()
    settings = {"model": given.model, "sizes": given.sizes}

    def keep(found: list[dict]) -> None:
        frame = pd.DataFrame(found)
        frame["per_second"] = frame["answers"] / frame["seconds"]
        save(frame, None, "growth", machine, given.out, **settings)

    sweep(given, keep)


if __name__ == "__main__":
    main()
