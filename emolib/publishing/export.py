"""A run's adapter in half its size: what is needed to use it, and nothing more."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from emolib import DataError, files, runs


def export(run: str | Path, folder: str | Path) -> Path:
    """Writes a finished run's record and adapter, its weights in float16; the folder.

    Its name loads like the run's. DataError for a run that is not finished or has no adapter.
    """
    record, folder, adapter = runs.read(run), Path(folder), Path(run) / "adapter"
    weights = adapter / "adapter_model.safetensors"
    if "finished" not in record:
        raise DataError(f"{run}: not finished, train it again")
    if not weights.is_file():
        raise DataError(f"{run}: no adapter there: this run tuned all weights")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder) as temporary:
        inside = temporary / "adapter"
        inside.mkdir(parents=True)
        files.write_json(temporary / "run.json", record)
        for name in ("README.md", "adapter_config.json"):
            shutil.copy(adapter / name, inside)
        halves = {name: each.half() for name, each in load_file(weights).items()}
        save_file(halves, inside / weights.name, {"format": "pt"})
    return folder
