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
import contextlib
import importlib.util
import json
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from measure import (
    FIGURES,
    Worker,
    count_cores,
    measure_machine,
    run_in_turn,
    save,
    summarize,
)

OURS, GREEDY = "emolib", "transformers greedy"


def load_emolib(folder: str, method: str):
    """`predict.predict` in bf16; `method` "generate" is plain greedy generation."""
    import torch
    from datasets import Dataset

    from emolib import models, predict, runs

    model, tokenizer = models.load(folder, dtype="bfloat16")
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    head = model.get_output_embeddings()
    parameters = sum(m.weight.numel() for m in linear if m is not head)

    def work(rows):
        with tempfile.TemporaryDirectory() as run:
            frame = predict.predict(
                Dataset.from_list(rows),
                model,
                tokenizer,
                run=run,
                method=method,
                progress=False,
            )
            tokens = runs.read(run).get("tokens_computed")
        found = {"responses": list(frame["response"])}
        # Matrix products of the tokens that have to be computed, the LM head left out.
        return found | ({"matrix_flops": 2 * parameters * tokens} if tokens else {})

    return work


def load_reference(folder: str):
    """The authors' way: sampled, 256 new tokens, 16 at a time in file order, fp32."""
    import torch
    from transformers import GenerationConfig

    from emolib import models, predict

    dtype = None if torch.cuda.is_available() else "float32"
    model, tokenizer = models.load(folder, dtype=dtype)
    config = GenerationConfig(
        **predict.DECODINGS["paper"],
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
    )

    def work(rows):
        torch.manual_seed(0)
        texts = []
        for start in range(0, len(rows), 16):
            prompts = [row["prompt"] for row in rows[start : start + 16]]
            inputs = tokenizer(prompts, padding=True, return_tensors="pt")
            inputs = inputs.to(model.device)
            with torch.inference_mode():
                output = model.generate(**inputs, generation_config=config)
            new = output[:, inputs["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
        return {"responses": texts}

    return work


def load_pipeline(folder: str):
    """transformers' text-generation pipeline, greedy, one budget for all tasks."""
    import torch
    from transformers import pipeline

    from emolib import models

    tokenizer = models.load_tokenizer(folder)  # pads on the left, as generation needs
    generate = pipeline(
        "text-generation", model=folder, tokenizer=tokenizer, dtype=torch.bfloat16
    )
    options = {"do_sample": False, "max_new_tokens": 40, "return_full_text": False}

    def work(rows):
        found = generate([row["prompt"] for row in rows], batch_size=16, **options)
        return {"responses": [each[0]["generated_text"] for each in found]}

    return work


def load_harness(folder: str):
    """lm-evaluation-harness on exported tasks; asked for answers, not for scores."""
    import lm_eval
    import torch
    from datasets import Dataset
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from emolib import harness

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = HFLM(folder, dtype="bfloat16", batch_size=32, device=device)

    def work(rows):
        with tempfile.TemporaryDirectory() as parent, _hush():
            names = harness.export(Dataset.from_list(rows), f"{parent}/aeb")
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=names,
                task_manager=TaskManager(
                    include_path=f"{parent}/aeb", include_defaults=False
                ),
                batch_size=32,
                bootstrap_iters=0,
                predict_only=True,
            )
        # A task's items were exported in the order of the rows.
        answers = {}
        for name, samples in found["samples"].items():
            samples = sorted(samples, key=lambda sample: sample["doc_id"])
            answers[name] = iter([sample["filtered_resps"][0] for sample in samples])
        return {"responses": [next(answers[f"aeb_{row['task']}"]) for row in rows]}

    return work


@contextlib.contextmanager
def _hush():
    """Keeps progress bars that cannot be turned off out of the results."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def load_llama(gguf: str, folder: str, context: int, limit: int | None):
    """llama.cpp, greedy; prompts sorted, so that it keeps what two in a row share.

    The tokens go in as ids (see `check_tokens`). `limit` cuts every answer.
    """
    from llama_cpp import Llama
    from tokenizers import Tokenizer

    from emolib.tasks import get

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    cores = count_cores()
    model = Llama(
        gguf, n_ctx=context, n_threads=cores, n_threads_batch=cores, verbose=False
    )
    ends = read_ends(folder) or {model.token_eos()}

    def work(rows):
        found = tokenizer.encode_batch([row["prompt"] for row in rows])
        prompts = [each.ids for each in found]
        texts = [""] * len(rows)
        for index in sorted(range(len(rows)), key=lambda i: prompts[i]):
            budget = limit or get(rows[index]["task"]).max_new_tokens
            new: list[int] = []
            for token in model.generate(prompts[index], temp=0.0):
                if token in ends:
                    break
                new.append(token)
                if len(new) == budget:
                    break
            texts[index] = tokenizer.decode(new)
        return {"responses": texts}

    return work


def load_vllm(folder: str):
    """vLLM, greedy, bf16, its own batching."""
    from vllm import LLM, SamplingParams

    from emolib.tasks import get

    # Other contestants hold the same card.
    model = LLM(folder, dtype="bfloat16", gpu_memory_utilization=0.4)

    def work(rows):
        budgets = [get(row["task"]).max_new_tokens for row in rows]
        asked = [SamplingParams(temperature=0.0, max_tokens=n) for n in budgets]
        found = model.generate([row["prompt"] for row in rows], asked, use_tqdm=False)
        return {"responses": [each.outputs[0].text for each in found]}

    return work


def read_ends(folder: str) -> set[int]:
    """The tokens that end an answer, as generation in transformers reads them."""
    path = Path(folder) / "generation_config.json"
    found = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    return set(found if isinstance(found, list) else [found]) - {None}


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
    from emolib import aeb
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
    from emolib import answers, prompts

    read = {}
    for row in frame.itertuples():
        items = zip(rounds[row.round - 1], row.responses, strict=True)
        read[row.contestant, row.round] = [
            answers.parse(
                item["task"],
                response,
                prompts.read_range(item["task"], item["instruction"]),
            )
            for item, response in items
        ]
    graded = frame.drop(columns="responses")
    values = list(read.values())
    graded["answered"] = [np.mean([v is not None for v in found]) for found in values]
    greedy = [read.get((GREEDY, number)) for number in frame["round"]]
    graded["as_greedy"] = [
        np.mean([a == b for a, b in zip(found, other, strict=True)])
        if other
        else np.nan
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
