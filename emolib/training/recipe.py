"""What every fine-tuning run is made of, whatever trains it.

Settings, the trainer's arguments, the adapter, the log. `sft_trainer` hands them to TRL's
SFTTrainer, `seq2seq_trainer` to the Seq2SeqTrainer of transformers.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from peft import (
    LoraConfig,
    PeftConfig,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.pytorch_utils import Conv1D

from emolib import DataError, files, models
from emolib.models.catalog import BUNDLED
from emolib.models.locate import split_adapter
from emolib.models.weight_files import explain, hash_weights


@dataclass(frozen=True)
class Settings:
    """All that decides a fine-tuning run's outcome beside the data and the model."""

    quantization: str | None = "nf4"  # "nf4", "int8" or None for plain LoRA
    epochs: float = 3.0
    max_steps: int = -1  # above 0 it overrules epochs
    learning_rate: float = 2e-4  # the paper's full tuning: 1e-6
    batch_size: int = 16  # examples per optimizer step; the paper's: 256
    micro_batch_size: int = 16  # examples per forward pass, a divisor of batch_size
    warmup: float = 0.05  # share of all steps
    scheduler: str = "cosine"
    weight_decay: float = 1e-5
    lora_rank: int = 16  # 0 tunes all weights, as the paper does
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: str = "all-linear"  # or ends of layers' names: "q_proj v_proj"
    start: str = ""  # an adapter to go on from: a run, a folder or one in BUNDLED
    max_length: int = 2048  # tokens of prompt, completion and end-of-text
    eval_steps: int = 200  # also how often a checkpoint is written
    patience: int = 3  # evaluations without progress until it stops
    choose_by: str = "loss"  # or "score", see `best_step`: how the best step is found
    seed: int = 0
    device: str = "auto"
    dtype: str | None = None  # None: as models.choose_precision finds it
    activation_checkpointing: bool = False  # less memory, about a third slower
    share: bool = True  # instructions once per micro-batch, where the model can
    regression_weight: float = 0.0  # a score's squared error beside its tokens' losses
    progress: bool = True


def describe_adapter(model, chosen: Settings) -> LoraConfig | None:
    """LoRA on linear layers, never the output; None where all weights are tuned.

    DataError where no such layer's name ends as `lora_targets` says.
    """
    if not chosen.lora_rank:
        return None
    decodes = model.config.is_encoder_decoder
    targets = chosen.lora_targets.split() or [""]
    names = [
        f".{name}"
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D)
        and layer is not model.get_output_embeddings()
    ]
    for target in targets:
        if target != "all-linear" and not any(n.endswith(f".{target}") for n in names):
            raise DataError(
                f"lora_targets: no linear layer of this model is called {target!r}"
                " (all-linear takes every linear layer)"
            )
    return LoraConfig(
        r=chosen.lora_rank,
        lora_alpha=chosen.lora_alpha,
        lora_dropout=chosen.lora_dropout,
        target_modules="all-linear" if "all-linear" in targets else targets,
        task_type="SEQ_2_SEQ_LM" if decodes else "CAUSAL_LM",
    )


def list_callbacks(folder: Path, chosen: Settings) -> list[TrainerCallback]:
    """Early stopping, and the loss curve as a table."""
    return [EarlyStoppingCallback(chosen.patience), LossLog(folder / "log.csv")]


def finish_trainer(trainer, train, start: str = "") -> None:
    """Adapter weights in float32, from `start` if named, and nothing lost on the way.

    TRL casts adapters of quantized models to bfloat16, checkpoints bring them back in
    float32: in float32 from the start a resumed run equals a straight one, and fp16
    training on older cards works. DataError if the trainer dropped rows.
    """
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if start:
        _take_over(trainer.model, start)
    if len(trainer.train_dataset) != len(train):
        lost = len(train) - len(trainer.train_dataset)
        raise DataError(f"the trainer dropped {lost} rows of {len(train)}")


def describe_start(chosen: Settings) -> dict:
    """The hash of the adapter to go on from, for the record.

    DataError if it is none.
    """
    if not chosen.start:
        return {}
    if not chosen.lora_rank:
        raise DataError("start: an adapter to go on from needs lora_rank above 0")
    return {"start_weights": hash_weights(_find_start(chosen.start))}


def _find_start(start: str) -> Path:
    name = start if start in BUNDLED else files.place(start)
    _, folder = split_adapter(name, None)
    if folder is None:
        raise DataError(f"start: {start} is no adapter")
    if not (Path(folder) / "adapter_model.safetensors").is_file():
        raise DataError(f"start: {start} has no adapter_model.safetensors")
    return Path(folder)


def _take_over(model, start: str) -> None:
    """Weights of the adapter `start` into the new adapter, which has to be alike."""
    folder = _find_start(start)
    own = model.peft_config["default"]
    try:
        given = PeftConfig.from_pretrained(folder)
        weights = load_peft_weights(folder, "cpu")
    except Exception as error:  # of every kind
        raise explain(start, error) from error
    for name in ("r", "lora_alpha"):
        if getattr(own, name) != getattr(given, name):
            raise DataError(
                f"start: {start} has {name}={getattr(given, name)} in its LoRA, this"
                f" run {getattr(own, name)}: they have to agree"
            )
    try:
        found = set_peft_model_state_dict(model, weights)
    except RuntimeError as error:  # tensors of other sizes
        raise explain(start, error) from error
    fresh = [name for name in found.missing_keys if "lora_" in name]
    if fresh or found.unexpected_keys:
        odd = [*fresh, *found.unexpected_keys][0]
        raise DataError(f"start: {start} was trained on other layers ({odd})")


def join(device: str = "auto") -> PartialState:
    """This process among those that a launcher started, or alone.

    Called before anything else asks for them: without a GPU they find one another only
    where they are told that they compute on the CPU.
    """
    return PartialState(cpu=models.choose_precision(device).device == "cpu")


def count_processes() -> int:
    """How many processes train together: one, but under a launcher."""
    return PartialState().num_processes


def count_rows(args) -> int:
    """Rows of an optimizer step, over all processes."""
    whole = args.train_batch_size * args.gradient_accumulation_steps
    return whole * count_processes()


def list_keys(train) -> list[tuple[str, str]] | None:
    """(task, instruction) per row, by which batches are mixed; None if not known."""
    if not {"task", "instruction"} <= set(train.column_names):
        return None
    named = train.select_columns(["task", "instruction"])[:]
    return list(zip(named["task"], named["instruction"], strict=True))


MEASURED = ("eval_loss", "eval_score")


class LossLog(TrainerCallback):
    """Writes the loss curve as data."""

    def __init__(self, path: Path):
        self.path = path

    def on_log(self, args, state, control, **_):
        """Rewrites the whole table, so that a resumed run has one curve."""
        names = ("step", "epoch", "loss", *MEASURED, "learning_rate", "grad_norm")
        reports = [r for r in state.log_history if "loss" in r or "eval_loss" in r]
        table = pd.DataFrame(reports).reindex(columns=list(names))
        with files.replacing(self.path) as temporary:
            table.to_csv(temporary, index=False)


def list_arguments(folder: Path, chosen: Settings) -> dict:
    """What SFTConfig and Seq2SeqTrainingArguments have in common."""
    precision = models.choose_precision(chosen.device, chosen.dtype)
    at_once = chosen.micro_batch_size * count_processes()
    return {
        "output_dir": str(folder / "checkpoints"),
        "num_train_epochs": chosen.epochs,
        "max_steps": chosen.max_steps,
        "learning_rate": chosen.learning_rate,
        "per_device_train_batch_size": chosen.micro_batch_size,
        "per_device_eval_batch_size": chosen.micro_batch_size,
        "gradient_accumulation_steps": chosen.batch_size // at_once,
        "warmup_steps": chosen.warmup,  # below 1 it is a share
        "lr_scheduler_type": chosen.scheduler,
        "weight_decay": chosen.weight_decay,
        "eval_strategy": "steps",
        "eval_steps": chosen.eval_steps,
        "save_steps": chosen.eval_steps,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{chosen.choose_by}",
        "greater_is_better": chosen.choose_by == "score",
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": max(1, chosen.eval_steps // 10),
        "seed": chosen.seed,
        "data_seed": chosen.seed,
        "use_cpu": precision.device == "cpu",
        "bf16": precision.mixed == "bf16",
        "fp16": precision.mixed == "fp16",
        "report_to": "none",
        "disable_tqdm": not chosen.progress,
    }
