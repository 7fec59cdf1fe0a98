"""Training set and settings in, LoRA adapter out, through TRL's SFTTrainer.

T5 and BART go through the Seq2SeqTrainer of transformers. Under `torchrun` or
`accelerate launch` the same call is one of several processes.

Defaults are the paper's where they apply to QLoRA (section 3.4: three epochs, 5 %
warm-up, cosine decay, early stopping on validation loss, 2,048 tokens). The paper tunes
all weights with learning rate 1e-6 and batch 256; LoRA needs a higher rate (2e-4 here)
and does well with small batches (16 here).
"""

import json
import shutil
import traceback
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from emolib import DataError, files, models, runs
from emolib.data.aaid import check_rows
from emolib.data.prompts import form_of
from emolib.inference.constrained import is_memory
from emolib.models.tokens import keep_short
from emolib.publishing import average_adapters
from emolib.training import best_step as judging
from emolib.training import recipe, seq2seq_trainer
from emolib.training.recipe import Settings, count_processes
from emolib.training.sft_trainer import make_trainer

_CARD = Path(__file__).with_name("model_card.md")


def finetune(
    train: Dataset,
    validation: Dataset,
    model: str = "smollm2-135m",
    run: str | Path = "runs/finetune",
    **settings,
) -> Path:
    """The run folder's path, with the adapter of the best step in it.

    That is the step of the lowest validation loss, or of the best answers to the
    validation rows if `choose_by` says so (see `best_step`).

    The folder holds adapter/ (safetensors, model card), run.json (settings, data
    hashes, versions, seed, commit, results), log.csv (the loss curve) and checkpoints/.
    A finished run returns at once; an interrupted one goes on from its last checkpoint
    and ends with the weights of an uninterrupted one. Loss is on the completion only.
    Where memory runs out, micro-batches are halved; the optimizer's batches stay.
    Rows with the columns task and instruction, as `aaid.build` gives them, share their
    instructions in a micro-batch, and every optimizer step sees all tasks; others share
    what they happen to begin with.
    `settings` are the fields of `Settings`; with lora_rank=0 all weights are tuned and
    model/ stands in the place of adapter/.

    Raises DataError for an unknown setting, for rows without prompt and completion, for
    a folder made with other settings or data, for quantized weights that are to be
    tuned themselves, and if every row is too long.
    """
    chosen = _read_settings(settings)
    for name, rows in (("train", train), ("validation", validation)):
        check_rows(rows, name)
    judging.check(chosen.choose_by, validation)
    identity = {
        "model": str(model),
        "prompt_form": form_of(train[0]["prompt"]),
        "train": {"rows": len(train), "sha256": files.hash_rows(train)},
        "validation": {"rows": len(validation), "sha256": files.hash_rows(validation)},
        **{key: value for key, value in asdict(chosen).items() if key != "progress"},
        **recipe.describe_start(chosen),
    }
    with _opened(run, identity, chosen) as folder:
        if "finished" not in runs.read(folder):
            _train(train, validation, str(model), folder, chosen)
    return Path(folder)


@contextmanager
def _opened(run: str | Path, identity: dict, chosen: Settings):
    """The run folder, opened by the first process; the others wait for it."""
    team = recipe.join(chosen.device)
    if not team.is_main_process:
        team.wait_for_everyone()
        yield Path(run)
        return
    with runs.opened(run, "finetune", identity) as folder:
        team.wait_for_everyone()
        yield folder


def export(
    run: str | Path, folder: str | Path, others: Iterable[str | Path] = ()
) -> Path:
    """Writes what is needed to use a finished run, in half its size; the folder.

    Its run.json, and its adapter with the model card and weights in float16. Loads by
    the folder's name like the run itself. With `others`, runs too, the weights are the
    mean over all (see `average_adapters`), and run.json holds their records as averaged_with.
    DataError if the run is not finished, or the others do not fit it.
    """
    record, others = runs.read(run), list(others)
    if "finished" not in record:
        raise DataError(f"{run}: not finished, call finetune again")
    folder, adapter = Path(folder), Path(run) / "adapter"
    if others:
        weights = average_adapters.average(run, others)
        record["averaged_with"] = average_adapters.describe(others)
    else:
        weights = load_file(adapter / "adapter_model.safetensors")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder) as temporary:
        (temporary / "adapter").mkdir(parents=True)
        files.write_json(temporary / "run.json", record)
        shutil.copy(adapter / "adapter_config.json", temporary / "adapter")
        card = (adapter / "README.md").read_text(encoding="utf-8")
        if others:
            card += average_adapters.NOTE.format(n=len(others) + 1)
        files.write_text(temporary / "adapter" / "README.md", card)
        save_file(
            {name: tensor.half() for name, tensor in weights.items()},
            temporary / "adapter" / "adapter_model.safetensors",
            {"format": "pt"},
        )
    return folder


def read_log(run: str | Path) -> pd.DataFrame:
    """The loss curve, one row a report: step, epoch, loss, eval_loss, eval_score etc.

    eval_score is empty but where the best step is chosen by it.
    """
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise DataError(f"{run}: no log.csv, so no fine-tuning run with a report yet")
    return pd.read_csv(path)


def read_more(text: str, own: Iterable[str] = ()) -> dict:
    """Fields of `Settings` from "name=value name=value", a notebook's `more`.

    In a value of several words commas stand for spaces: "lora_targets=q_proj,v_proj".
    `own`: names that have a parameter of their own. DataError for one of these, for an
    unknown name or a value of another type.
    """
    kinds = {each.name: each.type for each in fields(Settings)}
    found = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        kind = kinds.get(name)
        try:
            if not equals or kind not in _READERS:
                raise ValueError
            found[name] = _READERS[kind](value)
        except (ValueError, KeyError):
            names = ", ".join(name for name, kind in kinds.items() if kind in _READERS)
            raise DataError(
                f"more: {part!r}: expected name=value with a name of {names}"
            ) from None
    if twice := sorted(found.keys() & set(own)):
        raise DataError(f"more: {', '.join(twice)}: a parameter of its own")
    return found


_READERS = {
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
    str: lambda value: value.replace(",", " "),
}


def _read_settings(given: dict) -> Settings:
    chosen = runs.read_settings(Settings, given, "fine-tuning")
    recipe.join(chosen.device)
    processes = count_processes()
    at_once = chosen.micro_batch_size * processes
    if chosen.micro_batch_size < 1 or chosen.batch_size % at_once:
        each = f" in {processes} processes" if processes > 1 else ""
        raise DataError(
            f"micro_batch_size {chosen.micro_batch_size}{each} does not divide"
            f" batch_size {chosen.batch_size}"
        )
    if chosen.lora_rank == 0 and chosen.quantization:
        raise DataError(
            f"lora_rank=0 tunes all weights, which quantization={chosen.quantization!r}"
            " freezes: set quantization=None"
        )
    return chosen


def _train(train, validation, name: str, folder: Path, chosen: Settings) -> None:
    print(f"Training on {models.choose_precision(chosen.device, chosen.dtype)}.")
    size = chosen.micro_batch_size
    while True:
        try:
            return _attempt(train, validation, name, folder, chosen, size)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or count_processes() > 1 or not is_memory(error):
                raise
        smaller = range(1, size // 2 + 1)
        size = max(n for n in smaller if chosen.batch_size % n == 0)
        print(f"Out of memory: going on with micro-batches of {size}.")


def _attempt(train, validation, name: str, folder: Path, chosen: Settings, size: int):
    """Trains to the end in micro-batches of `size`, which can be less than set."""
    chosen = replace(chosen, micro_batch_size=size)
    model, tokenizer = _load(name, folder, chosen)
    style = model.settings["answers"]
    with PartialState().main_process_first():
        train, cut = keep_short(train, tokenizer, chosen.max_length, style)
        validation, cut_too = keep_short(
            validation, tokenizer, chosen.max_length, style
        )
    print(
        f"{cut} of {cut + len(train)} training rows and {cut_too} validation rows are"
        f" longer than {chosen.max_length} tokens and left out."
    )
    if not len(train) or not len(validation):
        raise DataError(f"no row is as short as max_length={chosen.max_length} tokens")
    make = seq2seq_trainer.make_trainer if style == "decoder" else make_trainer
    with _explaining(folder):
        trainer = make(model, tokenizer, train, validation, folder, chosen)
        train_on(trainer, folder)
        _save(trainer, tokenizer, name, folder)
        if trainer.is_world_process_zero():
            runs.finish(
                folder,
                weights=model.settings["weights"],
                micro_batch_size=size,
                processes=count_processes(),
                rows_left_out={"train": cut, "validation": cut_too},
                steps=trainer.state.global_step,
                best_step=trainer.state.best_global_step,
                **_read_best(trainer.state),
            )


def _load(name: str, folder: Path, chosen: Settings):
    """Model and tokenizer to train.

    Weights that are tuned themselves are loaded in float32, whatever is computed in:
    in bfloat16 the paper's learning rate of 1e-6 would be lost in rounding.
    """
    dtype = chosen.dtype if chosen.lora_rank else "float32"
    launched = None
    if models.is_sharded():  # read by DeepSpeed while it loads, as long as it is held
        launched = TrainingArguments(**recipe.list_arguments(folder, chosen))
    model, tokenizer = models.load(
        name, chosen.quantization, device=chosen.device, dtype=dtype
    )
    del launched
    tokenizer.padding_side = "right"
    return model, tokenizer


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


def _read_best(state: TrainerState) -> dict:
    """The validation loss at the best step, and the score there if it was measured."""
    best: dict = {}
    for report in state.log_history:
        if report["step"] == state.best_global_step:
            best |= {key: report[key] for key in recipe.MEASURED if key in report}
    return {f"best_{name}": value for name, value in best.items()}


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
    """The adapter, or all weights, gathered from all processes, with its card."""
    model, weights = trainer.model, None
    if count_processes() > 1:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    base = models.ALIASES.get(name, name)
    adapter = hasattr(model, "peft_config")
    if adapter:
        model.peft_config["default"].base_model_name_or_path = base
    with files.replacing(folder / ("adapter" if adapter else models.FULL)) as temporary:
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        local = name.endswith(".gguf") or Path(name).exists()
        card = _CARD.read_text(encoding="utf-8").format(
            base=base,
            hub="" if local else f"base_model: {base}\n",
            best=", ".join(
                f"validation {name.removeprefix('best_eval_')} {value:.4g}"
                for name, value in _read_best(trainer.state).items()
            ),
            step=trainer.state.best_global_step,
            rows=len(trainer.train_dataset),
            record=json.dumps(runs.read(folder), indent=1),
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
