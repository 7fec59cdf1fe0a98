"""The columns that annotating gives, and how an answer's probabilities fill them."""

from collections.abc import Iterable

import numpy as np

from emolib import DataError
from emolib.evaluation.judgements import NEAR, name_part, scale, scale_labels
from emolib.tasks import get

COLUMNS = {
    "EI-reg": "{}_intensity",
    "EI-oc": "{}_class",
    "V-reg": "valence",
    "V-oc": "valence_class",
    "E-c": "has_{}",
}
_TYPES = {"score": "float64", "ordinal": "Int64", "labels": "boolean"}


def list_columns(tasks: Iterable[str], coverage: float | None = None) -> dict[str, str]:
    """Column -> pandas type of what `annotate` gives for these tasks, without reason.

    With `coverage` the ends of an interval after every score.

    >>> list(list_columns(["V-oc"]))
    ['valence_class', 'valence_class_confidence']
    """
    columns = {}
    for name in tasks:
        task = get(name)
        for emotion in task.emotions or task.labels or ("",):
            column = COLUMNS[name].format(emotion)
            columns |= {column: _TYPES[task.kind], f"{column}_confidence": "float64"}
            if coverage and task.kind == "score":
                columns |= {f"{column}_low": "float64", f"{column}_high": "float64"}
    return columns


def check_free(source, present: Iterable[str], added: Iterable[str]) -> None:
    """DataError if some of the columns `added` are `present` in the source already."""
    clash = [name for name in (*added, "reason") if name in present]
    if clash:
        raise DataError(
            f"{source}: already has the columns {', '.join(clash)}: rename them, or"
            " name fewer tasks"
        )


def read_record(
    question: dict, probabilities: dict, mean: float, calibration, level: str | None = None
) -> dict[str, float]:
    """Column -> value from an answer's probabilities and mean.

    `question`: task and emotion. `calibration`: a `calibration.Calibration`. `level`: "0.9" and the
    like, for the ends of an interval around a score.
    """
    from emolib.evaluation.decision_rules import decide_one  # scikit-learn: slow

    task, emotion = get(question["task"]), question["emotion"]
    pattern = COLUMNS[task.name]
    temperature = calibration.temperatures.get(task.name, 1.0)
    decided = decide_one(task, emotion, probabilities, mean, calibration.rules)
    given = np.array(list(probabilities.values()))
    if task.kind == "labels":
        scaled = scale_labels(given, temperature)
        scaled = dict(zip(probabilities, scaled, strict=True))
        return _read_labels(pattern, decided, scaled)
    column, values = (pattern.format(emotion), np.array([float(x) for x in probabilities]))
    near = NEAR if task.kind == "score" else 0
    confidence = scale(given, temperature)[np.abs(values - decided) <= near].sum()
    found = {column: float(decided), f"{column}_confidence": min(1.0, confidence)}
    if level and task.kind == "score":
        half = calibration.half_widths[name_part(task.name, emotion)][level]
        low, high = np.clip([decided - half, decided + half], *task.range)
        found |= {f"{column}_low": float(low), f"{column}_high": float(high)}
    return found


def _read_labels(pattern: str, chosen: tuple, scaled: dict) -> dict[str, float]:
    found = {}
    for label, p in scaled.items():
        column = pattern.format(label)
        found[column] = float(label in chosen)
        found[f"{column}_confidence"] = float(p if label in chosen else 1 - p)
    return found
