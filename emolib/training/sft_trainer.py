"""TRL's SFTTrainer, set up for LoRA on completions. The only file that imports trl."""

from pathlib import Path

from torch.nn.functional import cross_entropy
from trl import SFTConfig, SFTTrainer

from emolib import DataError
from emolib.inference import constrained, tree_attention
from emolib.inference.answer_tree import list_choices
from emolib.models.tokens import keep_short
from emolib.tasks import get
from emolib.training import recipe, shared_batches
from emolib.training.best_step import Judged
from emolib.training.recipe import Settings
from emolib.training.shared_batches import Sampler


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
        peft_config=recipe.describe_adapter(model, chosen),
        callbacks=recipe.list_callbacks(folder, chosen),
    )
    if sharing or recipe.count_processes() > 1:  # several see the rows that one sees
        trainer.keys = recipe.list_keys(train)
    trainer.regression_weight = chosen.regression_weight
    if chosen.choose_by == "score":
        trainer.judged = validation
    recipe.finish_trainer(trainer, train, chosen.start)
    return trainer


def _choose_sharing(model, tokenizer, train, chosen: Settings) -> dict:
    """The collator for shared rows, or nothing, and then why."""
    several = recipe.count_processes() > 1  # they meet in the model's own forward pass
    if not chosen.share or several or not tree_attention.fits(model, tokenizer):
        if chosen.share:
            who = "Several processes" if several else "This model"
            print(f"{who} cannot share beginnings: training on padded batches.")
        if chosen.regression_weight:
            raise DataError(
                "regression_weight needs share=True, one process and a model that can"
            )
        return {}
    if not chosen.regression_weight:
        return {"data_collator": shared_batches.Collator()}
    tasks = train["task"] if "task" in train.column_names else ()
    scored = [n for n, task in enumerate(tasks) if get(task).kind == "score"]
    if not scored:
        raise DataError("regression_weight needs training rows of a score task")
    first = train[scored[0]]
    style = getattr(model, "settings", {}).get("answers", "after")
    tree = list_choices(first["task"], (0.0, 1.0), first["prompt"], tokenizer, style)
    return {"data_collator": shared_batches.Collator(tree)}


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


class CompletionTrainer(Judged, SFTTrainer):
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
            recipe.count_rows(self.args),
            lengths=[len(ids) for ids in rows["input_ids"]],
            seed=self.args.data_seed,
            keys=self.keys,
        )

    def training_step(self, model, inputs, *given, **more):
        """One forward and backward pass, see `tree_attention.attending`."""
        if "forest" not in inputs:
            return super().training_step(model, inputs, *given, **more)
        body, _ = tree_attention.take_body(self.accelerator.unwrap_model(model))
        with tree_attention.attending(body):
            return super().training_step(model, inputs, *given, **more)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Mean negative log-likelihood of the completion tokens, in nats."""
        shared = "forest" in inputs
        plain = self.args.device.type != "cpu" or recipe.count_processes() > 1
        if not shared and plain:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        whole = self.accelerator.unwrap_model(model)
        body, head = tree_attention.take_body(whole)
        if shared:
            hidden = tree_attention.encode(whole, inputs["forest"])
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
            squares = shared_batches.regress(logits, inputs["scores"], tree)
            loss = loss + self.regression_weight * squares / tokens
        return (loss, {"loss": loss}) if return_outputs else loss


def _make_config(folder: Path, chosen: Settings) -> SFTConfig:
    return SFTConfig(
        **recipe.list_arguments(folder, chosen),
        max_length=None,  # rows come tokenized and short enough
        completion_only_loss=True,
        packing=False,
        activation_checkpointing=chosen.activation_checkpointing,
    )
