"""Copies of a tuned model: merged, and as GGUF in as few bits as wanted.

An adapter is merged into its base in 16 or 32 bits, never into a quantized one, where
its small changes would be lost in rounding. GGUF files are written by llama.cpp's own
converter and quantizer.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from safetensors import SafetensorError

from emolib import DataError, files, models, runs
from emolib.inference import predict
from emolib.models import llamacpp

# What the converter writes itself; any other kind is quantized from float16.
CONVERTED = ("f32", "f16", "bf16", "q8_0")
QUANTIZED = ("q2_k", "q3_k_m", "q4_0", "q4_k_m", "q5_k_m", "q6_k")
SCRIPT = "convert_hf_to_gguf.py"


def merge(run: str | Path, folder: str | Path, dtype: str = "float16") -> Path:
    """Writes a run's adapter and base as one model in `folder`; returns it.

    `run` is anything with an adapter that `models.load` takes; it is added to the base
    in float32 and then rounded once, to `dtype` ("float16", "bfloat16" or "float32").
    The folder loads by its name like any model. DataError if it is there already.
    """
    folder = Path(folder)
    if dtype not in models.DTYPES:
        raise DataError(f"dtype {dtype!r}: expected one of {', '.join(models.DTYPES)}")
    if folder.exists():
        raise DataError(f"{folder}: there already: take another name, or remove it")
    model, tokenizer = models.load(run, device="cpu", dtype="float32")
    whole = models.merge(model).to(models.DTYPES[dtype])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder) as temporary:
            whole.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: cannot write: {error}") from error
    return folder


def convert(
    folder: str | Path,
    target: str | Path,
    kind: str = "q8_0",
    converter: str | Path | None = None,
) -> Path:
    """Writes a model folder as a GGUF file, `target`; returns it.

    `kind`: one of CONVERTED or QUANTIZED (about 4.9 bits a weight in q4_k_m, 8.5 in
    q8_0). `converter` is llama.cpp's script or the folder that holds it; without it the
    one that `make llamacpp` unpacked. DataError if it is not there or refuses the
    model, with its own last words; OPT and BART have no GGUF form.
    """
    target, kind = Path(target), kind.lower()
    if kind not in CONVERTED + QUANTIZED:
        known = ", ".join(CONVERTED + QUANTIZED)
        raise DataError(f"kind {kind!r}: expected one of {known}")
    if not (Path(folder) / "config.json").is_file():
        raise DataError(f"{folder}: no model folder (merge a run with its base first)")
    script = _find_converter(converter)
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as temporary:
        if kind in CONVERTED:
            _write(script, Path(folder), temporary, kind)
        else:
            with tempfile.TemporaryDirectory(dir=target.parent) as beside:
                whole = Path(beside) / "f16.gguf"
                _write(script, Path(folder), whole, "f16")
                llamacpp.quantize(whole, temporary, kind)
    return target


def is_ready() -> bool:
    """Whether llama.cpp and its converter are installed here (make llamacpp)."""
    there = importlib.util.find_spec("llama_cpp") is not None
    return there and (Path(sys.prefix) / "llama.cpp" / SCRIPT).is_file()


def _find_converter(given: str | Path | None) -> Path:
    place = Path(given) if given else Path(sys.prefix) / "llama.cpp"
    script = place / SCRIPT if place.is_dir() else place
    if not script.is_file():
        raise DataError(
            f"{script}: no such file: llama.cpp's converter comes by make llamacpp, or"
            f" give converter=, the path of {SCRIPT} in a clone of llama.cpp"
        )
    return script


def _write(script: Path, folder: Path, target: Path, kind: str) -> None:
    library = str(script.parent / "gguf-py")
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, script, folder, "--outfile", target, "--outtype", kind],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    if done.returncode or not target.is_file():
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise DataError(
            f"{folder}: llama.cpp's converter refuses it:"
            f" {said[-1] if said else 'it wrote nothing'}"
        )


def compare(
    rows: Dataset, copies: dict[str, dict], folder: str | Path
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What each copy of a model costs, and its answers by name.

    `rows` as `predict.predict` takes them; `gguf`: name -> what `models.load` is to
    be given, "name" for its first argument. Columns: copy, megabytes (weights in
    memory), seconds, items_per_second (both missing for a run that was interrupted),
    moved and most_moved (mean and greatest distance of any answer's probability from
    the first copy's). Answers stay in `folder`, a run per copy: a second call reads
    them back, with the times that were measured then.
    """
    lines, found = [], {}
    for name, loading in copies.items():
        print(f"{name} ...", flush=True)
        run = Path(folder) / name.replace(" ", "_")
        found[name] = _measure(rows, run, **loading)
        cost = runs.read(run)
        first = found[next(iter(copies))]
        distances = _measure_distances(first, found[name])
        lines.append(
            {
                "copy": name,
                "megabytes": cost["megabytes"],
                "seconds": cost.get("seconds"),
                "items_per_second": cost.get("items_per_second"),
                "moved": float(distances.mean()),
                "most_moved": float(distances.max()),
            }
        )
    return pd.DataFrame(lines), found


def _measure(rows: Dataset, run: Path, name: str, **loading) -> pd.DataFrame:
    """A copy's answers; what they cost goes into the run's record."""
    if (run / "run.json").is_file() and "megabytes" in runs.read(run):
        return predict.read(run)
    fresh = not run.exists()
    model, tokenizer = models.load(name, **loading)
    size = model.size if hasattr(model, "size") else model.get_memory_footprint()
    start = time.perf_counter()
    answers = predict.predict(rows, model, tokenizer, run, progress=False)
    took = time.perf_counter() - start
    cost = {"megabytes": round(size / 1e6, 1)}
    if fresh:
        cost |= {"seconds": round(took, 2), "items_per_second": len(rows) / took}
    runs.finish(run, **cost)
    return answers


def _measure_distances(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Distances of all answers' probabilities, of all items."""
    pairs = zip(one["probabilities"], other["probabilities"], strict=True)
    return np.array([abs(a[key] - b[key]) for a, b in pairs for key in a])
