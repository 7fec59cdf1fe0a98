"""TRL's SFTTrainer on affect profiles: a text once, a loss at the end of every question."""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback
from trl import SFTTrainer

from emolib import DataError
from emolib.data import profiles
from emolib.inference import profile, tree_attention
from emolib.training.best_step import ScoredEvaluation, answering, measure
from emolib.training.record import count_processes, explaining
from emolib.training.sft_trainer import make_float32
from emolib.training.shared_batches import SharedRows

AVERAGE = "average.safetensors"  # beside a checkpoint's weights


class ProfileTrainer(ScoredEvaluation, SharedRows, SFTTrainer):
    """SFTTrainer whose rows are texts and whose loss is that of their profiles. What it overrides:

    - the collator and `compute_loss`: a micro-batch is one row of tokens, see `profile.Reader`, and
      the loss that of `measure_loss`;
    - the weights that are evaluated and kept: an exponential moving average over the steps, saved
      with every checkpoint. `average` is its decay (0: no average), which grows with the steps, so
      that 0.995 counts from some 1,800 steps on;
    - the adapter's number type: float32 from the start, see `sft_trainer`.

    `train_dataset` and `eval_dataset` are rows as `profiles.build` gives them. `weights` are those
    of `measure_loss`. DataError for a model that cannot share rows, and under several processes.
    """

    def __init__(self, *, questions=profiles.QUESTIONS, average=0.995, weights=None, **options):
        tokenizer, rows = options["processing_class"], options["train_dataset"]
        if count_processes() > 1 or not tree_attention.fits(options["model"], tokenizer):
            raise DataError(
                "profiles need one process, and a model whose attention can be replaced"
            )
        self.reader, self.loss_weights = profile.make_reader(tokenizer, questions), weights or {}
        self.validation = options["eval_dataset"]
        for name, given in (("train_dataset", rows), ("eval_dataset", self.validation)):
            options[name] = _tokenize(given, tokenizer)
        options["data_collator"] = Collator(self.reader)
        with explaining(options["args"].output_dir):
            super().__init__(**options)
        make_float32(self.model)
        self.trained = torch.nn.ParameterList(p for p in self.model.parameters() if p.requires_grad)
        self.average = None
        if average:
            self.average = AveragedModel(self.trained, multi_avg_fn=_ramp(average))
            self.add_callback(_Averaging(self))

    def _set_signature_columns_if_needed(self):
        self._signature_columns = ["input_ids", "labels", "gold", "ceiling"]

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """The loss of `measure_loss`, averaged over the micro-batches of a step."""
        whole = self.accelerator.unwrap_model(model)
        with self.autocast():
            hidden = tree_attention.encode(whole, inputs["forest"])[inputs["places"]]
        measured = self.reader.measure(hidden, tree_attention.take_body(whole)[1])
        gold, ceiling = inputs["gold"], inputs["ceiling"]
        loss = measure_loss(self.reader, *measured, gold, ceiling, **self.loss_weights)
        if self.model.training and kwargs.get("num_items_in_batch") is not None:
            loss = loss / self.current_gradient_accumulation_steps  # nobody else divides then
        return (loss, {"loss": loss}) if return_outputs else loss

    def evaluation_loop(self, *given, **more):
        """The evaluation of the averaged weights."""
        with self.averaged():
            return super().evaluation_loop(*given, **more)

    def score(self, model) -> float:
        """The score of the model's profiles of the validation rows."""
        return score(model, self.processing_class, self.validation, self.reader.questions)

    @contextmanager
    def averaged(self):
        """The averaged weights in the place of the last step's; afterwards as before."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if self.average is not None and self.average.n_averaged:
            for own, mean in zip(self.trained, self.average.module, strict=True):
                kept = own.detach().clone()
                own.copy_(mean)
                mean.copy_(kept)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if self.average is not None:
            found = {k: v.detach().cpu().contiguous() for k, v in self.average.state_dict().items()}
            save_file(found, Path(output_dir, AVERAGE))

    def _load_from_checkpoint(self, checkpoint, model=None):
        super()._load_from_checkpoint(checkpoint, model)
        if self.average is not None:
            self.average.load_state_dict(load_file(Path(checkpoint, AVERAGE)))

    def _load_best_model(self):
        super()._load_best_model()
        if self.average is not None:
            best = Path(self.state.best_model_checkpoint, AVERAGE)
            self.average.load_state_dict(load_file(best))
            self._swap()  # what is kept in the end are the averaged weights


class _Averaging(TrainerCallback):
    def __init__(self, trainer: ProfileTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **_):
        """Forgets an attempt that ran out of memory before its first checkpoint."""
        if not state.global_step:
            self.trainer.average.n_averaged.zero_()

    def on_step_end(self, args, state, control, **_):
        """Takes the step's weights into the average."""
        self.trainer.average.update_parameters(self.trainer.trained)


def _ramp(decay: float):
    """The average's update: the first steps, far from the last ones, are soon forgotten."""

    def update(means, weights, count):
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(means, weights, 1 - share)

    return update


class Collator:
    """Tokenized texts -> one row, with where every answer is read and what it should be."""

    def __init__(self, reader: profile.Reader):
        self.reader = reader

    def __call__(self, examples: Sequence[dict]) -> dict:
        row, places = self.reader.lay([example["input_ids"] for example in examples])
        batch = {"forest": row, "places": places, "labels": row.ids}
        for name in ("gold", "ceiling"):
            batch[name] = torch.tensor([example[name] for example in examples])
        return batch


def measure_loss(
    reader: profile.Reader,
    digits: torch.Tensor,
    odds: torch.Tensor,
    gold: torch.Tensor,
    ceiling: torch.Tensor,
    cross_entropy: float = 0.5,
    squared_error: float = 10.0,
    labels: float = 3.0,
    absence: float = 0.0,
) -> torch.Tensor:
    """The loss of some texts' profiles, the mean over scores plus the mean over labels.

    `digits` [texts, scores, 10] and `odds` [texts, labels] as `Reader.measure` gives them, `gold`
    and `ceiling` [texts, questions] as `profiles.build`; what is NaN has no loss. A score:
    cross-entropy against the two digits around gold, in the shares that make their mean the gold
    score, and the squared error of the distribution's mean (RAFT, Lukasik et al. 2025); above a
    ceiling that squared error too, times `absence`. A label: binary cross-entropy.
    """
    values = torch.from_numpy(profile.DIGITS).to(digits)
    wanted, limit = gold[:, reader.scores], ceiling[:, reader.scores]
    known = ~wanted.isnan()
    means = digits.exp() @ values
    total = digits.new_zeros(())
    if known.any():
        place = wanted[known] * 9
        below = place.floor().clamp(max=8)
        near = digits[known].gather(-1, torch.stack([below, below + 1], -1).long())
        share = (place - below)[:, None]
        spelled = -(near * torch.cat([1 - share, share], -1)).sum(-1).mean()
        total = cross_entropy * spelled + squared_error * (means - wanted)[known].square().mean()
    limited = ~limit.isnan()
    if absence and limited.any():
        above = (means - limit)[limited].clamp(min=0).square().mean()
        total = total + absence * squared_error * above
    present = gold[:, reader.labels]
    known = ~present.isnan()
    if known.any():
        entropy = binary_cross_entropy_with_logits(odds[known], present[known])
        total = total + labels * entropy
    return total


def score(model, tokenizer, rows: Dataset, questions=profiles.QUESTIONS) -> float:
    """`best_step.measure` of a model's profiles of the rows."""
    with answering(model):
        given = profile.predict(model, tokenizer, rows["text"], questions)
    found = profile.judge(rows["id"], *given, questions)
    items = profiles.to_items(rows, questions)
    return measure(items.merge(found, on=["id", "task", "emotion"], how="left"))


def _tokenize(rows: Dataset, tokenizer) -> Dataset:
    """The rows to train on: prompts' tokens (as labels too, which TRL expects), gold, ceilings."""
    ids = tokenizer(list(rows["prompt"])).input_ids
    kept = rows.select_columns(["gold", "ceiling"])
    return kept.add_column("input_ids", ids).add_column("labels", ids)
