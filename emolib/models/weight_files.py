"""Weight files: safetensors and GGUF, never a pickle, never code that came along."""

import hashlib
import json
import shutil
from pathlib import Path

import pooch
import torch
from huggingface_hub import hf_hub_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GgufConfig,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from emolib import DataError, files
from emolib.models.catalog import ALIASES, BUNDLED, SERIES

MOST_LAYERS = 1000  # far more than any model has; a file may lie


def read(source: str, **options):
    """A language model from a folder or the Hub; DataError where it is bad."""
    try:
        return _read_weights(source, **options)
    except Exception as error:  # the readers' own errors are of every kind
        raise explain(source, error) from error


def _read_weights(source: str | Path, gguf_file: str | None = None, **options):
    """The model; ValueError where transformers would hang or make up weights."""
    where = {"trust_remote_code": False}
    if gguf_file:
        where["gguf_file"] = gguf_file
    config = AutoConfig.from_pretrained(source, **where)
    layers = getattr(config, "num_hidden_layers", None)
    if layers and layers > MOST_LAYERS:
        raise ValueError(f"{layers} layers, expected at most {MOST_LAYERS}")
    _check_shards(source)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if not gguf_file:
        where["use_safetensors"] = True
    model, found = kind.from_pretrained(source, output_loading_info=True, **where, **options)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"no weights for {len(missing)} tensors such as {missing[0]}")
    return model


def _check_shards(source: str | Path) -> None:
    """ValueError where an index of safetensors names a pickle: it would be read."""
    index = cached_file(
        str(source),
        SAFE_WEIGHTS_INDEX_NAME,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if not index:
        return
    for shard in set(json.loads(Path(index).read_bytes())["weight_map"].values()):
        if not shard.endswith(".safetensors"):
            raise ValueError(f"{shard} in its index is not safetensors")


def hash_weights(source: str | Path) -> str | None:
    """Short SHA-256 over a folder's safetensors files by name; None for a Hub id."""
    files = sorted(Path(source).glob("*.safetensors"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + pooch.file_hash(path).encode())
    return digest.hexdigest()[:16] if files else None


def explain(source: str, error: Exception) -> DataError:
    """The error to raise: which model, what its reader said, what a model can be."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return DataError(
        f"cannot load model {source!r}: {first} (a model is a Hub id, a folder with"
        f" safetensors, a .gguf file, an adapter folder or"
        f" {', '.join((*ALIASES, *BUNDLED, *SERIES))})"
    )


def find_gguf(name: str) -> Path:
    """A GGUF file: a path, or ORG/REPOSITORY/FILE.gguf on the Hub, fetched once."""
    if Path(name).is_file():
        return Path(name)
    repository, _, file = name.rpartition("/")
    if repository.count("/") != 1 or Path(repository).exists():
        raise DataError(f"{name}: no such file (on the Hub it is ORG/REPO/FILE.gguf)")
    try:
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # no such file, no network, no access
        raise explain(name, error) from error


def convert(path: Path) -> str:
    """A GGUF file as a folder of fp32 safetensors in the cache; its path."""
    target = Path(pooch.os_cache("emolib")) / "models" / f"{path.stem}-{hash_file(path)}"
    if target.is_dir():
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as temporary:
        temporary.mkdir()
        try:
            _convert_into(path, temporary)
        except Exception as error:  # the reader's own errors are of every kind
            shutil.rmtree(temporary)
            raise DataError(f"{path}: not a readable GGUF model: {error}") from error
    return str(target)


def _convert_into(path: Path, folder: Path) -> None:
    model = _read_weights(
        path.parent,
        gguf_file=path.name,
        # Explicit, because what happens otherwise depends on installed packages.
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


def read_tokenizer(path: Path):
    """A GGUF file's tokenizer, without its weights; DataError where it is bad."""
    try:
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:  # of every kind
        raise DataError(f"{path}: no readable GGUF tokenizer: {error}") from error


def hash_file(path: Path) -> str:
    """Short SHA-256 of a file."""
    return pooch.file_hash(path)[:16]
