"""`trainer.train()` in a run folder: locked, recorded, resumed after a kill.

Works on any Trainer of transformers or TRL; notebook 2 shows how it is called.
"""

import json
import os
import shutil
import traceback
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from emolib import DataError, files, runs
from emolib.inference.constrained import is_memory
from emolib.models.catalog import ALIASES
from emolib.models.locate import FULL

MEASURED = ("eval_loss", "eval_score")
_CARD = Path(__file__).with_name("model_card.md")


def train(trainer: Trainer, run: str | Path, settings: dict, **results) -> Path:
    """Runs `trainer.train()` to its end; the run folder.

    The folder holds adapter/ (or model/, where all weights are tuned) of the best step with its
    model card, run.json (settings, versions, seed, commit, results) and checkpoints/. A finished
    run is not trained again; an interrupted one goes on from its last whole checkpoint and ends
    with the weights of an uninterrupted one. Where memory runs out, micro-batches are halved.

    `settings` is all that decides the result, with the base model's name as "model"; `results` are
    kept beside it. Under a launcher the first process writes.

    DataError for a folder made with other settings, and where it cannot be written.
    """
    first = trainer.is_world_process_zero()
    opened = runs.opened(run, "finetune", settings) if first else nullcontext(Path(run))
    with opened as folder, explaining(folder):
        trainer.accelerator.wait_for_everyone()  # until the first has made the folder
        if "finished" in runs.read(folder):
            return folder
        _train_to_the_end(trainer, folder)
        _save(trainer, settings["model"], folder)
        if first:
            runs.finish(
                folder,
                micro_batch_size=trainer.args.per_device_train_batch_size,
                processes=count_processes(),
                steps=trainer.state.global_step,
                best_step=trainer.state.best_global_step,
                **_read_best(trainer.state),
                **results,
            )
    return folder


def count_processes() -> int:
    """How many processes train together: one, unless a launcher says more."""
    return int(os.environ.get("WORLD_SIZE", 1))


def count_accumulation(batch_size: int, micro_batch_size: int) -> int:
    """Micro-batches of one process in an optimizer step.

    DataError where the steps cannot be divided so.
    """
    processes = count_processes()
    at_once = micro_batch_size * processes
    if micro_batch_size < 1 or batch_size < 1 or batch_size % at_once:
        each = f" in {processes} processes" if processes > 1 else ""
        micro = f"micro_batch_size {micro_batch_size}{each}"
        raise DataError(f"{micro} does not divide batch_size {batch_size}")
    return batch_size // at_once


class LossLog(TrainerCallback):
    """Writes the loss curve as data: step, epoch, loss, eval_loss, eval_score, ..."""

    def __init__(self, path: Path):
        self.path = path

    def on_log(self, args, state, control, **_):
        """Rewrites the whole table, so that a resumed run has one curve."""
        if not state.is_world_process_zero:
            return
        names = ("step", "epoch", "loss", *MEASURED, "learning_rate", "grad_norm")
        reports = [r for r in state.log_history if "loss" in r or "eval_loss" in r]
        table = pd.DataFrame(reports).reindex(columns=list(names))
        files.write_csv(self.path, table, float_format=None)


def read_log(run: str | Path) -> pd.DataFrame:
    """The loss curve of a run: a row per report; DataError if it has made none."""
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise DataError(f"{run}: no log.csv: not a fine-tuning run that has begun")
    return pd.read_csv(path)


def go_on(trainer: Trainer, folder: Path) -> None:
    """Trains from the last whole checkpoint on; the best weights are loaded then."""
    last = _find_checkpoint(folder / "checkpoints")
    if last:
        state = TrainerState.load_from_json(f"{last}/trainer_state.json")
        if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
            trainer.state = state  # killed before saving
            trainer._load_best_model()
            return
        print(f"Going on from {last}.")
    trainer.train(resume_from_checkpoint=last)


def _train_to_the_end(trainer: Trainer, folder: Path) -> None:
    """As `go_on`, in smaller micro-batches where memory does not suffice."""
    args = trainer.args
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    first = [p.detach().cpu().clone() for p in trained]
    while True:
        try:
            return go_on(trainer, folder)
        except (RuntimeError, MemoryError) as error:
            size = args.per_device_train_batch_size
            if size == 1 or count_processes() > 1 or not is_memory(error):
                raise
        batch = size * args.gradient_accumulation_steps
        smaller = max(n for n in range(1, size // 2 + 1) if batch % n == 0)
        args.per_device_train_batch_size = trainer._train_batch_size = smaller
        args.per_device_eval_batch_size = min(smaller, args.per_device_eval_batch_size)
        args.gradient_accumulation_steps = batch // smaller
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.model.zero_grad()
        for parameter, value in zip(trained, first, strict=True):
            parameter.data.copy_(value)
        print(f"Out of memory: going on with micro-batches of {smaller}.")


@contextmanager
def explaining(folder: str | Path):
    """DataError where writing fails; torch and safetensors have their own errors."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        if isinstance(error, RuntimeError) and torch.save.__code__ not in frames:
            raise  # but torch.save words a full disk in many ways
        hint = "whole checkpoints are kept, make room and call again"
        raise DataError(f"{folder}: cannot write: {error}: {hint}") from error


def _find_checkpoint(folder: Path) -> str | None:
    """The last checkpoint written to its end; its trainer_state.json comes last."""
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        try:
            json.loads((Path(last) / "trainer_state.json").read_text(encoding="utf-8"))
            return last
        except (OSError, ValueError):
            shutil.rmtree(last)
    return None


def _read_best(state: TrainerState) -> dict:
    """The validation loss at the best step, and the score there if it was measured."""
    best = [report for report in state.log_history if report["step"] == state.best_global_step]
    return {f"best_{key}": each[key] for each in best for key in MEASURED if key in each}


def _save(trainer: Trainer, name: str, folder: Path) -> None:
    """The adapter, or all weights, gathered from all processes, with its card."""
    model, weights = trainer.model, None
    if count_processes() > 1:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    base = ALIASES[name].hub if name in ALIASES else name
    adapter = hasattr(model, "peft_config")
    if adapter:
        model.peft_config["default"].base_model_name_or_path = base
    with files.replacing(folder / ("adapter" if adapter else FULL)) as temporary:
        model.save_pretrained(temporary, state_dict=weights)
        trainer.processing_class.save_pretrained(temporary)
        card = _write_card(trainer, name, base, runs.read(folder))
        (temporary / "README.md").write_text(card, encoding="utf-8")


def _write_card(trainer: Trainer, name: str, base: str, record: dict) -> str:
    local = name.endswith(".gguf") or Path(name).exists()
    best = {k.removeprefix("best_eval_"): v for k, v in _read_best(trainer.state).items()}
    return _CARD.read_text(encoding="utf-8").format(
        base=base,
        hub="" if local else f"base_model: {base}\n",
        best=", ".join(f"validation {name} {value:.4g}" for name, value in best.items()),
        step=trainer.state.best_global_step,
        rows=len(trainer.train_dataset),
        record=json.dumps(record, indent=1),
    )
