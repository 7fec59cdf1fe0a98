"""The columns that annotating gives, and how an answer's probabilities fill them."""

from collections.abc import Iterable

import numpy as np

from emolib import DataError
from emolib.evaluation.judgements import NEAR, name_part, scale, scale_labels
from emolib.tasks import get

COLUMNS = {"EI-reg": "{}_intensity", "EI-oc": "{}_class", "V-reg": "valence"}
COLUMNS |= {"V-oc": "valence_class", "E-c": "has_{}"}
REMARKS = {"reason": "str", "note": "str"}  # the last columns of every table
DIGITS = 4  # decimals of scores and confidences
_TYPES = {"score": "float64", "ordinal": "Int64", "labels": "boolean"}


def list_columns(tasks: Iterable[str], coverage: float | None = None) -> dict[str, str]:
    """Column -> pandas type of what `annotate` gives for these tasks, without the remarks.

    With `coverage` the ends of an interval after every score.

    >>> list(list_columns(["V-oc"]))
    ['valence_class', 'valence_class_confidence']
    """
    columns = {}
    for task in map(get, tasks):
        for emotion in task.emotions or task.labels or ("",):
            column = COLUMNS[task.name].format(emotion)
            columns |= {column: _TYPES[task.kind], f"{column}_confidence": "float64"}
            if coverage and task.kind == "score":
                columns |= {f"{column}_low": "float64", f"{column}_high": "float64"}
    return columns


def check_free(source, present: Iterable[str], added: Iterable[str]) -> None:
    """DataError if some of the columns `added` are `present` in the source already."""
    if clash := ", ".join(name for name in dict.fromkeys([*added, *REMARKS]) if name in present):
        raise DataError(f"{source}: already has the columns {clash}: rename them, or name fewer")


def read_record(
    question: dict, probabilities: dict, mean: float, calibration, level: str | None = None
) -> dict[str, float]:
    """Column -> value from an answer's probabilities and mean.

    `question`: task and emotion. `level`: of the interval around a score, "0.9" and the like.
    """
    from emolib.evaluation.decision_rules import decide_one  # scikit-learn: slow

    task, emotion = get(question["task"]), question["emotion"]
    temperature = calibration.temperatures.get(task.name, 1.0)
    decided = decide_one(task, emotion, probabilities, mean, calibration.rules)
    given = np.array(list(probabilities.values()))
    if task.kind == "labels":
        found = {}
        for label, p in zip(probabilities, scale_labels(given, temperature), strict=True):
            column, chosen = COLUMNS[task.name].format(label), label in decided
            found |= {column: float(chosen), f"{column}_confidence": float(p if chosen else 1 - p)}
        return found
    column, values = COLUMNS[task.name].format(emotion), np.array([*map(float, probabilities)])
    near = NEAR if task.kind == "score" else 0
    confidence = scale(given, temperature)[np.abs(values - decided) <= near].sum()
    found = {column: float(decided), f"{column}_confidence": min(1.0, confidence)}
    if level and task.kind == "score":
        half = calibration.half_widths[name_part(task.name, emotion)][level]
        low, high = np.clip([decided - half, decided + half], *task.range)
        found |= {f"{column}_low": float(low), f"{column}_high": float(high)}
    return found
