"""The mean of several adapters as one adapter, as fast in use as each of them.

The mean of runs that share a start, or of stages of one training, often predicts better than each
of them (model soups: Wortsman et al., ICML 2022). PEFT averages the change that each adapter makes
to its base's weights and reduces it to the first one's rank.
"""

from pathlib import Path

import torch
from peft import get_peft_model_state_dict

from emolib import DataError, models, runs
from emolib.models import locate
from emolib.models.weight_files import explaining

NOTE = """
## Averaged

The weights are the mean over {n} runs, this one and those that run.json names under
averaged_with. Step and validation figures above are this run's alone, before averaging.
"""


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
