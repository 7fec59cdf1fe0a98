"""How well a model in training answers validation rows, which chooses the best step.

A validation loss counts every token of an answer alike; what is reported in the end are
correlations and overlaps of label sets, which need not be best where the loss is lowest.
"""

from contextlib import contextmanager

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.data.rows import to_frame
from emolib.evaluation import decision_rules, judgements, metrics
from emolib.inference import constrained, tree_attention
from emolib.tasks import get

METRIC = "eval_score"
NEEDED = ("task", "emotion", "prompt", "gold")


class ScoredEvaluation:
    """For a Trainer: `eval_score` among its evaluations where its arguments ask for it.

    They do by metric_for_best_model="eval_score".
    """

    validation = None

    def set_validation(self, rows) -> None:
        """The rows to score; DataError where they lack a column that this needs."""
        missing = [name for name in NEEDED if name not in rows.column_names]
        if missing and self.args.metric_for_best_model == METRIC:
            wanted = f"{', '.join(NEEDED)}: {', '.join(missing)} missing (aaid.build gives them)"
            raise DataError(f"choose_by='score' needs validation rows with {wanted}")
        self.validation = rows

    def evaluation_loop(self, *given, **more):
        """The trainer's own evaluation, with the score among its metrics."""
        output = super().evaluation_loop(*given, **more)
        if self.args.metric_for_best_model == METRIC:
            model = self.accelerator.unwrap_model(self.model)
            output.metrics[METRIC] = self.score(model)
        return output

    def score(self, model) -> float:
        """The score of the model's answers to the validation rows."""
        return score(model, self.processing_class, self.validation)


def score(model, tokenizer, rows) -> float:
    """`measure` of a model's constrained answers to the rows."""
    style = getattr(model, "settings", {}).get("answers", "after")
    questions = constrained.read_questions(rows, tokenizer, style)
    shared = tree_attention.fits(model, tokenizer)
    with answering(model):
        records = constrained.predict_all(model, tokenizer, questions, shared)
    items = to_frame(rows)[["task", "emotion", "gold"]]
    given = [record.get("probabilities", {}) for record in records]
    means = list(map(judgements.compute_mean, items["task"], given))
    told = [record.get("prediction") for record in records]
    return measure(items.assign(mean=means, prediction=told))


@contextmanager
def answering(model):
    """A model without dropout; in training again afterwards, if it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def measure(items: pd.DataFrame) -> float:
    """The mean over the tasks of items with task, emotion, gold, mean; in [-1, 1].

    Score and ordinal tasks: Pearson's r of the distribution's mean, averaged over emotions; label
    tasks: the Jaccard index of `prediction`, or of the labels more probable than not.
    """
    values = []
    for task, part in items.groupby("task"):
        if get(task).kind == "labels":
            if "prediction" not in part:
                part = decision_rules.decide(part, decision_rules.Rules())
            found = metrics.score(task, list(part["gold"]), list(part["prediction"]))
            values.append(found["jaccard"])
        else:
            sides = (list(part[name]) for name in ("gold", "mean", "emotion"))
            values.append(metrics.correlate(task, *sides))
    return float(np.mean(values))
