"""Weight files: safetensors and GGUF, never a pickle, never code that came along."""

import hashlib
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pooch
import torch
import transformers
from huggingface_hub import hf_hub_download
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from emolib import DataError
from emolib.models.catalog import ALIASES, BUNDLED, SERIES

MOST_LAYERS = 1000  # far more than any model has; a file may lie


def read(source: str, **options):
    """A language model from a folder or the Hub; DataError where it is bad."""
    with explaining(source):
        return _read_weights(source, **options)


def _read_weights(source: str | Path, gguf_file: str | None = None, **options):
    """The model; ValueError where transformers would hang or make up weights, or read a pickle."""
    where = {"trust_remote_code": False} | ({"gguf_file": gguf_file} if gguf_file else {})
    config = transformers.AutoConfig.from_pretrained(source, **where)
    if (getattr(config, "num_hidden_layers", None) or 0) > MOST_LAYERS:
        raise ValueError(f"{config.num_hidden_layers} layers, expected at most {MOST_LAYERS}")
    absent = ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors")
    index = cached_file(str(source), SAFE_WEIGHTS_INDEX_NAME, **dict.fromkeys(absent, False))
    shards = json.loads(Path(index).read_bytes())["weight_map"].values() if index else ()
    if odd := [shard for shard in shards if not shard.endswith(".safetensors")]:
        raise ValueError(f"{odd[0]} in its index is not safetensors")
    task = "Seq2Seq" if config.is_encoder_decoder else "Causal"
    kind = getattr(transformers, f"AutoModelFor{task}LM")
    if not gguf_file:
        where["use_safetensors"] = True
    model, found = kind.from_pretrained(source, output_loading_info=True, **where, **options)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"no weights for {len(missing)} tensors such as {missing[0]}")
    return model


def hash_weights(source: str | Path) -> str | None:
    """Short SHA-256 over a folder's safetensors files by name; None for a Hub id."""
    digest, paths = hashlib.sha256(), sorted(Path(source).glob("*.safetensors"))
    for path in paths:
        digest.update(path.name.encode() + pooch.file_hash(path).encode())
    return digest.hexdigest()[:16] if paths else None


@contextmanager
def explaining(source: str | Path, what: str = "model", kinds: str = ""):
    """DataError for any error inside: which model, what its reader said, what it can be."""
    try:
        yield
    except Exception as error:  # the readers' own errors are of every kind
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        known = f"an adapter folder or {', '.join((*ALIASES, *BUNDLED, *SERIES))}"
        kinds = kinds or f"a Hub id, a folder with safetensors, a .gguf file, {known}"
        problem = f"cannot load {what} '{source}': {first}"
        raise DataError(f"{problem} ({what}: {kinds})") from error


def find_gguf(name: str) -> Path:
    """A GGUF file: a path, or ORG/REPOSITORY/FILE.gguf on the Hub, fetched once."""
    if Path(name).is_file():
        return Path(name)
    repository, _, file = name.rpartition("/")
    if repository.count("/") != 1 or Path(repository).exists():
        raise DataError(f"{name}: no such file (on the Hub it is ORG/REPO/FILE.gguf)")
    with explaining(name):
        return Path(hf_hub_download(repository, file))


def convert(path: Path) -> str:
    """A GGUF file as a folder of fp32 safetensors in the cache; its path."""
    target = Path(pooch.os_cache("emolib")) / "models" / f"{path.stem}-{pooch.file_hash(path)[:16]}"
    if target.is_dir():
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Explicit, because what happens otherwise depends on installed packages.
    options = {"quantization_config": transformers.GgufConfig(dequantize=True)}
    options["dtype"] = torch.float32
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, target.name)
        try:
            _read_weights(path.parent, path.name, **options).save_pretrained(made)
            read_tokenizer(path).save_pretrained(made)
        except Exception as error:  # the reader's own errors are of every kind
            raise DataError(f"{path}: not a readable GGUF model: {error}") from error
        if not target.is_dir():  # another process, which may be reading it by now, was not first
            made.rename(target)
    return str(target)


def read_tokenizer(path: Path):
    """A GGUF file's tokenizer, without its weights; DataError where it is bad."""
    with explaining(path):
        return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
