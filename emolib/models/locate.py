"""A model's name: where its weights, its adapter and its record lie."""

import json
from pathlib import Path

from emolib import DataError, runs
from emolib.models import catalog, weight_files
from emolib.models.catalog import ALIASES, BUNDLED

CONFIG = "adapter_config.json"  # in the folder of an adapter
FULL = "model"  # the folder of a run that tuned all weights


def resolve(name: str | Path) -> str:
    """The folder or Hub id behind a base model's name; a GGUF file is converted once.

    Conversions are cached by the file's hash. An alias takes the GGUF file inside its package, and
    the Hub where that package is not installed.
    """
    name = str(_enter(name))
    member = catalog.find(name)
    if member and not name.endswith(".gguf"):
        return member.hub
    if file := find_file(name):
        return weight_files.convert(file)
    return ALIASES[name].hub if name in ALIASES else name


def find_file(name: str | Path) -> Path | None:
    """The GGUF file that a name means, fetched if need be; None if it means none."""
    name = str(name)
    if name.endswith(".gguf"):
        return weight_files.find_gguf(name)
    return catalog.locate_package(ALIASES[name]) if name in ALIASES else None


def split_adapter(name: str | Path, adapter: str | Path | None):
    """Base model and adapter folder; a run folder stands for the adapter inside it."""
    name, adapter = (BUNDLED.get(str(each), each) for each in (name, adapter))
    wanted = Path(adapter or name)
    places = (each for each in (wanted, wanted / "adapter") if (each / CONFIG).is_file())
    if folder := next(places, None):
        return _enter(name if adapter else _read_base(folder)), folder
    if adapter:
        reason = "not an adapter folder, or a fine-tuning run that is not finished"
        raise DataError(f"{adapter}: no adapter_config.json there: {reason}")
    return _enter(name), None


def _enter(base: str | Path) -> str | Path:
    """The model inside a run that tuned all weights; any other base as it is."""
    inside = Path(base) / FULL
    return inside if (inside / "config.json").is_file() and _has_record(Path(base)) else base


def _has_record(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def trace(base: str | Path) -> str | Path:
    """The model that a base was tuned from, if it is a run's; else itself."""
    while Path(base).name == FULL and _has_record(Path(base).parent):
        base = runs.read(Path(base).parent)["settings"]["model"]
    return base


def _read_base(adapter: Path) -> str:
    """The run's own base model, which may be a GGUF file, else what PEFT wrote."""
    if _has_record(adapter.parent):
        return runs.read(adapter.parent)["settings"]["model"]
    path = adapter / CONFIG
    try:
        return json.loads(path.read_bytes())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: names no base model ({error!r})") from None


def read_form(tuned: str | Path) -> str | None:
    """The prompt form that an adapter or model was trained on, if its run says it."""
    tuned = Path(tuned)
    ours = tuned.name == FULL or (tuned / CONFIG).is_file()
    for folder in (tuned.parent, tuned) if ours else ():
        if _has_record(folder):  # in the folder itself if it was published
            return runs.read(folder)["settings"].get("prompt_form")
    return None
