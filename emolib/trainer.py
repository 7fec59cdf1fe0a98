"""TRL's SFTTrainer, set up for LoRA on completions. The only file that imports trl."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from peft import LoraConfig
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from emolib import DataError, attention, batches, constrained, models, runs
from emolib.aaid import keep_short
from emolib.batches import Sampler
from emolib.choices import list_choices
from emolib.tasks import get


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
    share: bool = True  # instructions once per micro-batch, where the model can
    regression_weight: float = 0.0  # a score's squared error beside its tokens' losses
    progress: bool = True


def make_trainer(model, tokenizer, train, validation, folder: Path, chosen: Settings):
    """The SFTTrainer that `finetune` runs; `model` as `models.load` gives it."""
    sharing = _choose_sharing(model, tokenizer, train, chosen)
    trainer = CompletionTrainer(
        model=model,
        args=_make_config(folder, chosen),
        train_dataset=_select(train, tokenizer, chosen),
        eval_dataset=_select(validation, tokenizer, chosen),
        processing_class=tokenizer,
        **sharing,
        peft_config=LoraConfig(
            r=chosen.lora_rank,
            lora_alpha=chosen.lora_alpha,
            lora_dropout=chosen.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[EarlyStoppingCallback(chosen.patience), LossLog(folder / "log.csv")],
    )
    if sharing and {"task", "instruction"} <= set(train.column_names):
        named = train.select_columns(["task", "instruction"])[:]
        trainer.keys = list(zip(named["task"], named["instruction"], strict=True))
    trainer.regression_weight = chosen.regression_weight
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


def _choose_sharing(model, tokenizer, train, chosen: Settings) -> dict:
    """The collator for shared rows, or nothing, and then why."""
    if not chosen.share or not attention.fits(model, tokenizer):
        if chosen.share:
            print("This model cannot share beginnings: training on padded batches.")
        if chosen.regression_weight:
            raise DataError("regression_weight needs share=True and a model that can")
        return {}
    if not chosen.regression_weight:
        return {"data_collator": batches.Collator()}
    tasks = train["task"] if "task" in train.column_names else ()
    scored = [n for n, task in enumerate(tasks) if get(task).kind == "score"]
    if not scored:
        raise DataError("regression_weight needs training rows of a score task")
    first = train[scored[0]]
    tree = list_choices(first["task"], (0.0, 1.0), first["prompt"], tokenizer)
    return {"data_collator": batches.Collator(tree)}


def _select(rows, tokenizer, chosen: Settings):
    """The columns to train on; scores as numbers where the loss needs them."""
    if "input_ids" not in rows.column_names:
        rows, _ = keep_short(rows, tokenizer, chosen.max_length)
    columns = ["input_ids", "labels"]
    if chosen.regression_weight:
        scores = [
            float(completion) if get(task).kind == "score" else None
            for task, completion in zip(rows["task"], rows["completion"], strict=True)
        ]
        rows = rows.select_columns(columns).add_column("score", scores)
        columns.append("score")
    return rows.select_columns(columns)


class CompletionTrainer(SFTTrainer):
    """SFTTrainer whose micro-batch shares its instructions, where the model can.

    The language-model head sees completion tokens only. TRL 1.16 does that on a GPU;
    elsewhere it scores every position and masks later, which takes half of a step's
    time here. The loss is the same either way (tests compare them).
    """

    keys: list | None = None  # (task, instruction) per training row
    regression_weight = 0.0

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "score" not in self._signature_columns:
            self._signature_columns.append("score")

    def _get_train_sampler(self, train_dataset=None):
        rows = self.train_dataset if train_dataset is None else train_dataset
        return Sampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            lengths=[len(ids) for ids in rows["input_ids"]],
            seed=self.args.data_seed,
            keys=self.keys,
        )

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Mean negative log-likelihood of the completion tokens, in nats."""
        shared = "forest" in inputs
        if not shared and self.args.device.type != "cpu":
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        whole = self.accelerator.unwrap_model(model)
        body, head = attention.take_body(whole)
        if shared:
            hidden = attention.encode(whole, inputs["forest"])
            chosen, wanted = hidden[inputs["places"]], inputs["labels"]
        else:
            labels = inputs["labels"][:, 1:]
            states = body(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
            ).last_hidden_state[:, :-1]
            chosen, wanted = states[labels != -100], labels[labels != -100]
        total = cross_entropy(head(chosen).float(), wanted, reduction="sum")
        tokens = kwargs.get("num_items_in_batch") or max(1, len(wanted))
        loss = total / tokens
        if "forks" in inputs and self.model.training:
            tree = self.data_collator.choices
            logits = constrained.score(hidden[inputs["forks"]], head, tree.candidates)
            squares = batches.regress(logits, inputs["scores"], tree)
            loss = loss + self.regression_weight * squares / tokens
        return (loss, {"loss": loss}) if return_outputs else loss


class LossLog(TrainerCallback):
    """Writes the loss curve as data."""

    def __init__(self, path: Path):
        self.path = path

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
        max_length=None,  # rows come tokenized and short enough
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
