"""Scores from one of this project's CSV files, as the Hub's model-index has them."""

from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult

from emolib import DataError
from emolib.evaluation.score_files import REAL, read_csv
from emolib.tasks import TASKS

_NUMBERS = ("value", "low", "high", "n", "unparsed")
_ABOUT = ("data", "items", "run", "seed", "decoding", "quantization", "commit")
_NEEDED = ("model", "task", "metric", *_NUMBERS, *_ABOUT, "rows_sha256")
# A corpus's id on the Hub; AEB as a whole has none.
_CORPORA = {
    "semeval2018": "SemEvalWorkshop/sem_eval_2018_task_1",
    "goemotions": "google-research-datasets/go_emotions",
}
_METRICS = {"pearson": "pearsonr", "f1_micro": "f1", "f1_macro": "f1"}


def read(
    path: str | Path, model: str, weights: str | None, column: str = "adapter_weights"
) -> pd.DataFrame:
    """The rows of a score file that belong to one model, in the file's order.

    `model` is what its column model says; `weights` the hash that its `column` must
    hold, because scores of other weights, however similar, are not this model's.

    DataError names file and line for scores on the bundled sample (they say nothing
    about a model), scores of other weights, and numbers that are none.
    """
    path = Path(path)
    frame = read_csv(path, [*_NEEDED, column])
    frame["where"] = [f"{path.name}:{line}" for line in range(2, len(frame) + 2)]
    rows = frame[frame["model"] == model].copy()
    if not len(rows):
        known = ", ".join(map(str, frame["model"].unique()))
        raise DataError(f"{path}: no model {model!r} there: scored= is one of {known}")
    for row in rows.to_dict("records"):
        _check(row, weights, column)
    twice = rows[rows.duplicated(["task", "metric"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(f"{row['where']}: a second {row['metric']} on {row['task']}")
    blank = {"decoding": "not recorded", "quantization": "none", "commit": "unknown"}
    for name, word in blank.items():
        rows[name] = rows[name].fillna(word).astype(str)
    return rows.reset_index(drop=True)


def _check(row: dict, weights: str | None, column: str) -> None:
    if row["data"] not in REAL:
        raise DataError(
            f"{row['where']}: scores on {row['data']!r} data are no results: publish"
            f" those on {' or '.join(REAL)} data, or none (scores=None)"
        )
    if weights is None or row[column] != weights:
        raise DataError(
            f"{row['where']}: scores of other weights ({column} {row[column]}, these"
            f" are {weights}): evaluate this model itself (notebook 03), or publish"
            " without scores"
        )
    for name in _NUMBERS:
        if not isinstance(row[name], int | float) or not np.isfinite(row[name]):
            raise DataError(f"{row['where']}: column {name} holds no number")
    if row["task"] not in TASKS:
        raise DataError(f"{row['where']}: column task: no task {row['task']!r}")


def to_eval_results(rows: pd.DataFrame, kind: str, address: str) -> list[EvalResult]:
    """One EvalResult per row, ready for `eval_results_to_model_index`.

    The value stands there as a number; interval, number of items and unparsed answers
    in the metric's name, for readers, and in its args, for programs. `verified` is left
    out: the Hub alone may set it.
    """
    return [_to_eval_result(row, kind, address) for row in rows.to_dict("records")]


def _to_eval_result(row: dict, kind: str, address: str) -> EvalResult:
    metric, _, part = row["metric"].partition(".")
    n, unparsed = int(row["n"]), int(row["unparsed"])
    interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
    details = {
        "confidence_level": 0.95,
        "low": float(row["low"]),
        "high": float(row["high"]),
        "n": n,
        "unparsed": unparsed,
        "decoding": row["decoding"],
        "quantization": row["quantization"],
    }
    if metric in ("f1_micro", "f1_macro"):
        details["average"] = metric.removeprefix("f1_")
    if part:
        details["part"] = part
    corpus = TASKS[row["task"]].corpus
    return EvalResult(
        task_type=kind,
        task_name=row["task"],
        dataset_type=_CORPORA.get(corpus, corpus),
        dataset_name=f"AEB, {row['task']}",
        dataset_config=row["task"],
        dataset_split="test",
        dataset_args={"items": row["items"], "rows_sha256": row["rows_sha256"]},
        metric_type=_METRICS.get(metric, metric),
        metric_value=float(row["value"]),
        metric_name=f"{row['metric']}, 95 % interval {interval}, n = {n},"
        f" {unparsed} unparsed",
        metric_args=details,
        source_name=f"emolib run {row['run']}, commit {row['commit']}",
        source_url=address,
    )
