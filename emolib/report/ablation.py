"""What each choice of the training recipe is worth: short trainings that differ in one.

Every variant is trained alike, by the same run file with one parameter changed, and
judged on the same development items. No test set is read.

    python -m emolib.report.ablation [VARIANT ...]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from emolib import DataError, files, models, notebooks, runs
from emolib.data import aaid
from emolib.evaluation import judgements, metrics
from emolib.inference import predict
from emolib.report import standings
from emolib.tasks import AAID, get
from emolib.training import launch

RUN = "notebooks/runs/emo_smollm2_ablation.yaml"
TABLE = "figures/data/emo_smollm2_ablation.csv"
JUDGED = 1000  # development items, the same number of each task
MEAN = "mean"  # of the tasks' figures, each counting alike
# A variant's name, and the parameters of notebook 2 in which it differs.
VARIANTS = {
    "as shipped": {},
    "another seed": {"seed": 1},
    "no regression-aware loss": {"regression_weight": 0.0},
    "learning rate 3e-4": {"learning_rate": 3.0e-4},
    "learning rate 3e-3": {"learning_rate": 3.0e-3},
    "rank 4": {"lora_rank": 4},
    "rank 64": {"lora_rank": 64},
    "attention layers only": {"more": "lora_targets=q_proj,k_proj,v_proj,o_proj"},
    "plain prompt": {"prompt_form": "plain"},
    "chat prompt": {"prompt_form": "chat"},
    "base in nf4": {"quantization": "nf4"},
    "base in float32": {"dtype": "float32"},
}


def answer(name: str, file: str | Path = RUN) -> pd.DataFrame:
    """Judgements of development items, with gold, by a variant trained for it.

    The items are those of the run file's own seed. What is finished is read back.
    DataError for an unknown variant.
    """
    if name not in VARIANTS:
        raise DataError(f"variant {name!r}: expected one of {', '.join(VARIANTS)}")
    given = notebooks.read_run(file, **VARIANTS[name])
    out = _find_folder(name, file)
    trained = launch.train(file, **VARIANTS[name], out=str(out))
    rows = read_rows(file, **VARIANTS[name])
    model, tokenizer = models.load(
        trained, given["quantization"] or None, dtype=given["dtype"] or None
    )
    found = predict.predict(rows, model, tokenizer, out / "dev")
    return judgements.add_gold(judgements.average(found), rows)


def _find_folder(name: str, file: str | Path) -> Path:
    return files.place(notebooks.read_run(file)["out"]) / name.replace(" ", "_")


def describe(name: str, file: str | Path = RUN) -> dict:
    """Where a trained variant comes from: seed, data, weights, commit, time."""
    record = runs.read(_find_folder(name, file) / "finetune")
    settings = record["settings"]
    found = {"seed": settings["seed"], "train_sha256": settings["train"]["sha256"][:16]}
    return found | {key: record[key] for key in ("weights", "commit", "made")}


def read_rows(file: str | Path, **changes) -> Dataset:
    """JUDGED development items of the run file, in a variant's prompt form."""
    form = notebooks.read_run(file, **changes).get("prompt_form", "paper")
    given = notebooks.read_run(file)
    built = aaid.build(given["data"], given.get("seed", 0), form)["validation"]
    return aaid.spread(built, JUDGED, even=True)


def compare(
    first: pd.DataFrame, second: pd.DataFrame, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Second minus first on the same items: a row per task, and one for their MEAN.

    Both are judgements with gold. Columns task, value (of the second), difference, low,
    high (95 % percentile interval of a paired bootstrap over items, within emotions).
    Score and class tasks: Pearson's r of the distribution's mean, averaged over
    emotions; label tasks: the Jaccard index of labels more probable than not. DataError
    where the items differ.
    """
    if not first[judgements.KEYS].equals(second[judgements.KEYS]):
        raise DataError("the two variants were not asked the same items")
    parts: dict[str, list] = {}
    for (task, _), own in first.groupby(["task", "emotion"], sort=False, dropna=False):
        sides = own["gold"], own, second.loc[own.index]
        parts.setdefault(task, []).append([_encode(task, side) for side in sides])
    parts = {task: parts[task] for task in AAID if task in parts}
    rows = []
    for task in [*parts, MEAN]:
        chosen = parts if task == MEAN else {task: parts[task]}
        weighed = _weigh(chosen)
        change = metrics.bootstrap(_subtract, weighed, resamples, seed)
        values = [
            np.mean([_measure(g, s[n], w) for g, *s, w in weighed]) for n in (0, 1)
        ]
        rows.append((task, values[1], values[1] - values[0], *change))
    return pd.DataFrame(rows, columns=["task", "value", "difference", "low", "high"])


def _encode(task: str, side: pd.DataFrame | pd.Series) -> np.ndarray:
    """Gold (a series) or judgements as numbers, or as booleans per label."""
    if get(task).kind != "labels":
        return np.array(side if isinstance(side, pd.Series) else side["mean"], float)
    if isinstance(side, pd.Series):
        return np.array(
            [[label in gold for label in get(task).labels] for gold in side]
        )
    given = side["probabilities"]
    return np.array([[p[label] > 0.5 for label in get(task).labels] for p in given])


def _weigh(parts: dict[str, list]) -> list[tuple]:
    """All parts of all tasks, with weights by which each task counts alike."""
    count = sum(map(len, parts.values()))
    return [
        (*part, np.full(len(part[0]), count / len(parts) / len(own)))
        for own in parts.values()
        for part in own
    ]


def _measure(gold: np.ndarray, given: np.ndarray, weight: np.ndarray) -> float:
    name = "jaccard" if gold.dtype == bool else "pearson"
    return weight[0] * metrics.METRICS[name](gold, given)


def _subtract(gold, first, second, weight) -> float:
    return _measure(gold, second, weight) - _measure(gold, first, weight)


def format_markdown(table: pd.DataFrame) -> str:
    """A line per variant: the first one's figures, then differences from them.

    Bold: the interval of the difference leaves out 0.
    """
    tasks = list(dict.fromkeys(table["task"]))
    lines = [f"| variant | {' | '.join(tasks)} |", "|" + "---|" * (len(tasks) + 1)]
    for number, (name, rows) in enumerate(table.groupby("variant", sort=False)):
        cells = []
        for row in rows.set_index("task").loc[tasks].itertuples():
            text = f"{row.difference:+.3f}" if number else f"{row.value:.3f}"
            text = f"**{text}**" if number and row.low * row.high > 0 else text
            reach = f"<br>[{row.low:+.3f}, {row.high:+.3f}]" if number else ""
            cells.append(text + reach)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Trains and judges all variants, or those named; the table goes to the README."""
    names = sys.argv[1:] or list(VARIANTS)
    try:
        judged = {
            name: answer(name) for name in dict.fromkeys([next(iter(VARIANTS)), *names])
        }
    except DataError as error:
        raise SystemExit(f"emolib.report.ablation: {error}") from None
    first = next(iter(judged.values()))
    parts = [
        compare(first, each).assign(variant=name, **describe(name))
        for name, each in judged.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table[["variant", *table.columns.drop("variant")]]
    with files.replacing(files.place(TABLE)) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f")
    readme = files.place("README.md")
    text = readme.read_text(encoding="utf-8")
    files.write_text(readme, standings.fill(text, "ablation", format_markdown(table)))


if __name__ == "__main__":
    main()
