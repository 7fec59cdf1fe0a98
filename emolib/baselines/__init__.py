"""The paper's other rows: lexicons, encoders with a head, few-shot prompts, API models.

Imported on first use, so that a lexicon needs no torch and an encoder no `openai`.
"""

from importlib import import_module

_MODULES = {
    "lexicon": "lexicons",
    "encoder": "encoders",
    "few_shot": "examples",
    "api": "remote",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"emolib.baselines has no {name!r}")
    return getattr(import_module(f"emolib.baselines.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
