"""Ours beside published models on the same items: a difference, and can it be chance?

The authors' Emollama-chat-7b and Emobloom-7b are known by their answers to the released
benchmark. Its AEB-1 holds the items that `aeb.build` makes, in the same order.
"""

from pathlib import Path

import pandas as pd

from emolib import (
    DataError,
    aeb,
    corpora,
    decisions,
    distributions,
    errors,
    runs,
    significance,
    standings,
)
from emolib.tasks import AAID, get
from emolib.weights import BUNDLED

THEIRS = {"EmoLLaMA-chat-7B": "Emollama-chat-7b", "EmoBLOOM": "Emobloom-7b"}
JUDGEMENTS = "figures/data/emo_smollm2_judgements.parquet"
PAIRED = "figures/data/emo_smollm2_paired.csv"


def read(folder: str | Path, model: str) -> pd.DataFrame:
    """A released model's answers to AEB-1, as `errors.compare` gives them.

    `folder`: where AEB.jsonl and responses-*.jsonl lie; `model`: a key of THEIRS.
    """
    rows = aeb.read_release(Path(folder) / "AEB.jsonl")
    path = Path(folder) / f"responses-{THEIRS[model]}.jsonl"
    table = errors.compare(rows, aeb.read_responses(path, rows))
    return table[table["task"].isin(AAID)]


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, **how) -> pd.DataFrame:
    """Ours minus theirs: a row per task of both and per primary metric.

    Both as `errors.compare` gives them, the items of a task in the same order. Columns
    task, then those of `significance.compare`, which takes `how`. DataError for a task
    that has other items on one side, by number or by gold.
    """
    parts = []
    for task in AAID:
        first, second = (side[side["task"] == task] for side in (ours, theirs))
        if not len(first) or not len(second):
            continue
        if list(first["gold"]) != list(second["gold"]):
            raise DataError(
                f"{task}: the released items are not the ones that we asked"
            )
        groups = list(first["emotion"]) if get(task).emotions else None
        answers = list(first["predicted"]), list(second["predicted"])
        found = significance.compare(task, list(first["gold"]), *answers, groups, **how)
        parts.append(found.assign(task=task))
    if not parts:
        raise DataError("no task of AEB-1 on both sides")
    table = pd.concat(parts, ignore_index=True)
    return table[["task", *table.columns.drop("task")]]


def format_markdown(paired: pd.DataFrame) -> str:
    """Differences with intervals, a line per released model; bold where p < 0.05."""
    pairs = standings.COLUMNS[5]
    heads = [standings.head(task, metric) for task, metric in pairs]
    lines = [f"| ours minus | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for model, rows in paired.groupby("model", sort=False):
        cells = []
        found = rows.set_index(["task", "metric"])
        for pair in pairs:
            row = found.loc[pair]
            value = f"{row['difference']:+.3f}"
            value = f"**{value}**" if row["p"] < 0.05 else value
            cells.append(f"{value}<br>[{row['low']:+.3f}, {row['high']:+.3f}]")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """The paired comparison of the committed judgements, kept and put in the README."""
    judgements, about = distributions.load(runs.place(JUDGEMENTS))
    rows = aeb.build(list(AAID), seed=about["seed"])
    test = judgements["test"]
    rules = decisions.read(BUNDLED["emo-smollm2-135m"] / decisions.FILE)
    decided = decisions.decide(test[test["task"].isin(AAID)], rules)
    ours = errors.compare(rows, decided)
    folder = corpora.locate("official") / "release"
    parts = [compare(ours, read(folder, name)).assign(model=name) for name in THEIRS]
    paired = pd.concat(parts, ignore_index=True)
    paired = paired[["model", *paired.columns.drop("model")]]
    paired.to_csv(runs.place(PAIRED), index=False, float_format="%.6f")
    readme = runs.place("README.md")
    text = readme.read_text(encoding="utf-8")
    runs.write_text(readme, standings.fill(text, "paired", format_markdown(paired)))


if __name__ == "__main__":
    main()
