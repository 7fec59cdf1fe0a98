"""Training set and settings in, LoRA adapter out, through TRL's SFTTrainer.

Defaults are the paper's where they apply to QLoRA (section 3.4: three epochs, 5 %
warm-up, cosine decay, early stopping on validation loss, 2,048 tokens). The paper tunes
all weights with learning rate 1e-6 and batch 256; LoRA needs a higher rate (2e-4 here)
and does well with small batches (16 here).
"""

import json
import shutil
import traceback
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerState
from transformers.trainer_utils import get_last_checkpoint

from emolib import DataError, models, runs
from emolib.aaid import check_rows, keep_short
from emolib.constrained import is_memory
from emolib.prompts import form_of
from emolib.trainer import Settings, make_trainer

_CARD = Path(__file__).with_name("model_card.md")


def finetune(
    train: Dataset,
    validation: Dataset,
    model: str = "smollm2-135m",
    run: str | Path = "runs/finetune",
    **settings,
) -> Path:
    """The run folder's path, with the adapter of the lowest validation loss in it.

    The folder holds adapter/ (safetensors, model card), run.json (settings, data
    hashes, versions, seed, commit, results), log.csv (the loss curve) and checkpoints/.
    A finished run returns at once; an interrupted one goes on from its last checkpoint
    and ends with the weights of an uninterrupted one. Loss is on the completion only.
    Where memory runs out, micro-batches are halved; the optimizer's batches stay.
    Rows with the columns task and instruction, as `aaid.build` gives them, share their
    instructions in a micro-batch, and every optimizer step sees all tasks; others share
    what they happen to begin with.
    `settings` are the fields of `Settings`.

    Raises DataError for an unknown setting, for rows without prompt and completion, for
    a folder made with other settings or data, and if every row is too long.
    """
    chosen = _read_settings(settings)
    for name, rows in (("train", train), ("validation", validation)):
        check_rows(rows, name)
    identity = {
        "model": str(model),
        "prompt_form": form_of(train[0]["prompt"]),
        "train": {"rows": len(train), "sha256": runs.hash_rows(train)},
        "validation": {"rows": len(validation), "sha256": runs.hash_rows(validation)},
        **{key: value for key, value in asdict(chosen).items() if key != "progress"},
    }
    with runs.opened(run, "finetune", identity) as folder:
        if "finished" not in runs.read(folder):
            _train(train, validation, str(model), folder, chosen)
    return Path(folder)


def export(run: str | Path, folder: str | Path) -> Path:
    """Writes what is needed to use a finished run, in half its size; the folder.

    Its run.json, and its adapter with the model card and weights in float16. Loads by
    the folder's name like the run itself. DataError if the run is not finished.
    """
    if "finished" not in runs.read(run):
        raise DataError(f"{run}: not finished, call finetune again")
    folder, adapter = Path(folder), Path(run) / "adapter"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with runs.replacing(folder) as temporary:
        (temporary / "adapter").mkdir(parents=True)
        shutil.copy(Path(run) / "run.json", temporary)
        for name in ("adapter_config.json", "README.md"):
            shutil.copy(adapter / name, temporary / "adapter")
        weights = load_file(adapter / "adapter_model.safetensors")
        halved = {name: tensor.half() for name, tensor in weights.items()}
        save_file(
            halved,
            temporary / "adapter" / "adapter_model.safetensors",
            {"format": "pt"},
        )
    return folder


def read_log(run: str | Path) -> pd.DataFrame:
    """The loss curve: step, epoch, loss, eval_loss, learning_rate, one row a report."""
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise DataError(f"{run}: no log.csv, so no fine-tuning run with a report yet")
    return pd.read_csv(path)


def _read_settings(given: dict) -> Settings:
    chosen = runs.read_settings(Settings, given, "fine-tuning")
    if chosen.micro_batch_size < 1 or chosen.batch_size % chosen.micro_batch_size:
        raise DataError(
            f"micro_batch_size {chosen.micro_batch_size} does not divide batch_size"
            f" {chosen.batch_size}"
        )
    return chosen


def _train(train, validation, name: str, folder: Path, chosen: Settings) -> None:
    print(f"Training on {models.choose_precision(chosen.device, chosen.dtype)}.")
    size = chosen.micro_batch_size
    while True:
        try:
            return _attempt(train, validation, name, folder, chosen, size)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_memory(error):
                raise
        smaller = range(1, size // 2 + 1)
        size = max(n for n in smaller if chosen.batch_size % n == 0)
        print(f"Out of memory: going on with micro-batches of {size}.")


def _attempt(train, validation, name: str, folder: Path, chosen: Settings, size: int):
    """Trains to the end in micro-batches of `size`, which can be less than set."""
    model, tokenizer = models.load(
        name, chosen.quantization, device=chosen.device, dtype=chosen.dtype
    )
    tokenizer.padding_side = "right"
    train, cut = keep_short(train, tokenizer, chosen.max_length)
    validation, cut_too = keep_short(validation, tokenizer, chosen.max_length)
    print(
        f"{cut} of {cut + len(train)} training rows and {cut_too} validation rows are"
        f" longer than {chosen.max_length} tokens and left out."
    )
    if not len(train) or not len(validation):
        raise DataError(f"no row is as short as max_length={chosen.max_length} tokens")
    chosen = replace(chosen, micro_batch_size=size)
    with _explaining(folder):
        trainer = make_trainer(model, tokenizer, train, validation, folder, chosen)
        train_on(trainer, folder)
        _save(trainer, tokenizer, name, folder)
        runs.finish(
            folder,
            weights=model.settings["weights"],
            micro_batch_size=size,
            rows_left_out={"train": cut, "validation": cut_too},
            steps=trainer.state.global_step,
            best_step=trainer.state.best_global_step,
            best_eval_loss=trainer.state.best_metric,
        )


@contextmanager
def _explaining(folder: Path):
    """DataError where writing fails; torch and safetensors have their own errors."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_saving(error):
            raise
        raise DataError(
            f"{folder}: cannot write: {error}: whole checkpoints are kept, make room"
            " and call again"
        ) from error


def _is_saving(error: Exception) -> bool:
    """Whether torch.save raised it, which words a full disk in many ways."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code is torch.save.__code__ for frame in frames)


def train_on(trainer, folder: Path) -> None:
    """Trains from the last checkpoint on, and ends with the best weights loaded."""
    last = _find_checkpoint(folder / "checkpoints")
    if last:
        state = TrainerState.load_from_json(f"{last}/trainer_state.json")
        if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
            trainer.state = state  # killed before saving
            trainer._load_best_model()
            return
        print(f"Going on from {last}.")
    trainer.train(resume_from_checkpoint=last)


def _find_checkpoint(folder: Path) -> str | None:
    """The last checkpoint written to its end; its trainer_state.json comes last."""
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        try:
            json.loads((Path(last) / "trainer_state.json").read_text(encoding="utf-8"))
            return last
        except (OSError, ValueError):
            shutil.rmtree(last)
    return None


def _save(trainer, tokenizer, name: str, folder: Path) -> None:
    config = trainer.model.peft_config["default"]
    config.base_model_name_or_path = models.ALIASES.get(name, name)
    with runs.replacing(folder / "adapter") as temporary:
        trainer.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        record = runs.read(folder)
        local = name.endswith(".gguf") or Path(name).exists()
        card = _CARD.read_text(encoding="utf-8").format(
            base=config.base_model_name_or_path,
            hub="" if local else f"base_model: {config.base_model_name_or_path}\n",
            loss=trainer.state.best_metric,
            step=trainer.state.best_global_step,
            rows=len(trainer.train_dataset),
            record=json.dumps(record, indent=1),
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
