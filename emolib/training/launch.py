"""Notebook 2's fine-tuning without the notebook: for launchers that start processes.

    accelerate launch --config_file FILE -m emolib train RUN.yaml

A notebook's kernel is one process; several GPUs want one each. The run file and the
defaults are the notebook's, so are the rows and the run folder: notebook 3 goes on
from there.
"""

from pathlib import Path

from emolib import DataError, files, models, notebooks
from emolib.data import aaid
from emolib.training import finetune

# The notebook's parameters that say which rows, not how to train.
_ROWS = ("data", "seed", "prompt_form", "model", "passes", "more", "out")
_ROWS = (*_ROWS, "train_rows", "validation_rows")


def train(file: str | Path, **changes) -> Path:
    """The run folder of a run file's fine-tuning, finished.

    `changes` are parameters of notebook 2 in the place of the file's. Interrupted, the
    same call goes on from the last checkpoint. DataError names a parameter that no
    notebook has or that is of another type.
    """
    notebook = next(p for p in notebooks.find_notebooks() if p.name.startswith("02"))
    known = notebooks.read_parameters(notebook)
    given = notebooks.read_run(file, **changes)
    chosen = {name: given.get(name, default) for name, (_, default) in known.items()}
    try:
        more = finetune.read_more(chosen["more"], known)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    tokenizer = models.load_tokenizer(chosen["model"])
    whole = aaid.build(chosen["data"], chosen["seed"], chosen["prompt_form"], tokenizer)
    mixed = aaid.take(whole["train"], chosen["passes"], chosen["seed"])
    even = more.get("choose_by") == "score"
    rows = {
        "train": aaid.spread(mixed, chosen["train_rows"]),
        "validation": aaid.spread(whole["validation"], chosen["validation_rows"], even),
    }
    settings = {name: value for name, value in chosen.items() if name not in _ROWS}
    settings |= {"lora_dropout": 0.0} | more  # the notebook's default
    for name in ("quantization", "dtype"):  # a notebook's "" is None
        settings[name] = settings[name] or None
    return finetune.finetune(
        **rows,
        model=chosen["model"],
        run=files.place(chosen["out"]) / "finetune",
        seed=chosen["seed"],
        **settings,
    )
