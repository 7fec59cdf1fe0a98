"""The paper's other rows: lexicons, encoders with a head, few-shot prompts, API models.

`lexicon`, `encoder` and `few_shot` are functions, `api` is a module. All are imported on first use,
so that a lexicon needs no torch and an encoder no `openai`.
"""

from importlib import import_module

_MODULES = {"lexicon": "baselines.lexicons", "encoder": "baselines.encoders"}
_MODULES |= {"few_shot": "data.few_shot", "api": "baselines.api"}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"emolib.baselines has no {name!r}")
    module = import_module(f"emolib.{_MODULES[name]}")
    return getattr(module, name, module)
