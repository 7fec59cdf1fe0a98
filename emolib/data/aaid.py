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
from emolib.tasks import AAID

COLUMNS = (
    "id",
    "task",
    "emotion",
    "instruction",
    "text",
    "prompt",
    "completion",
    "gold",
)
_FEATURES = Features({name: Value("string") for name in COLUMNS})
_SPLITS = {"train": "train", "validation": "dev"}


def build(
    data: str | Path = "official", seed: int = 0, form: str = "paper", tokenizer=None
) -> DatasetDict:
    """Train and validation rows: every corpus row under each of its ten instructions.

    All columns are strings; `gold` is the corpus's own spelling, `completion` what a
    model is trained to write. Rows are shuffled by `seed`. In every block of the first
    tenth, second tenth and so on each corpus row stands once, under another of its
    instructions, so the first n rows are a fair smaller training set. The same input
    gives the same rows in the same order. `form`, `tokenizer`: see `prompts.render`.
    """
    return DatasetDict(
        {
            name: _multiply(_read_split(split, data), seed, form, tokenizer)
            for name, split in _SPLITS.items()
        }
    )


def take(rows: Dataset, passes: str, seed: int = 0) -> Dataset:
    """AAID rows of some of the ten passes over the corpus, mixed by `seed`.

    `passes` says which, by task: "EI-reg=2 V-reg=1-4" takes every EI-reg row once,
    under the second of its instructions, and every V-reg row four times; other tasks
    are left out. "" takes `rows` as they are. So rows of small tasks are seen more
    often.
    DataError for an unknown task or one named twice, and for passes that are not
    within 1 to 10.
    """
    if not passes.strip():
        return rows
    wanted = read_passes(passes)
    if len(wanted) < len(passes.split()):
        raise DataError(f"passes: {passes!r}: a task stands there twice")
    seen: dict[tuple, int] = {}
    kept = []
    columns = zip(rows["task"], rows["emotion"], rows["id"], strict=True)
    for number, (task, *key) in enumerate(columns):
        count = seen[task, *key] = seen.get((task, *key), 0) + 1
        if count in wanted.get(task, ()):
            kept.append(number)
    return rows.select(np.random.default_rng(seed).permutation(kept))


def read_passes(passes: str) -> dict[str, range]:
    """Task to the passes over it, from 1 on, see `take`."""
    return dict(_read_part(part) for part in passes.split())


def _read_part(part: str) -> tuple[str, range]:
    found = re.fullmatch(r"([^=]+)=(\d+)(?:-(\d+))?", part)
    task, first, last = found.groups() if found else (part, "0", None)
    chosen = range(int(first), int(last or first) + 1)
    if task not in AAID or not chosen or chosen[0] < 1 or chosen[-1] > 10:
        raise DataError(
            f"passes: {part!r}: expected a task of {', '.join(AAID)} with one of its"
            " ten passes or a span of them, such as V-reg=1-4"
        )
    return task, chosen


def spread(rows: Dataset, count: int, even: bool = False) -> Dataset:
    """The first `count` rows, all for 0; if `even` the first ones of each task alike.

    A dev set has three times more rows of one task than of another, and a correlation
    over thirty of them says little. DataError for fewer rows than there are tasks.
    """
    if not even or not count:
        return rows.select(range(min(count or len(rows), len(rows))))
    tasks = list(rows["task"])
    share = count // len(set(tasks))
    if not share:
        raise DataError(f"{count} rows cannot be spread over {len(set(tasks))} tasks")
    seen = dict.fromkeys(tasks, 0)
    kept = []
    for number, task in enumerate(tasks):
        seen[task] += 1
        if seen[task] <= share:
            kept.append(number)
    return rows.select(kept)


def audit(data: str | Path = "official") -> pd.DataFrame:
    """Texts that stand in AAID and in AEB-1's test data, one row per pair of places.

    Columns: split, task, id of the AAID side; aeb_task, aeb_id; match, "exact" or
    "normalized" (equal without user names, URLs, letter case and white space); text,
    the AEB side's. Count with `.value_counts(["task", "aeb_task", "match"])`.
    """
    ours = pd.concat([_read_split(split, data) for split in _SPLITS.values()])
    test = pd.concat([corpora.read(task, "test", data) for task in AAID])
    sides = []
    for frame in (ours, test):
        side = frame[["split", "task", "id", "text"]].assign(
            key=frame["text"].map(normalize)
        )
        sides.append(side.drop_duplicates(["task", "id", "text"]))
    pairs = sides[0].merge(sides[1], on="key", suffixes=("", "_aeb"))
    pairs = pairs[pairs["key"] != ""]
    same = pairs["text"] == pairs["text_aeb"]
    return pd.DataFrame(
        {
            "split": pairs["split"],
            "task": pairs["task"],
            "id": pairs["id"],
            "aeb_task": pairs["task_aeb"],
            "aeb_id": pairs["id_aeb"],
            "match": np.where(same, "exact", "normalized"),
            "text": pairs["text_aeb"],
        }
    )


def normalize(text: str) -> str:
    """A text without what tells two copies of one tweet apart.

    >>> normalize("@Ann  LOOK here https://t.co/x1")
    'look here'
    """
    return " ".join(re.sub(r"https?://\S+|www\.\S+|@\w+", " ", text.lower()).split())


def export(
    dataset: DatasetDict, folder: str | Path, source: str, free: bool = False
) -> Path:
    """Writes Parquet, JSONL and a dataset card (README.md) into `folder`; returns it.

    `source` says which corpus the rows were built from and stands on the card; `free`
    that its texts may be passed on, as those of the bundled sample (MIT). The
    card's rule: rows built from SemEval-2018 hold tweets, which may not be
    redistributed; publish the builder, not these files.
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
    template = (resources.files("emolib.data") / "dataset_card.md").read_text("utf-8")
    sizes |= {"size": _name_size(sum(sizes.values())), "source": source}
    sizes["license"] = "mit" if free else "other\nlicense_name: research-only"
    files.write_text(folder / "README.md", template.format(**sizes))
    return folder


def _name_size(rows: int) -> str:
    """The Hub's size category."""
    ends = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return next((name for end, name in ends.items() if rows < end), "100K<n<1M")


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


def _read_split(split: str, data: str | Path) -> pd.DataFrame:
    return pd.concat(
        [corpora.read(task, split, data) for task in AAID], ignore_index=True
    )


def _multiply(frame: pd.DataFrame, seed: int, form: str, tokenizer) -> Dataset:
    rows = frame.drop(columns="split").to_dict("records")
    generator = np.random.default_rng(seed)
    count = {task: len(instructions(task)) for task in AAID}
    # One permutation of the instructions per row: block k takes every row's k-th.
    orders = [generator.permutation(count[row["task"]]) for row in rows]
    columns = {name: [] for name in COLUMNS}
    for block in range(max(count.values())):
        for index in generator.permutation(len(rows)):
            row = rows[index] | {
                "instruction": instructions(rows[index]["task"])[orders[index][block]]
            }
            row |= render(row, form, tokenizer)
            for name in COLUMNS:
                columns[name].append(row[name])
    return Dataset.from_dict(columns, features=_FEATURES)
