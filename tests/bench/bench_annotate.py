"""Annotating, texts per second and peak memory: one pass, eleven prompts, encoders, a lexicon.

The same texts and machine, one run, contestants in turn:

    python tests/bench/bench_annotate.py --texts 300 --rounds 3

Set EMOLIB_DATA: the texts are drawn from SemEval-2018's test file of E-c. `--profile` and
`--prompts` are models that `emolib annotate` takes, tuned on profiles and on AAID. The encoders
have BERT-base's size, random weights and a head of sixteen outputs, which is enough to time them;
ONNX Runtime takes part where onnx, onnxscript and onnxruntime are installed. An encoder gives the
sixteen numbers of a profile and no distribution behind them. Every contestant has a process of its
own and is warm when time starts.
"""

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path

from measure import FIGURES, Worker, count_cores, measure_machine, run_in_turn, save, summarize

OURS = "emolib, one pass"
HEADS = 16


def load_annotator(model: str, dtype: str | None):
    """`emolib.Annotator`, every text new to it; tokens and products of a profile counted."""
    import torch

    from emolib import Annotator
    from emolib.data import profiles
    from emolib.inference import profile

    annotator = Annotator(model, progress=False, **({"dtype": dtype} if dtype else {}))
    backend = annotator._backend
    products = 0
    if getattr(backend, "form", None) == profiles.PROFILE:
        linear = [m for m in backend.model.modules() if isinstance(m, torch.nn.Linear)]
        head = backend.model.get_output_embeddings()
        products = 2 * sum(m.weight.numel() for m in linear if m is not head)
        branches = len(profile.make_reader(backend.tokenizer).branches)

    def work(texts):
        annotator._known.clear()
        annotator(texts)
        if not products:
            return {}
        ids = backend.tokenizer([profiles.render(text) for text in texts]).input_ids
        tokens = sum(map(len, ids)) + branches * len(texts)
        return {"tokens_per_text": tokens / len(texts), "matrix_flops": products * tokens}

    return work


def make_encoder():
    """A base-size encoder with random weights, and a tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from emolib.models import catalog

    torch.manual_seed(0)
    place = catalog.locate_package(catalog.ENCODERS["minilm"])
    tokenizer = AutoTokenizer.from_pretrained(place)
    config = BertConfig(vocab_size=len(tokenizer), num_labels=HEADS)
    return BertForSequenceClassification(config).eval(), tokenizer


def load_pipeline(batch: int):
    """transformers' pipeline, `batch` texts at a time in the order given."""
    from transformers import pipeline

    model, tokenizer = make_encoder()
    made = pipeline("text-classification", model, tokenizer=tokenizer, top_k=None)

    def work(texts):
        made(list(texts), batch_size=batch, truncation=True)
        return {}

    return work


def load_onnx(int8: bool):
    """ONNX Runtime, 32 texts at a time, those of like length together."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import quantize_dynamic

    model, tokenizer = make_encoder()
    folder = Path(tempfile.mkdtemp())
    example = dict(tokenizer(["one", "one and two"], padding=True, return_tensors="pt"))
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "texts", 1: "tokens"} for name in names}
    given = tuple(example[name] for name in names)
    how = {"input_names": names, "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(model, given, folder / "model.onnx", dynamo=False, **how)
    path = folder / "model.onnx"
    if int8:
        quantize_dynamic(path, folder / "int8.onnx")
        path = folder / "int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    session = onnxruntime.InferenceSession(path, options)

    def work(texts):
        order = sorted(texts, key=len)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            found = tokenizer(batch, padding=True, truncation=True, return_tensors="np")
            session.run(None, {name: found[name] for name in names})
        return {}

    return work


def list_contestants(profile: str, prompts: str, dtype: str | None) -> dict:
    """name -> (setup, its arguments), or why it does not run here."""
    found = {
        OURS: (load_annotator, profile, dtype),
        "emolib, eleven prompts": (load_annotator, prompts, dtype),
        "encoder, one by one": (load_pipeline, 1),
        "encoder, batches of 32": (load_pipeline, 32),
        "encoder, ONNX float32": (load_onnx, False),
        "encoder, ONNX int8": (load_onnx, True),
        "VADER, valence alone": (load_annotator, "vader", None),
    }
    needed = ("onnx", "onnxruntime", "onnxscript")
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        lacking = f"{', '.join(missing)} not installed"
        found |= {name: lacking for name in found if "ONNX" in name}
    return found


def start(contestants: dict, warm_up: list[str]) -> dict[str, Worker]:
    """The contestants that load and annotate a few texts, which is not timed."""
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
    return workers


def main() -> None:
    """Runs the benchmark; results go to figures/data, or to --out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="emo-smollm2-135m-profile")
    parser.add_argument("--prompts", default="emo-smollm2-135m")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--texts", type=int, default=300, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=FIGURES)
    chosen = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from emolib.data import corpora

    texts = corpora.read("E-c", "test")["text"].sample(chosen.texts + 8, random_state=0).tolist()
    warm_up, texts = texts[:8], texts[8:]
    rounds = [texts[n :: chosen.rounds] for n in range(chosen.rounds)]
    machine = measure_machine()
    limit = max(machine["bf16_gflops"], machine["fp32_gflops"])
    workers = start(list_contestants(chosen.profile, chosen.prompts, chosen.dtype), warm_up)
    frame = run_in_turn(workers, rounds, len)
    if "matrix_flops" in frame:
        frame["of_limit"] = frame.pop("matrix_flops") / frame["seconds"] / 1e9 / limit
    summary = summarize(frame, OURS)
    for worker in workers.values():
        worker.close()
    print(summary.round(2).to_string(index=False))
    settings = {name: str(value) for name, value in vars(chosen).items() if name != "out"}
    save(frame, summary, "annotate", machine, chosen.out, **settings)


if __name__ == "__main__":
    main()
