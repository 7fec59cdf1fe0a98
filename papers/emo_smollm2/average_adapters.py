"""The mean of several adapters as one adapter, as fast in use as each of them.

A step of `make result-prompts`, which averages the last two stages of its training:

    python papers/emo_smollm2/average_adapters.py RUN OTHER [OTHER ...] TARGET

The mean of runs that share a start, or of stages of one training, often predicts better than each
of them (model soups: Wortsman et al., ICML 2022). PEFT averages the change that each adapter makes
to its base's weights and reduces it to the first one's rank.
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save_file

from emolib import DataError, files, models, runs
from emolib.models import locate
from emolib.models.weight_files import explaining
from emolib.publishing.export import export

NOTE = """
## Averaged

The weights are the mean over {n} runs, this one and those that run.json names under
averaged_with. Step and validation figures above are this run's alone, before averaging.
"""


def write(run: str | Path, others: list[str | Path], target: str | Path) -> Path:
    """Exports `run` (see `emolib export`) with the mean weights of all runs; the folder.

    Its run.json has the others' records as averaged_with. DataError if the run is not finished, a
    run has no adapter, or the others do not fit.
    """
    weights = {name: each.half() for name, each in average(run, others).items()}
    with files.replacing(target) as temporary:
        inside = export(run, temporary) / "adapter"
        record = runs.read(temporary) | {"averaged_with": describe(others)}
        files.write_json(temporary / "run.json", record)
        card = (inside / "README.md").read_text(encoding="utf-8")
        files.write_text(inside / "README.md", card + NOTE.format(n=len(others) + 1))
        save_file(weights, inside / "adapter_model.safetensors", {"format": "pt"})
    return Path(target)


def average(run: str | Path, others: list[str | Path]) -> dict[str, torch.Tensor]:
    """Weights of an adapter by name, float32, that fit the run's adapter_config.json.

    `run` and `others` are fine-tuning runs with an adapter, all on one base model and in one prompt
    form (DataError), with equal shares in the mean.
    """
    known, *found = [each["settings"] for each in describe([run, *others])]
    for other, settings in zip(others, found, strict=True):
        for name in ("model", "prompt_form"):
            there, own = settings.get(name), known.get(name)
            if there != own:
                raise DataError(f"{other}: {name} is {there!r}, that of {run} is {own!r}")
    model, _ = models.load(run, device="cpu", dtype="float32")
    own, parts = model.peft_config["default"], ["default"]
    for other in others:
        parts.append(f"other{len(parts)}")
        with explaining(other):
            model.load_adapter(locate.split_adapter(other, None)[1], parts[-1])
    shares = [1 / len(parts)] * len(parts)
    options = {"combination_type": "svd", "svd_rank": own.r, "svd_full_matrices": False}
    model.base_model.add_weighted_adapter(parts, shares, "mean", **options)
    weights = get_peft_model_state_dict(model, adapter_name="mean")
    scale = own.lora_alpha / own.r  # PEFT writes the mean for a scale of one
    return {
        name: (tensor / scale if "lora_B" in name else tensor).contiguous()
        for name, tensor in weights.items()
    }


def describe(several: list[str | Path]) -> list[dict]:
    """The runs' records, each with the hash of its adapter's weights."""
    found = []
    for run in several:
        folder = locate.split_adapter(run, None)[1]
        if not folder:
            raise DataError(f"{run}: no adapter there: expected a run that tuned one")
        weights = {"adapter_weights": models.hash_weights(folder)}
        found.append(runs.read(folder.parent) | weights)
    return found


if __name__ == "__main__":
    parser = ArgumentParser(description="Writes the mean of several runs' adapters as one.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("others", metavar="OTHER", nargs="+")
    parser.add_argument("target", metavar="TARGET")
    try:
        print(write(**vars(parser.parse_args())))
    except DataError as error:
        parser.exit(1, f"{error}\n")
