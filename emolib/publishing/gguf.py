"""Copies of a tuned model: merged with its base, and as GGUF in 2 to 32 bits.

An adapter is merged into its base in 16 or 32 bits, never into a quantized one, where its small
changes would be lost in rounding. llama.cpp's own converter and quantizer write the GGUF files.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from emolib import DataError, files, models
from emolib.models import llamacpp

# What the converter writes itself; any other kind is quantized from float16.
CONVERTED = ("f32", "f16", "bf16", "q8_0")
QUANTIZED = ("q2_k", "q3_k_m", "q4_0", "q4_k_m", "q5_k_m", "q6_k")
SCRIPT = "convert_hf_to_gguf.py"


def merge(run: str | Path, folder: str | Path, dtype: str = "float16") -> Path:
    """Writes a run's adapter and base as one model in `folder`; returns it.

    `run` is anything that `models.load` takes; its adapter is added to the base in float32 and then
    rounded once, to `dtype` ("float16", "bfloat16" or "float32"). The folder loads by its name like
    any model. DataError if it exists already.
    """
    folder = Path(folder)
    if dtype not in models.DTYPES:
        raise DataError(f"dtype {dtype!r}: expected one of {', '.join(models.DTYPES)}")
    if folder.exists():
        raise DataError(f"{folder}: there already: take another name, or remove it")
    model, tokenizer = models.load(run, device="cpu", dtype="float32")
    whole = models.merge(model).to(models.DTYPES[dtype])
    for trace in ("is_local", "local_files_only", "name_or_path"):
        tokenizer.init_kwargs.pop(trace, None)  # true of this machine alone
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder) as temporary:
            whole.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: cannot write: {error}") from error
    return folder


def convert(
    folder: str | Path, target: str | Path, kind: str = "q8_0", converter: str | Path | None = None
) -> Path:
    """Writes a model folder as a GGUF file, `target`; returns it.

    `kind`: one of CONVERTED or QUANTIZED (about 4.9 bits a weight in q4_k_m, 8.5 in q8_0).
    `converter` is llama.cpp's script or the folder with it; without it the one that `make llamacpp`
    unpacked. DataError if it is missing or refuses the model, with the last line of its output; OPT
    and BART have no GGUF form.
    """
    target, kind = Path(target), kind.lower()
    script = Path(converter or Path(sys.prefix) / "llama.cpp")
    script = script / SCRIPT if script.is_dir() else script
    if kind not in CONVERTED + QUANTIZED:
        raise DataError(f"kind {kind!r}: expected one of {', '.join(CONVERTED + QUANTIZED)}")
    if not (Path(folder) / "config.json").is_file():
        raise DataError(f"{folder}: no model folder (merge a run with its base first)")
    if not script.is_file():
        raise DataError(
            f"{script}: no such file: make llamacpp installs llama.cpp's converter, or"
            f" give converter=, the path of {SCRIPT} in a clone of llama.cpp"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(target) as temporary,
        tempfile.TemporaryDirectory(dir=target.parent) as beside,
    ):
        if kind in CONVERTED:
            _write(script, Path(folder), temporary, kind)
        else:
            whole = Path(beside) / "f16.gguf"
            _write(script, Path(folder), whole, "f16")
            llamacpp.quantize(whole, temporary, kind)
    return target


def is_ready() -> bool:
    """Whether llama.cpp and its converter are installed (by `make llamacpp`)."""
    there = importlib.util.find_spec("llama_cpp") is not None
    return there and (Path(sys.prefix) / "llama.cpp" / SCRIPT).is_file()


def _write(script: Path, folder: Path, target: Path, kind: str) -> None:
    paths = [str(script.parent / "gguf-py"), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, script, folder, "--outfile", target, "--outtype", kind]
    known = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=known, capture_output=True, text=True)
    if done.returncode or not target.is_file():
        said = [*filter(str.strip, done.stderr.splitlines())] or ["it wrote nothing"]
        raise DataError(f"{folder}: llama.cpp's converter refuses it: {said[-1].strip()}")
