"""A model's name in, model and tokenizer out.

`models.load` and what goes with it, imported on first use: reading the catalog needs no torch.
"""

from importlib import import_module

_NAMES = {
    "loading": ("load", "load_tokenizer", "merge", "prepare", "copy_adapter", "BACKENDS"),
    "precision": ("choose_precision", "DTYPES"),
    "weight_files": ("hash_weights",),
    "locate": ("resolve",),
    "catalog": ("ALIASES", "BUNDLED", "SERIES"),
}


def __getattr__(name: str):
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"emolib.models.{module}"), name)
    raise AttributeError(f"emolib.models has no {name!r}")
