"""A model's name in, model and tokenizer out.

`models.load` and what goes with it, imported on first use, so that reading the catalog needs no
torch.
"""

from importlib import import_module

_NAMES = {
    "load": "loading",
    "load_tokenizer": "loading",
    "merge": "loading",
    "prepare": "loading",
    "copy_adapter": "loading",
    "choose_precision": "precision",
    "DTYPES": "precision",
    "hash_weights": "weight_files",
    "resolve": "locate",
    "ALIASES": "catalog",
    "BUNDLED": "catalog",
    "SERIES": "catalog",
}


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"emolib.models has no {name!r}")
    return getattr(import_module(f"emolib.models.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_NAMES)
