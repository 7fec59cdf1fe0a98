"""What a run says about its model, and what has to be said for it, ready for a card."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from emolib import DataError
from emolib.models import catalog

# Hub ids that begin so -> licence, as their model cards state it.
LICENSES = {
    "HuggingFaceTB/SmolLM2-": "apache-2.0",
    "HuggingFaceTB/SmolLM3-": "apache-2.0",
    "meta-llama/Llama-2-": "llama2",
}
# What the training rows were built from -> the name of its terms.
DATA_LICENSES = {"official": "semeval-2018-research-only", "sample": "mit"}
LICENSE_FILE = "LICENSE.md"
_LOCAL = re.compile(r"[/\\]|^~")


@dataclass(frozen=True)
class About:
    """What a model card says that scores do not.

    `kind` is "adapter", "merged" (adapter added into the weights) or "whole" (all
    weights tuned). `base` is a Hub id; `record` a run.json fit to be published; `data`
    "official", "sample", or the Hub id or name of another corpus; `converted` says that
    the base weights in training came from a GGUF file.
    """

    repo: str
    kind: str
    base: str
    base_license: str
    data: str
    data_license: str
    record: dict
    converted: bool = False
    seq2seq: bool = False
    dtype: str | None = None

    @property
    def license(self) -> dict[str, str]:
        """The card's licence fields: one known licence, or "other" with a name."""
        if self.data_license in (self.base_license, "mit"):
            return {"license": self.base_license}
        name = f"{self.base_license}-and-{self.data_license}".lower()
        name = re.sub(r"[^a-z0-9.]+", "-", name).strip("-")
        link = {"license_name": name, "license_link": LICENSE_FILE}
        return {"license": "other", **link}


def gather(repo: str, kind: str, record: dict, chosen) -> About:
    """An `About` from a run's record and `hub.Settings`; asks for what is missing.

    DataError names the setting that has to be given: data, data_license, base or
    base_license.
    """
    data, base = chosen.data, name_base(record, chosen.base)
    if data is None:
        raise DataError(
            "a run does not record what its rows were built from: data= is official"
            " (SemEval-2018), sample, or another corpus's Hub id or name"
        )
    terms = DATA_LICENSES.get(data, chosen.data_license)
    if terms is None:
        raise DataError(f"data {data!r}: name its licence too (data_license=)")
    known = [name for start, name in LICENSES.items() if base.startswith(start)]
    licence = chosen.base_license or (known[0] if known else None)
    if licence is None:
        raise DataError(f"the licence of {base} is not known here: base_license=")
    named = record["settings"]["model"]
    gguf = named.endswith(".gguf") or (named in _aliases() and record.get("weights"))
    public = clean(record, base)
    return About(repo, kind, base, licence, data, terms, public, bool(gguf))


def name_base(record: dict, base: str | None = None) -> str:
    """The Hub id of a run's base model; `base` where the run holds a path or file.

    DataError if it is none: a path in adapter_config.json or a card breaks the Hub's
    pages and every reader's loading (transformers#33922), and tells whose machine it
    was.
    """
    name = base or record["settings"]["model"]
    member = catalog.find(name)
    if member and not name.endswith(".gguf"):
        name = member.hub
    name = _aliases().get(name, name)
    if name.endswith(".gguf") or name.startswith(".") or Path(name).exists():
        raise DataError(f"{name}: a file or folder here, not a Hub id: give base=")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise DataError(
            f"the base model is no Hub id, give one as base=: {error}"
        ) from None
    return name


def clean(value, base: str):
    """A record without anything that could be a path: None for strings with a slash.

    The base model's name becomes its Hub id.
    """
    if not isinstance(value, dict):
        return None if _hides(value) else value
    kept = {key: clean(each, base) for key, each in value.items()}
    return kept | {"model": base} if "model" in value else kept


def _hides(value) -> bool:
    if isinstance(value, list):
        return any(map(_hides, value))
    return isinstance(value, str) and bool(_LOCAL.search(value))


def _aliases() -> dict[str, str]:
    from emolib.models.catalog import (
        ALIASES,  # imports torch, which the builder's card needs not
    )

    return ALIASES
