"""The ways to answer the benchmark that bench_predict.py compares.

Each `load_*` runs in a process of its own and returns `work(rows) -> result`.
"""

import contextlib
import json
import logging
import os
import tempfile
from pathlib import Path

from measure import count_cores


def load_emolib(folder: str, method: str):
    """`predict.predict` in bf16; `method` "generate" is plain greedy generation."""
    import torch
    from datasets import Dataset

    from emolib import models, runs
    from emolib.inference import predict

    model, tokenizer = models.load(folder, dtype="bfloat16")
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    head = model.get_output_embeddings()
    parameters = sum(m.weight.numel() for m in linear if m is not head)

    def work(rows):
        with tempfile.TemporaryDirectory() as run:
            frame = predict.predict(
                Dataset.from_list(rows), model, tokenizer, run=run, method=method, progress=False
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

    from emolib import models
    from emolib.inference import predict

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
    generate = pipeline("text-generation", model=folder, tokenizer=tokenizer, dtype=torch.bfloat16)
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

    from emolib.publishing import lm_eval_export

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = HFLM(folder, dtype="bfloat16", batch_size=32, device=device)

    def work(rows):
        with tempfile.TemporaryDirectory() as parent, _hush():
            names = lm_eval_export.export(Dataset.from_list(rows), f"{parent}/aeb")
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=names,
                task_manager=TaskManager(include_path=f"{parent}/aeb", include_defaults=False),
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
    model = Llama(gguf, n_ctx=context, n_threads=cores, n_threads_batch=cores, verbose=False)
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
