"""AAID, the instruction data: SemEval-2018 train and dev rows times ten instructions.

The paper's section 3.2: 234,040 training and 47,120 validation rows on the real data.
"""

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, Features, Value

from emolib import DataError, files
from emolib.data import corpora
from emolib.data.prompts import instructions, render
from emolib.data.rows import Rows, to_dataset, to_frame
from emolib.tasks import AAID

COLUMNS = ("id", "task", "emotion", "instruction", "text", "prompt", "completion", "gold")
_FEATURES = Features({name: Value("string") for name in COLUMNS})


def build(
    data: str | Path = "official", seed: int = 0, form: str = "paper", tokenizer=None
) -> DatasetDict:
    """Train and validation rows: every corpus row under each of its ten instructions.

    All columns are strings; `gold` is the corpus's own spelling, `completion` what a model is
    trained to write. Rows are shuffled by `seed`. In every block of the first tenth, second tenth
    and so on each corpus row stands once, under another of its instructions, so the first n rows
    are a fair smaller training set. The same input gives the same rows in the same order. `form`,
    `tokenizer`: see `prompts.render`.
    """
    made = DatasetDict()
    for name, split in (("train", "train"), ("validation", "dev")):
        frame = pd.concat([corpora.read(task, split, data) for task in AAID])
        rows = frame.drop(columns="split").to_dict("records")
        made[name] = _multiply(rows, seed, form, tokenizer)
    return made


def take(rows: Rows, passes: str, seed: int = 0) -> Dataset:
    """AAID rows of some of the ten passes over the corpus, mixed by `seed`.

    `passes` says which, by task: "EI-reg=2 V-reg=1-4" takes every EI-reg row once, under the second
    of its instructions, and every V-reg row four times; other tasks are left out. "" takes `rows`
    as they are. So rows of small tasks are seen more often. DataError for an unknown task or one
    named twice, and for passes that are not within 1 to 10.
    """
    rows = to_dataset(rows)
    if not passes.strip():
        return rows
    wanted = read_passes(passes)
    if len(wanted) < len(passes.split()):
        raise DataError(f"passes: {passes!r}: a task stands there twice")
    frame = to_frame(rows.select_columns(["task", "emotion", "id"]))
    numbers = frame.groupby(list(frame), dropna=False, sort=False).cumcount() + 1
    pairs = enumerate(zip(frame["task"], numbers, strict=True))
    kept = [i for i, (task, number) in pairs if number in wanted.get(task, ())]
    return rows.select(np.random.default_rng(seed).permutation(kept))


def read_passes(passes: str) -> dict[str, range]:
    """Task to the passes over it, from 1 on, see `take`."""
    wanted = {}
    for part in passes.split():
        found = re.fullmatch(r"([^=]+)=(\d+)(?:-(\d+))?", part)
        task, first, last = found.groups() if found else (part, "0", None)
        first, last = int(first), int(last or first)
        if task not in AAID or not 1 <= first <= last <= 10:
            spans = "with one of its ten passes or a span of them, such as V-reg=1-4"
            raise DataError(f"passes: {part!r}: expected a task of {', '.join(AAID)} {spans}")
        wanted[task] = range(first, last + 1)
    return wanted


def spread(rows: Rows, count: int, even: bool = False) -> Dataset:
    """The first `count` rows, all for 0; if `even` the first ones of each task alike.

    A dev set has three times more rows of one task than of another, and a correlation over thirty
    of them says little. DataError for fewer rows than there are tasks.
    """
    rows = to_dataset(rows)
    if not even or not count:
        return rows.select(range(min(count or len(rows), len(rows))))
    tasks = pd.Series(list(rows["task"]))
    share = count // tasks.nunique()
    if not share:
        raise DataError(f"{count} rows cannot be spread over {tasks.nunique()} tasks")
    return rows.select(np.flatnonzero(tasks.groupby(tasks).cumcount() < share))


def export(dataset: DatasetDict, folder: str | Path, source: str, free: bool = False) -> Path:
    """Writes Parquet, JSONL and a dataset card (README.md) into `folder`; returns it.

    `source` says which corpus the rows were built from and stands on the card; `free` that its
    texts may be passed on, as those of the bundled sample (MIT). The card's rule: rows built from
    SemEval-2018 hold tweets, which may not be redistributed; publish the builder, not these files.
    """
    folder = Path(folder)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, rows in dataset.items():
        frame = rows.to_pandas()
        with files.replacing(folder / "data" / f"{name}.parquet") as temporary:
            frame.to_parquet(temporary, index=False)
        with files.replacing(folder / "data" / f"{name}.jsonl") as temporary:
            frame.to_json(temporary, orient="records", lines=True, force_ascii=False)
    sizes = {name: len(rows) for name, rows in dataset.items()}
    ends = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    fitting = [name for end, name in ends.items() if sum(sizes.values()) < end]
    sizes["size"] = [*fitting, "100K<n<1M"][0]  # the Hub's size category
    sizes["license"] = "mit" if free else "other\nlicense_name: research-only"
    template = (resources.files("emolib.data") / "dataset_card.md").read_text("utf-8")
    files.write_text(folder / "README.md", template.format(**sizes, source=source))
    return folder


def check_rows(rows: Dataset, name: str) -> None:
    """DataError unless every row has a prompt and a completion."""
    for column in ("prompt", "completion"):
        if column not in rows.column_names:
            raise DataError(f"{name} rows have no column {column} (see aaid.build)")
        empty = [i for i, text in enumerate(rows[column]) if not (text or "").strip()]
        if empty:
            raise DataError(f"{name} row {empty[0]}: its {column} is empty")
    if not len(rows):
        raise DataError(f"there are no {name} rows")


def _multiply(rows: list[dict], seed: int, form: str, tokenizer) -> Dataset:
    generator = np.random.default_rng(seed)
    choices = [instructions(row["task"]) for row in rows]
    # One permutation of the instructions per row: block k takes every row's k-th.
    orders = [generator.permutation(len(each)) for each in choices]
    columns = {name: [] for name in COLUMNS}
    for block in range(len(choices[0])):
        for index in generator.permutation(len(rows)):
            row = rows[index] | {"instruction": choices[index][orders[index][block]]}
            row |= render(row, form, tokenizer)
            for name in COLUMNS:
                columns[name].append(row[name])
    return Dataset.from_dict(columns, features=_FEATURES)
