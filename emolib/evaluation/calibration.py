"""How far probabilities can be trusted, and temperature scaling (Guo et al. 2017).

Temperatures are fitted on development judgements with gold and measured on test judgements; see
`judgements` for the frames. Intervals and sets: see `conformal`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
from scipy.optimize import minimize_scalar

from emolib import DataError, files
from emolib.evaluation.decision_rules import Rules
from emolib.evaluation.judgements import NEAR, scale, scale_labels, stack
from emolib.tasks import Task, get

BINS = 10
FILE = "calibration.json"  # beside an adapter


@dataclass(frozen=True)
class Calibration:
    """All that was fitted for a model on development data, each a record of its own.

    `rules` make answers of distributions; `temperatures`: task to temperature; `half_widths`:
    "task" or "task emotion" to level to half an interval's width; `weights`: see
    `stacked_regression`. `joined`: the same for a text for which all tasks were predicted, whose
    means are joined by its `weights`.
    """

    rules: Rules = field(default_factory=Rules)
    temperatures: dict[str, float] = field(default_factory=dict)
    half_widths: dict[str, dict[str, float]] = field(default_factory=dict)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    joined: "Calibration | None" = None


def write(path: str | Path, calibration: Calibration, **about) -> None:
    """Keeps a calibration as JSON, with what it was made from."""
    files.write_json(path, _flatten(asdict(calibration)) | {"about": about})


def _flatten(record: dict) -> dict:
    joined = record.pop("joined")
    flat = record.pop("rules") | record
    return flat | {"joined": _flatten(joined) if joined else None}


def read(path: str | Path) -> Calibration:
    """A calibration that `write` kept; DataError if the file holds none."""
    try:
        return _build(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no calibration ({error})") from None


def _build(record: dict) -> Calibration:
    record.pop("about", None)
    names = [name for name in asdict(Rules()) if name in record]
    rules = Rules(**{name: record.pop(name) for name in names})
    joined = record.pop("joined", None)
    return Calibration(rules, **record, joined=_build(joined) if joined else None)


def find(adapter: str | Path | None) -> tuple[Calibration, str | None]:
    """The calibration beside an adapter, or in its run, and its file's short hash.

    Where there is none: the likeliest class, labels from one half on, and None.
    """
    for folder in (Path(adapter), Path(adapter).parent) if adapter else ():
        if (folder / FILE).is_file():
            return read(folder / FILE), pooch.file_hash(folder / FILE)[:16]
    return Calibration(), None


def list_confidences(judged: pd.DataFrame, temperatures: dict | None = None):
    """A row per judgement that can be right or wrong: task, emotion, confidence, right.

    Classes: the likeliest class and its probability. Scores: gold within NEAR of the mean (a share
    of the range), and the probability that the distribution gives to that. Labels: a row per label
    (its name as emotion), its probability, and whether it is in gold. `temperatures`: task to
    temperature.
    """
    found: list = []
    for row in judged.to_dict("records"):
        found += _list_row(get(row["task"]), row, (temperatures or {}).get(row["task"], 1.0))
    return pd.DataFrame(found, columns=["task", "emotion", "confidence", "right"])


def _list_row(task: Task, row: dict, temperature: float) -> Iterator[tuple]:
    given = row["probabilities"]
    p = np.array(list(given.values()))
    if task.kind == "labels":
        for label, each in zip(given, scale_labels(p, temperature), strict=True):
            yield task.name, label, float(each), label in row["gold"]
        return
    values, p = np.array(list(map(float, given))), scale(p, temperature)
    if task.kind == "ordinal":
        best = int(p.argmax())
        yield task.name, row["emotion"], float(p[best]), values[best] == row["gold"]
        return
    near = NEAR * (task.range[1] - task.range[0])
    confidence = float(p[np.abs(values - row["mean"]) <= near].sum())
    right = abs(row["gold"] - row["mean"]) <= near
    yield task.name, row["emotion"], min(1.0, confidence), right


def fit_temperatures(dev: pd.DataFrame) -> dict[str, float]:
    """Task to the temperature with the least negative log-likelihood of gold.

    A score's gold is the answer nearest to it; every label is a judgement of its own.
    """
    found = {}
    for task, rows in dev.groupby("task", sort=False):
        measure = partial(_measure_loss, *stack(get(task), rows), get(task).kind)
        best = minimize_scalar(measure, bounds=np.log([0.2, 50.0]), method="bounded")
        found[task] = round(float(np.exp(best.x)), 4)
    return found


def _measure_loss(p: np.ndarray, gold: np.ndarray, kind: str, log_t: float) -> float:
    """Mean negative log-likelihood of gold at a temperature."""
    if kind == "labels":
        scaled = scale_labels(p, np.exp(log_t))
        return -np.log(np.where(gold, scaled, 1 - scaled)).mean()
    return -np.log(scale(p, np.exp(log_t))[np.arange(len(gold)), gold]).mean()


def measure(confidences: pd.DataFrame) -> pd.DataFrame:
    """Per task: items, mean confidence, accuracy, expected calibration error.

    The error is the mean distance of confidence and accuracy over BINS bins of equally many
    judgements, in [0, 1] (Naeini et al. 2015, with equal masses).
    """
    rows = []
    for task, part in confidences.groupby("task", sort=False):
        bins = cut(part)
        error = np.average((bins["confidence"] - bins["accuracy"]).abs(), weights=bins["n"])
        rows.append((task, len(part), part["confidence"].mean(), part["right"].mean(), error))
    names = ["task", "n", "confidence", "accuracy", "calibration_error"]
    return pd.DataFrame(rows, columns=names)


def cut(part: pd.DataFrame) -> pd.DataFrame:
    """Bins of equally many judgements by confidence: confidence, accuracy, n."""
    order = part.sort_values("confidence", kind="stable")
    bins = np.arange(len(order)) * min(BINS, len(order)) // len(order)
    grouped = order.groupby(bins)
    table = grouped.agg(confidence=("confidence", "mean"), accuracy=("right", "mean"))
    return table.assign(n=grouped.size())
