"""The Seq2SeqTrainer of transformers for T5 and BART, set up like `sft_trainer`'s."""

from pathlib import Path

from peft import get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

from emolib import DataError
from emolib.models.tokens import keep_short
from emolib.training import recipe
from emolib.training.best_step import Judged
from emolib.training.recipe import Settings
from emolib.training.shared_batches import Sampler

_COLUMNS = ["input_ids", "labels"]


def make_trainer(model, tokenizer, train, validation, folder: Path, chosen: Settings):
    """The Seq2SeqTrainer that `finetune` runs; `model` as `models.load` gives it.

    DataError for regression_weight, which reads numbers off a decoder's own prompt.
    """
    if chosen.regression_weight:
        raise DataError("regression_weight needs a decoder-only model")
    adapter = recipe.describe_adapter(model, chosen)
    if adapter:
        if chosen.activation_checkpointing:
            model.enable_input_require_grads()
        set_seed(chosen.seed)  # the adapter is drawn before the trainer sets it
        model = get_peft_model(model, adapter)
    trainer = PairTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            **recipe.list_arguments(folder, chosen),
            gradient_checkpointing=chosen.activation_checkpointing,
        ),
        train_dataset=_select(train, tokenizer, chosen),
        eval_dataset=_select(validation, tokenizer, chosen),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        callbacks=recipe.list_callbacks(folder, chosen),
    )
    trainer.keys = recipe.list_keys(train)
    if chosen.choose_by == "score":
        trainer.judged = validation
    recipe.finish_trainer(trainer, train, chosen.start)
    return trainer


def _select(rows, tokenizer, chosen: Settings):
    if "input_ids" not in rows.column_names:
        rows, _ = keep_short(rows, tokenizer, chosen.max_length, "decoder")
    return rows.select_columns(_COLUMNS)


class PairTrainer(Judged, Seq2SeqTrainer):
    """Seq2SeqTrainer whose optimizer steps see all tasks, as `CompletionTrainer`'s."""

    keys: list | None = None  # (task, instruction) per training row

    def _get_train_sampler(self, train_dataset=None):
        rows = self.train_dataset if train_dataset is None else train_dataset
        return Sampler(
            recipe.count_rows(self.args),
            lengths=[len(ids) for ids in rows["input_ids"]],
            seed=self.args.data_seed,
            keys=self.keys,
        )
