"""Evaluation, items per second and peak memory: emolib beside the other ways to do it.

The same weights, items and machine, one run, contestants in turn:

    python tests/bench/bench_predict.py --items 2000 --gguf model.gguf

Set EMOLIB_DATA to the real corpora. `--model` is a folder with merged bf16 safetensors
and tokenizer, or an adapter, which is merged once, so that all read the same bf16
weights. `--gguf` is a file of the same weights for llama.cpp, made by its own converter
(vendor/llama.cpp in the sdist of llama-cpp-python; it imports sentencepiece):

    python tests/bench/bench_predict.py --merged FOLDER --only   # merges and stops
    PYTHONPATH=gguf-py python convert_hf_to_gguf.py FOLDER --outtype bf16 --outfile FILE

Every contestant has its own process and is warm when time starts. Peak memory is the
CPU's, with imports and mapped weights. lm-evaluation-harness pays its fixed cost (about
0.6 s to load tasks and describe the machine) every round, so keep rounds large.
llama.cpp computes bf16 weights with finer activations than torch in bf16: where two
tokens are nearly as likely, answers differ (`as_greedy` counts the equal ones).
"""

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from contestants import (
    load_emolib,
    load_harness,
    load_llama,
    load_pipeline,
    load_reference,
    load_vllm,
)
from measure import FIGURES, Worker, measure_machine, run_in_turn, save, summarize

OURS, GREEDY = "emolib", "transformers greedy"


def check_tokens(folder: str, rows: list[dict]) -> int:
    """The longest prompt in tokens; llama.cpp's tokenizer must give equal ids."""
    from tokenizers import Tokenizer

    from emolib import models

    prompts = [row["prompt"] for row in rows]
    wanted = models.load_tokenizer(folder)(prompts).input_ids
    found = Tokenizer.from_file(f"{folder}/tokenizer.json").encode_batch(prompts)
    if wanted != [each.ids for each in found]:
        raise SystemExit(f"{folder}: tokenizer.json gives other ids than transformers")
    return max(map(len, wanted))


def merge(name: str, folder: str) -> str:
    """The folder of merged bf16 weights: `name` if it is one, else made in `folder`."""
    import torch

    from emolib import models

    if (Path(name) / "config.json").is_file():
        return name
    model, tokenizer = models.load(name, device="cpu", dtype="float32")
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def draw_rounds(benchmark: str, items: int, rounds: int, seed: int) -> list[list[dict]]:
    """The items of each round, in file order: of every task its share of the whole."""
    from emolib.data import aeb
    from emolib.tasks import AAID

    rows = aeb.build(list(AAID) if benchmark == "AEB-1" else None)
    tasks = np.array(rows["task"])
    place = np.empty(len(rows))
    chance = np.random.default_rng(seed)
    for task in dict.fromkeys(tasks):
        # Every task's items lie evenly between 0 and 1, so any slice is a fair draw.
        (own,) = np.nonzero(tasks == task)
        place[chance.permutation(own)] = (np.arange(len(own)) + 0.5) / len(own)
    slices = np.array_split(np.argsort(place, kind="stable")[:items], rounds)
    return [rows.select(np.sort(each)).to_list() for each in slices]


def list_contestants(folder: str, gguf: str | None, context: int) -> dict:
    """name -> (setup, its arguments), or why it does not run here."""
    import torch

    found = {
        OURS: (load_emolib, folder, "constrained"),
        "reference": (load_reference, folder),
        GREEDY: (load_emolib, folder, "generate"),
        "transformers pipeline": (load_pipeline, folder),
        "lm-eval": (load_harness, folder),
    }
    llama = "no --gguf given"
    if gguf:
        llama = (load_llama, gguf, folder, context)
        if not importlib.util.find_spec("llama_cpp"):
            llama = "llama-cpp-python is not installed"
    vllm = (load_vllm, folder)
    if not importlib.util.find_spec("vllm"):
        vllm = "vllm is not installed"
    if not torch.cuda.is_available():
        vllm = "no GPU"
    for name, limit in (("llama.cpp", None), ("llama.cpp, one token", 1)):
        found[name] = llama if isinstance(llama, str) else (*llama, limit)
    return found | {"vLLM": vllm}


def start(contestants: dict, warm_up: list[dict]) -> dict[str, Worker]:
    """The contestants that load and answer a few items, which is not timed."""
    workers = {}
    for name, found in contestants.items():
        if isinstance(found, str):
            print(f"  {name}: not run: {found}", flush=True)
            continue
        try:
            workers[name] = Worker(name, *found)
            workers[name].ask(warm_up)
        except RuntimeError as error:
            print(f"  left out: {error}", flush=True)
            if name in workers:
                workers.pop(name).close()
        else:
            print(f"  {name}: ready, {workers[name].peak_gib:.2f} GiB", flush=True)
    return workers


def grade(frame, rounds: list[list[dict]], machine: dict):
    """The frame with three shares in place of the responses.

    `answered`: of items with a readable answer; `as_greedy`: of items read as those of
    greedy generation; `of_bf16_limit`: of the machine's measured matrix products, on
    the tokens that have to be computed (where a run says how many).
    """
    from emolib.data import parsing, prompts

    read = {}
    for row in frame.itertuples():
        items = zip(rounds[row.round - 1], row.responses, strict=True)
        read[row.contestant, row.round] = [
            parsing.parse(
                item["task"], response, prompts.read_range(item["task"], item["instruction"])
            )
            for item, response in items
        ]
    graded = frame.drop(columns="responses")
    values = list(read.values())
    graded["answered"] = [np.mean([v is not None for v in found]) for found in values]
    greedy = [read.get((GREEDY, number)) for number in frame["round"]]
    graded["as_greedy"] = [
        np.mean([a == b for a, b in zip(found, other, strict=True)]) if other else np.nan
        for found, other in zip(values, greedy, strict=True)
    ]
    if "matrix_flops" in frame:
        rate = frame["matrix_flops"] / frame["seconds"] / 1e9
        graded["of_bf16_limit"] = rate / machine["bf16_gflops"]
    return graded


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="runs/semeval_cpu/finetune")
    parser.add_argument("--merged", help="where merged weights stay; default: nowhere")
    parser.add_argument("--gguf", help="the same weights for llama.cpp")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", choices=("AEB", "AEB-1"), default="AEB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="contestants' names; default: all")
    parser.add_argument("--out", default=FIGURES)
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # bars of every round would hide the results
    with tempfile.TemporaryDirectory() as scratch:
        folder = merge(given.model, given.merged or scratch)
        if given.only != []:
            compare(given, folder)


def compare(given, folder: str) -> None:
    rounds = draw_rounds(given.tasks, given.items, given.rounds, given.seed)
    longest = check_tokens(folder, [row for each in rounds for row in each])
    contestants = list_contestants(folder, given.gguf, longest + 64)
    if given.only is not None:
        if unknown := set(given.only) - set(contestants):
            raise SystemExit(f"no contestant {unknown}: there are {list(contestants)}")
        contestants = {name: contestants[name] for name in given.only}
    machine = measure_machine()
    print(json.dumps(machine, indent=1))
    settings = {k: str(value) for k, value in vars(given).items() if k != "out"}
    print(f"{given.items} items of {given.tasks} in {given.rounds} rounds", flush=True)
    workers = start(contestants, rounds[0][:4])

    def keep(frame, summary=None):
        graded = grade(frame, rounds, machine)
        save(graded, summary, "predict", machine, given.out, **settings)

    frame = run_in_turn(workers, rounds, len, after=keep)
    for worker in workers.values():
        worker.close()
    if frame.empty:
        raise SystemExit("no contestant came through a round")
    graded = grade(frame, rounds, machine)
    shares = [c for c in ("answered", "as_greedy", "of_bf16_limit") if c in graded]
    summary = summarize(graded, OURS).merge(
        graded.groupby("contestant")[shares].median(), on="contestant"
    )
    keep(frame, summary)
    print(summary.to_string(index=False, float_format="%.3f"))
    print(f"ratio: {OURS} / contestant, median (least, greatest) over rounds")


if __name__ == "__main__":
    main()
