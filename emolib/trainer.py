"""TRL's SFTTrainer, set up for LoRA on completions. The only file that imports trl."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from peft import LoraConfig
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from emolib import DataError, models, runs


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
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    max_length: int = 2048  # tokens of prompt, completion and end-of-text
    eval_steps: int = 200  # also how often a checkpoint is written
    patience: int = 3  # evaluations without a lower validation loss until it stops
    seed: int = 0
    device: str = "auto"
    dtype: str | None = None  # None: as models.choose_precision finds it
    activation_checkpointing: bool = False  # less memory, about a third slower
    progress: bool = True


def make_trainer(model, tokenizer, train, validation, folder: Path, chosen: Settings):
    """The SFTTrainer that `finetune` runs; `model` as `models.load` gives it."""
    trainer = CompletionTrainer(
        model=model,
        args=_make_config(folder, chosen),
        train_dataset=train.select_columns(["prompt", "completion"]),
        eval_dataset=validation.select_columns(["prompt", "completion"]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=chosen.lora_rank,
            lora_alpha=chosen.lora_alpha,
            lora_dropout=chosen.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[EarlyStoppingCallback(chosen.patience), LossLog(folder / "log.csv")],
    )
    # TRL casts adapters of quantized models to bfloat16, checkpoints bring them back in
    # float32: in float32 from the start a resumed run equals a straight one, and fp16
    # training on older cards works.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if len(trainer.train_dataset) != len(train):
        lost = len(train) - len(trainer.train_dataset)
        raise DataError(f"the trainer dropped {lost} rows of {len(train)}")
    return trainer


class CompletionTrainer(SFTTrainer):
    """SFTTrainer with the language-model head on completion tokens only, on a CPU too.

    TRL 1.16 does that on a GPU; elsewhere it scores every position and masks later,
    which takes half of a step's time here. The loss is the same (a test compares them).
    """

    def _get_train_sampler(self, train_dataset=None):
        rows = self.train_dataset if train_dataset is None else train_dataset
        return _Sampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            lengths=[len(ids) for ids in rows["input_ids"]],
            seed=self.args.data_seed,
        )

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Mean negative log-likelihood of the completion tokens, in nats."""
        if self.args.device.type != "cpu":
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        base = self.accelerator.unwrap_model(model).get_base_model()
        labels = inputs["labels"][:, 1:]
        hidden = base.base_model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state[:, :-1]
        scored = labels != -100
        logits = base.get_output_embeddings()(hidden[scored]).float()
        total = cross_entropy(logits, labels[scored], reduction="sum")
        loss = total / (kwargs.get("num_items_in_batch") or scored.sum().clamp(min=1))
        return (loss, {"loss": loss}) if return_outputs else loss


class _Sampler(torch.utils.data.Sampler):
    """Random optimizer batches, with rows of like length side by side inside each.

    Micro-batches then pad little, and yet every optimizer step sees all tasks. Grouping
    by length across steps, as the library does, gives it one task at a time, since the
    rows of a task are alike in length. The order depends on seed and epoch alone: an
    evaluation or a resume changes nothing.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        self.batch_size, self.lengths = batch_size, lengths
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield from sorted(batch, key=lambda index: -self.lengths[index])


class LossLog(TrainerCallback):
    """Writes the loss curve as data, and marks the last checkpoint as the last."""

    def __init__(self, path: Path):
        self.path = path

    def on_save(self, args, state, control, **_):
        if control.should_training_stop:
            Path(args.output_dir, "ended").touch()

    def on_log(self, args, state, control, **_):
        """Rewrites the whole table, so that a resumed run has one curve."""
        names = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm")
        reports = [r for r in state.log_history if "loss" in r or "eval_loss" in r]
        table = pd.DataFrame(reports).reindex(columns=list(names))
        with runs.replacing(self.path) as temporary:
            table.to_csv(temporary, index=False)


def _make_config(folder: Path, chosen: Settings) -> SFTConfig:
    precision = models.choose_precision(chosen.device, chosen.dtype)
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=chosen.epochs,
        max_steps=chosen.max_steps,
        learning_rate=chosen.learning_rate,
        per_device_train_batch_size=chosen.micro_batch_size,
        per_device_eval_batch_size=chosen.micro_batch_size,
        gradient_accumulation_steps=chosen.batch_size // chosen.micro_batch_size,
        warmup_steps=chosen.warmup,  # below 1 it is a share
        lr_scheduler_type=chosen.scheduler,
        weight_decay=chosen.weight_decay,
        max_length=chosen.max_length,
        completion_only_loss=True,
        packing=False,
        activation_checkpointing=chosen.activation_checkpointing,
        eval_strategy="steps",
        eval_steps=chosen.eval_steps,
        save_steps=chosen.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, chosen.eval_steps // 10),
        seed=chosen.seed,
        data_seed=chosen.seed,
        use_cpu=precision.device == "cpu",
        bf16=precision.mixed == "bf16",
        fp16=precision.mixed == "fp16",
        report_to="none",
        disable_tqdm=not chosen.progress,
    )
