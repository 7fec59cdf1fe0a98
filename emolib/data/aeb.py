"""AEB, the benchmark: one prompt per test item (`release` reads the authors' own).

AEB-1 is the test data of SemEval-2018 Task 1, 13,269 prompts; AEB-2 nine more data sets that no
model here was trained on, 17,539 prompts: 16 sub-tasks, 30,808 in all.
"""

from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Value

from emolib import DataError
from emolib.data import corpora
from emolib.data.prompts import instructions, render
from emolib.data.rows import Rows, to_dataset, to_frame
from emolib.tasks import AAID, AEB, get

COLUMNS = ("id", "task", "emotion", "text", "instruction", "prompt", "gold")
FEATURES = Features({name: Value("string") for name in COLUMNS})


def build(
    tasks: list[str] | None = None,
    data: str | Path = "official",
    seed: int = 0,
    form: str = "paper",
    tokenizer=None,
) -> Dataset:
    """Benchmark items in task and file order, one instruction drawn per item by `seed`.

    Columns id, task, emotion, text, instruction, prompt, gold, all strings; emotion is None where
    the task has none. All 16 sub-tasks, or `tasks`. Sizes on the official data are `Task.items`: of
    each VADER set 1,000 are drawn by `seed`, as the paper drew them (its seed was not published). A
    task's items and instructions depend on the seed alone, not on which other tasks are built.
    Scores are asked for in 0 to 1, as in training; gold stays in the corpus's own range
    (`parsing.parse` maps).
    """
    rows = []
    for name in tasks or AEB:
        frame, size = corpora.read(name, "test", data), get(name).draw
        if size and size < len(frame):
            chosen = np.random.default_rng(seed).choice(len(frame), size, replace=False)
            frame = frame.iloc[np.sort(chosen)]
        choices = instructions(name)
        draws = np.random.default_rng(seed).integers(len(choices), size=len(frame))
        for row, draw in zip(frame.to_dict("records"), draws, strict=True):
            row["instruction"] = choices[draw]
            rows.append(row | {"prompt": render(row, form, tokenizer)["prompt"]})
    return _as_dataset(rows)


def complete(rows: Rows, form: str = "paper", tokenizer=None) -> Dataset:
    """What `annotate` would ask beside `rows` about the texts of AEB-1 among them.

    `rows`: as `build` or `aaid.build` gives them. Columns as `build` gives them, gold None: every
    task of AAID, under its first instruction, about every text, but for what stands in `rows`.
    Texts are told apart by id, which SemEval-2018 gives to a tweet and not to a task's row.
    """
    frame, found = to_frame(rows), []
    known = set(zip(frame["task"], frame["id"], frame["emotion"], strict=True))
    own = frame[frame["task"].isin(AAID)]
    texts = dict(zip(own["id"], own["text"], strict=True))
    for task in AAID:
        asked = {"task": task, "instruction": instructions(task)[0], "gold": None}
        for emotion in get(task).emotions or (None,):
            for name, text in texts.items():
                if (task, name, emotion) not in known:
                    row = asked | {"id": name, "emotion": emotion, "text": text}
                    found.append(row | render(row, form, tokenizer))
    return _as_dataset(found)


def draw(rows: Rows, per_group: int | None, seed: int = 0) -> Dataset:
    """At most `per_group` items of every task and emotion, drawn by `seed`, in order.

    None keeps all. For runs on a small machine; such scores say that they are a draw.
    """
    rows = to_dataset(rows)
    if per_group is None:
        return rows
    if per_group < 1:
        raise DataError(f"per_group is {per_group}, expected 1 or more, or None for all")
    frame, kept = to_frame(rows.select_columns(["task", "emotion"])), []
    for _, group in frame.groupby(["task", "emotion"], dropna=False, sort=False):
        size = min(per_group, len(group))
        chosen = np.random.default_rng(seed).choice(group.index, size, replace=False)
        kept.extend(int(index) for index in chosen)
    return rows.select(sorted(kept))


def _as_dataset(rows: list[dict]) -> Dataset:
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    return Dataset.from_dict(columns, features=FEATURES)
