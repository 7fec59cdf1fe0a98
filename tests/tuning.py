"""Notebook 2's own cells as a function, for tests that train on rows of their own."""

from pathlib import Path

from emolib import models, notebooks

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "02_finetune_qlora.ipynb"
WITHOUT = (*notebooks.LEFT_OUT, "rows")


def finetune(train, validation, model, run, **settings) -> Path:
    """The finished run folder. `settings` are parameters of the notebook."""
    return _run_cells(train, validation, model, run, settings)["run"]


def make_trainer(train, validation, model, run, **settings):
    """The trainer of a run that has not begun."""
    settings["without"] = (*WITHOUT, "train")
    return _run_cells(train, validation, model, run, settings)["trainer"]


def _run_cells(train, validation, model, run, settings: dict) -> dict:
    without = settings.pop("without", WITHOUT)
    tokenizer = models.load_tokenizer(model)
    given = {"train": train, "validation": validation, "tokenizer": tokenizer}
    given |= {"model": str(model), "run": Path(run), "prompt_form": "paper"}
    if len(train) and "prompt" in train.column_names:
        from emolib.data.prompts import form_of

        given["prompt_form"] = form_of(train[0]["prompt"] or "")
    given |= {name: "" if value is None else value for name, value in settings.items()}
    known = notebooks.read_parameters(NOTEBOOK)
    unknown = settings.keys() - known.keys()
    assert not unknown, f"no parameters of notebook 2: {unknown}"
    return notebooks.run_cells(NOTEBOOK, given, without)
