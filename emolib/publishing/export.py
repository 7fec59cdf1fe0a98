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
    averaged_with. DataError if the run is not finished, has no adapter, or the others do not fit.
    """
    record, others = runs.read(run), list(others)
    folder, adapter, name = Path(folder), Path(run) / "adapter", "adapter_model.safetensors"
    if "finished" not in record:
        raise DataError(f"{run}: not finished, train it again")
    if not (adapter / name).is_file():
        raise DataError(f"{run}: no adapter there: this run tuned all weights")
    card = (adapter / "README.md").read_text(encoding="utf-8")
    if others:
        weights = average_adapters.average(run, others)
        record["averaged_with"] = average_adapters.describe(others)
        card += average_adapters.NOTE.format(n=len(others) + 1)
    else:
        weights = load_file(adapter / name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder) as temporary:
        inside = temporary / "adapter"
        inside.mkdir(parents=True)
        files.write_json(temporary / "run.json", record)
        files.write_text(inside / "README.md", card)
        shutil.copy(adapter / "adapter_config.json", inside)
        save_file(
            {key: each.half() for key, each in weights.items()}, inside / name, {"format": "pt"}
        )
    return folder
