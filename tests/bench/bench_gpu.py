"""A model of LLaMA2-7B's shape on a GPU: a QLoRA step, and profiles of tweets.

    python tests/bench/bench_gpu.py [--steps 8] [--texts 2000] [--layers 32] [--width 4096]

Its weights are random, on which time and memory do not depend, so no hub is needed, but the corpora
and 15 GB of disk. The training is `train_emollama_7b_24gb.yaml` by notebook 2's own cells, on its
first 4,000 rows; the profiles are those of SemEval's test tweets. Saved to
figures/data/bench_gpu.json; about two minutes on an H100.
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path

import torch
from measure import FIGURES
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from emolib import files, models, notebooks, runs
from emolib.data import corpora
from emolib.inference import profile
from emolib.training import record

RUN = "notebooks/runs/train_emollama_7b_24gb.yaml"


class Clock(TrainerCallback):
    """Seconds and tokens of every optimizer step."""

    def __init__(self, trainer):
        self.steps, self.tokens = [], []
        collate = trainer.data_collator

        def count(rows):
            batch = collate(rows)
            ids = batch["forest"].ids if "forest" in batch else batch["input_ids"]
            self.tokens.append(ids.numel())
            return batch

        trainer.data_collator = count

    def on_step_begin(self, *_, **__):
        """Begins to count."""
        wait()
        self.began = time.perf_counter()

    def on_step_end(self, *_, **__):
        """Keeps the step's seconds."""
        wait()
        self.steps.append(time.perf_counter() - self.began)


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def read_peak() -> float | None:
    """The most GiB that tensors took on the GPU since the last call."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / 2**30
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return round(peak, 2)


def make_model(folder: Path, layers: int, width: int) -> int:
    """Writes the random model with SmolLM2's tokenizer; its number of parameters."""
    heads = max(1, width // 128)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=width,
        intermediate_size=11008 * width // 4096,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    chosen = models.choose_precision()
    torch.set_default_dtype(chosen.dtype)
    with torch.device(chosen.device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="4GB")
    models.load_tokenizer("smollm2-135m").save_pretrained(folder)
    return model.num_parameters()


def time_training(folder: Path, out: str, steps: int) -> dict:
    """Seconds and tokens per step of QLoRA, rows in a step, and the peak of memory."""
    clocks, own = [], record.train

    def timed(trainer, *given, **more):
        clocks.append(Clock(trainer))
        trainer.add_callback(clocks[0])
        return own(trainer, *given, **more)

    changes = {"max_steps": steps, "eval_steps": steps, "train_rows": 4000, "validation_rows": 32}
    record.train = timed
    try:
        run = notebooks.train(RUN, model=str(folder), out=out, **changes)
    finally:
        record.train = own
    batch = runs.read(run)["settings"]["batch_size"]
    seconds = [round(each, 3) for each in clocks[0].steps]
    found = {"seconds": seconds, "tokens": clocks[0].tokens[:steps], "rows_per_step": batch}
    return found | {"peak_gib": read_peak()}


def time_profiles(folder: Path, quantization: str | None, budget: int, texts: list[str]) -> dict:
    """Texts per second, in rows of at most `budget` tokens, and the peak of memory."""
    model, tokenizer = models.load(folder, quantization)
    profile.predict(model, tokenizer, texts[:16])
    read_peak()
    start = time.perf_counter()
    profile.predict(model, tokenizer, texts, budget=budget)
    rate = len(texts) / (time.perf_counter() - start)
    return {"texts_per_s": round(rate, 1), "texts": len(texts), "peak_gib": read_peak()}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description="A model of LLaMA2-7B's shape on a GPU.")
    for name, number in (("steps", 8), ("texts", 2000), ("layers", 32), ("width", 4096)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--save", type=Path, default=FIGURES / "bench_gpu.json")
    given = parser.parse_args()
    texts = list(corpora.read("E-c", "test")["text"].drop_duplicates()[: given.texts])
    files.place("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=files.place("runs")) as place:
        folder = Path(place, "model")
        found = {"parameters": make_model(folder, given.layers, given.width)}
        read_peak()
        found["training, nf4"] = time_training(folder, f"runs/{Path(place).name}", given.steps)
        for quantization in ("nf4", None):
            for budget in (4096, 16384):
                name = f"profiles, {quantization or 'unquantized'}, rows of {budget} tokens"
                found[name] = time_profiles(folder, quantization, budget, texts)
                print(name, found[name], flush=True)
    files.write_json(given.save, found | runs.provenance())


if __name__ == "__main__":
    main()
