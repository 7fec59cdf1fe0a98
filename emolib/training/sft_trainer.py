"""TRL's SFTTrainer with one change: a micro-batch computes its shared prompts once."""

from datasets import Dataset
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from emolib import DataError
from emolib.inference import constrained, tree_attention
from emolib.inference.answer_tree import list_choices
from emolib.tasks import get
from emolib.training import shared_batches
from emolib.training.best_step import ScoredEvaluation
from emolib.training.record import count_processes, explaining
from emolib.training.shared_batches import SharedRows, TaskMixingSampler, list_keys


class SharedPromptTrainer(ScoredEvaluation, TaskMixingSampler, SharedRows, SFTTrainer):
    """SFTTrainer whose micro-batches share their instructions. What it overrides:

    - the sampler: every optimizer step sees all tasks, rows of one instruction side by side;
    - the collator and `compute_loss`: a micro-batch is one row of tokens in which a shared
      instruction stands once (`prefix_tree`). The loss is that of padded batches: mean negative
      log-likelihood of the completion tokens, in nats. The language-model head computes completion
      tokens only;
    - the adapter's number type: float32 from the start. TRL makes it bfloat16 beside a quantized
      model and a checkpoint brings it back as float32, so a resumed run would differ, and float16
      training (a T4) would fail.

    `train_dataset` and `eval_dataset` are rows as `tokens.keep_short` gives them. With share=False,
    for a model that cannot share (it says so) and in several processes the micro-batches are
    padded. `regression_weight` above 0 adds the squared error of a score's expected value (RAFT) to
    its tokens' loss; it needs shared rows.
    """

    def __init__(self, *, share=True, regression_weight=0.0, **options):
        model, tokenizer = options["model"], options["processing_class"]
        rows, validation = options["train_dataset"], options["eval_dataset"]
        shared = share and _can_share(model, tokenizer)
        if regression_weight and not shared:
            raise DataError("regression_weight needs share=True, one process and a model that can")
        if shared:
            tree = _list_scores(model, tokenizer, rows) if regression_weight else None
            options["data_collator"] = shared_batches.Collator(tree)
        for name in ("train_dataset", "eval_dataset"):
            options[name] = _select(options[name], bool(regression_weight))
        with explaining(options["args"].output_dir):
            super().__init__(**options)
        # Several processes see the rows that one sees.
        self.keys = list_keys(rows) if shared or count_processes() > 1 else None
        self.set_validation(validation)
        self.regression_weight = regression_weight
        make_float32(self.model)
        if len(self.train_dataset) != len(rows):
            lost = len(rows) - len(self.train_dataset)
            raise DataError(f"the trainer dropped {lost} rows of {len(rows)}")

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "score" not in self._signature_columns:
            self._signature_columns.append("score")

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Mean negative log-likelihood of the completion tokens, in nats."""
        padded = "forest" not in inputs
        if padded and (self.args.device.type != "cpu" or count_processes() > 1):
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        whole = self.accelerator.unwrap_model(model)
        _, head = tree_attention.take_body(whole)
        with self.autocast():
            if padded:
                states, wanted = _encode_padded(whole, inputs)
            else:
                hidden = tree_attention.encode(whole, inputs["forest"])
                states, wanted = hidden[inputs["places"]], inputs["labels"]
            scores = head(states).float()
        total = cross_entropy(scores, wanted, reduction="sum")
        tokens = kwargs.get("num_items_in_batch") or max(1, len(wanted))
        loss = total / tokens
        if "forks" in inputs and self.model.training:
            tree = self.data_collator.choices
            logits = constrained.score(hidden[inputs["forks"]], head, tree.candidates)
            squares = shared_batches.regress(logits, inputs["scores"], tree)
            loss = loss + self.regression_weight * squares / tokens
        return (loss, {"loss": loss}) if return_outputs else loss


def make_float32(model) -> None:
    """Makes the trained weights float32, whatever the frozen ones are."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _encode_padded(model, inputs):
    """Hidden states before every completion token [tokens, width], and the tokens.

    TRL 1.16 skips the other positions on a GPU only; on a CPU they take half of a step's time.
    """
    body, _ = tree_attention.take_body(model)
    labels = inputs["labels"][:, 1:]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    found = body(input_ids=ids, attention_mask=mask, use_cache=False)
    states = found.last_hidden_state[:, :-1]
    return states[labels != -100], labels[labels != -100]


def _can_share(model, tokenizer) -> bool:
    several = count_processes() > 1  # they meet in the model's own forward pass
    can = not several and tree_attention.fits(model, tokenizer)
    if not can:
        who = "Several processes" if several else "This model"
        print(f"{who} cannot share beginnings: training on padded batches.")
    return can


def _list_scores(model, tokenizer, rows: Dataset):
    """The tree of a score's answers, after the first training row of a score task."""
    tasks = rows["task"] if "task" in rows.column_names else ()
    scored = [n for n, task in enumerate(tasks) if get(task).kind == "score"]
    if not scored:
        raise DataError("regression_weight needs training rows of a score task")
    first = rows[scored[0]]
    style = getattr(model, "settings", {}).get("answers", "after")
    return list_choices(first["task"], (0.0, 1.0), first["prompt"], tokenizer, style)


def _select(rows: Dataset, scored: bool) -> Dataset:
    """The columns to train on; with `scored` a score task's gold as a number, too."""
    columns = ["input_ids", "labels"]
    if not scored:
        return rows.select_columns(columns)
    pairs = zip(rows["task"], rows["completion"], strict=True)
    scores = [float(text) if get(task).kind == "score" else None for task, text in pairs]
    return rows.select_columns(columns).add_column("score", scores)
