"""How well a model in training answers validation rows, which chooses the best step.

A validation loss counts every token of an answer alike; what is reported in the end are
correlations and overlaps of label sets, which need not be best where the loss is lowest.
"""

import numpy as np

from emolib import DataError
from emolib.evaluation import judgements, metrics
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
            output.metrics[METRIC] = score(model, self.processing_class, self.validation)
        return output


def score(model, tokenizer, rows) -> float:
    """The mean over the rows' tasks, in [-1, 1], by constrained answers.

    Score and ordinal tasks: Pearson's r of the distribution's mean, averaged over emotions; label
    tasks: the Jaccard index of the labels more probable than not.
    """
    style = getattr(model, "settings", {}).get("answers", "after")
    questions = constrained.read_questions(rows, tokenizer, style)
    shared = tree_attention.fits(model, tokenizer)
    training = model.training
    model.eval()
    try:
        records = constrained.predict_all(model, tokenizer, questions, shared)
    finally:
        model.train(training)
    whole = rows[:]
    tasks = sorted(set(whole["task"]))
    return float(np.mean([_score_task(task, whole, records) for task in tasks]))


def _score_task(task: str, whole: dict, records: list) -> float:
    own = [n for n, name in enumerate(whole["task"]) if name == task]
    gold = [whole["gold"][n] for n in own]
    if get(task).kind == "labels":
        predicted = [records[n]["prediction"] for n in own]
        return metrics.score(task, gold, predicted)["jaccard"]
    means = [judgements.compute_mean(task, records[n]["probabilities"]) for n in own]
    groups = [whole["emotion"][n] for n in own]
    return metrics.correlate(task, gold, means, groups)
