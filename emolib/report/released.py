"""Ours beside published models on the same items: a difference, and can it be chance?

The authors' Emollama-chat-7b and Emobloom-7b are known by their answers to the released
benchmark. Its AEB-1 holds the items that `aeb.build` makes, in the same order.
"""

from pathlib import Path

import pandas as pd

from emolib import DataError, files
from emolib.data import aeb, corpora
from emolib.evaluation import (
    decision_rules,
    item_errors,
    judgements,
    significance,
    stacked_regression,
)
from emolib.models.catalog import BUNDLED
from emolib.report import standings
from emolib.tasks import AAID, get

THEIRS = {"EmoLLaMA-chat-7B": "Emollama-chat-7b", "EmoBLOOM": "Emobloom-7b"}
JUDGEMENTS = "figures/data/emo_smollm2_judgements.parquet"
PAIRED = "figures/data/emo_smollm2_paired.csv"


def read(folder: str | Path, model: str) -> pd.DataFrame:
    """A released model's answers to AEB-1, as `item_errors.compare` gives them.

    `folder`: where AEB.jsonl and responses-*.jsonl lie; `model`: a key of THEIRS.
    """
    rows = aeb.read_release(Path(folder) / "AEB.jsonl")
    path = Path(folder) / f"responses-{THEIRS[model]}.jsonl"
    table = item_errors.compare(rows, aeb.read_responses(path, rows))
    return table[table["task"].isin(AAID)]


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, **how) -> pd.DataFrame:
    """Ours minus theirs: a row per task of both and per primary metric.

    Both as `item_errors.compare` gives them, the items of a task in the same order. Columns
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
    """Differences with intervals, a line per row of ours and released model.

    Bold where p < 0.05.
    """
    pairs = standings.COLUMNS[5]
    heads = [standings.head(task, metric) for task, metric in pairs]
    lines = [f"| ours | minus | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 2)]
    for names, rows in paired.groupby(["ours", "model"], sort=False):
        cells = []
        found = rows.set_index(["task", "metric"])
        for pair in pairs:
            row = found.loc[pair]
            value = f"{row['difference']:+.3f}"
            value = f"**{value}**" if row["p"] < 0.05 else value
            cells.append(f"{value}<br>[{row['low']:+.3f}, {row['high']:+.3f}]")
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def decide(judgements: dict[str, pd.DataFrame], rules) -> dict[str, pd.DataFrame]:
    """Our answers to AEB-1 by the shipped rules: as asked, and joined (`stacked_regression`).

    `judgements` as notebook 7 keeps them: of the test items, and ("test_also") of the
    other questions about their texts.
    """
    test = judgements["test"][judgements["test"]["task"].isin(AAID)]
    whole = pd.concat([test, judgements["test_also"]], ignore_index=True)
    joined = stacked_regression.join(whole, rules.joined.weights).iloc[: len(test)]
    return {
        "as asked": decision_rules.decide(test, rules),
        "joined": decision_rules.decide(joined, rules.joined),
    }


def main() -> None:
    """The paired comparison of the committed judgements, kept and put in the README."""
    judgements, about = judgements.load(files.place(JUDGEMENTS))
    rows = aeb.build(list(AAID), seed=about["seed"])
    rules = decision_rules.read(BUNDLED["emo-smollm2-135m"] / decision_rules.FILE)
    folder = corpora.locate("official") / "release"
    parts = []
    for name, decided in decide(judgements, rules).items():
        ours = item_errors.compare(rows, decided)
        for model in THEIRS:
            found = compare(ours, read(folder, model))
            parts.append(found.assign(ours=name, model=model))
    paired = pd.concat(parts, ignore_index=True)
    paired = paired[["ours", "model", *paired.columns.drop(["ours", "model"])]]
    paired.to_csv(files.place(PAIRED), index=False, float_format="%.6f")
    readme = files.place("README.md")
    text = readme.read_text(encoding="utf-8")
    files.write_text(readme, standings.fill(text, "paired", format_markdown(paired)))


if __name__ == "__main__":
    main()
