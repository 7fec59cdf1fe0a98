"""A run's adapter in half its size: what is needed to use it, and nothing more."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file, save_file

from emolib import DataError, files, runs
from emolib.publishing import average_adapters


def export(run: str | Path, folder: str | Path, others: Iterable[str | Path] = ()) -> Path:
    """Writes a finished run's record and adapter, its weights in float16; the folder.

    The folder's name loads like the run itself. With `others`, which are runs too, the weights are
    the mean over all (see `average_adapters`), and run.json has the others' records as
    averaged_with. DataError if the run is not finished, has no adapter, or if the others do not fit
    it.
    """
    record, others = runs.read(run), list(others)
    folder, adapter = Path(folder), Path(run) / "adapter"
    if "finished" not in record:
        raise DataError(f"{run}: not finished, train it again")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise DataError(f"{run}: no adapter there: this run tuned all weights")
    card = (adapter / "README.md").read_text(encoding="utf-8")
    if others:
        weights = average_adapters.average(run, others)
        record["averaged_with"] = average_adapters.describe(others)
        card += average_adapters.NOTE.format(n=len(others) + 1)
    else:
        weights = load_file(adapter / "adapter_model.safetensors")
    halves = {name: tensor.half() for name, tensor in weights.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder) as temporary:
        inside = temporary / "adapter"
        inside.mkdir(parents=True)
        files.write_json(temporary / "run.json", record)
        files.write_text(inside / "README.md", card)
        shutil.copy(adapter / "adapter_config.json", inside)
        save_file(halves, inside / "adapter_model.safetensors", {"format": "pt"})
    return folder
