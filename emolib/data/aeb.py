"""AEB, the benchmark: one prompt per test item, built here or as released.

AEB-1 is the test data of SemEval-2018 Task 1, 13,269 prompts; AEB-2 nine more data sets
that no model here was trained on, 17,539 prompts: 16 sub-tasks, 30,808 in all.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value

from emolib import DataError
from emolib.data import corpora
from emolib.data.prompts import PUBLISHED, instructions, render, to_published
from emolib.tasks import AAID, TASKS, Task, get

COLUMNS = ("id", "task", "emotion", "text", "instruction", "prompt", "gold")
_FEATURES = Features({name: Value("string") for name in COLUMNS})
# The released shape; the noun varies, instruction and text are free. An answer's name
# is spelled out because a released text may end without a full stop.
_RELEASED = re.compile(
    r"Human: \nTask: (?P<instruction>.*?) (?:Tweet|Text): (?P<text>.*?)"
    r"(?: Emotion E: (?P<emotion>\w+)\.)? (?P<answer>(?:Intensity|Sentiment)"
    r" (?:[Ss]core|Class)|This tweet contains emotions): "
    r"\n\nAssistant:\n",
    re.DOTALL,
)


def build(
    tasks: list[str] | None = None,
    data: str | Path = "official",
    seed: int = 0,
    form: str = "paper",
    tokenizer=None,
    own_range: bool = False,
) -> Dataset:
    """Benchmark items in task and file order, one instruction drawn per item by `seed`.

    Columns id, task, emotion, text, instruction, prompt, gold, all strings; emotion is
    None where the task has none. All 16 sub-tasks, or `tasks`. Sizes on the official
    data are `Task.items`: of each VADER set 1,000 are drawn by `seed`, as the paper
    drew them (its seed was not published). A task's items and instructions depend on
    the seed alone, not on which other tasks are built.

    Scores are asked for in 0 to 1, as in training; `own_range` asks for the corpus's
    own range. gold stays in the corpus's range either way (`parsing.parse` maps).
    """
    rows = []
    for name in tasks or TASKS:
        frame = _draw_test(get(name), data, seed)
        choices = instructions(name, own_range)
        draws = np.random.default_rng(seed).integers(len(choices), size=len(frame))
        for row, draw in zip(frame.to_dict("records"), draws, strict=True):
            row["instruction"] = choices[draw]
            rows.append(row | {"prompt": render(row, form, tokenizer)["prompt"]})
    return _as_dataset(rows)


def _as_dataset(rows: list[dict]) -> Dataset:
    return Dataset.from_dict(
        {name: [row[name] for row in rows] for name in COLUMNS}, features=_FEATURES
    )


def turn(rows: Dataset, turns: int, form: str = "paper", tokenizer=None) -> Dataset:
    """The same items under their task's next instruction but `turns`, in a circle.

    `rows` as `build` gives them. An item asked under several instructions and averaged
    (`judgements.average`) is judged more surely.
    """
    found = []
    for row in rows.to_list():
        choices = instructions(row["task"])
        place = choices.index(row["instruction"]) + turns
        row["instruction"] = choices[place % len(choices)]
        row["prompt"] = render({**row, "gold": None}, form, tokenizer)["prompt"]
        found.append(row)
    return Dataset.from_list(found, features=rows.features)


def complete(rows: Dataset, form: str = "paper", tokenizer=None) -> Dataset:
    """What `annotate` would ask beside `rows` about the texts of AEB-1 among them.

    `rows`: as `build` or `aaid.build` gives them. Columns as `build` gives them, gold
    None: every task of AAID, under its first instruction, about every text, but for
    what stands in `rows`. Texts are told apart by id, which SemEval-2018 gives to a
    tweet and not to a task's row.
    """
    known = set(zip(rows["task"], rows["id"], rows["emotion"], strict=True))
    columns = zip(rows["task"], rows["id"], rows["text"], strict=True)
    texts = {name: text for task, name, text in columns if task in AAID}
    found = []
    for task in AAID:
        asked = {"task": task, "instruction": instructions(task)[0], "gold": None}
        for emotion in get(task).emotions or (None,):
            for name, text in texts.items():
                if (task, name, emotion) not in known:
                    row = asked | {"id": name, "emotion": emotion, "text": text}
                    prompt = render(row, form, tokenizer)["prompt"]
                    found.append(row | {"prompt": prompt})
    return _as_dataset(found)


def _draw_test(task: Task, data: str | Path, seed: int) -> pd.DataFrame:
    frame = corpora.read(task.name, "test", data)
    if task.draw is None or task.draw >= len(frame):
        return frame
    chosen = np.random.default_rng(seed).choice(len(frame), task.draw, replace=False)
    return frame.iloc[np.sort(chosen)]


def draw(rows: Dataset, per_group: int | None, seed: int = 0) -> Dataset:
    """At most `per_group` items of every task and emotion, drawn by `seed`, in order.

    None keeps all. For runs on a small machine; such scores say that they are a draw.
    """
    if per_group is None:
        return rows
    if per_group < 1:
        raise DataError(
            f"per_group is {per_group}, expected 1 or more, or None for all"
        )
    frame = pd.DataFrame({name: rows[name] for name in ("task", "emotion")})
    kept = []
    for _, group in frame.groupby(["task", "emotion"], dropna=False, sort=False):
        size = min(per_group, len(group))
        chosen = np.random.default_rng(seed).choice(group.index, size, replace=False)
        kept.extend(int(index) for index in chosen)
    return rows.select(sorted(kept))


def read_release(path: str | Path, form: str = "paper") -> Dataset:
    """The authors' AEB.jsonl in file order, columns as `build` gives them.

    `form`: "paper", as the file has them, or "published", see `prompts`.

    `id` is the 0-based line, as response files count. `emotion`, `text` and
    `instruction` are read off the prompt; the text is as released, with the full stop
    that the release adds.
    DataError names the line that is no JSON, lacks a field or is no released prompt.
    """
    if form not in ("paper", PUBLISHED):
        raise DataError(
            f"the released prompts are in form paper, or {PUBLISHED} for the published"
            f" models, not {form!r}"
        )
    if not Path(path).is_file():
        raise DataError(
            f"{path}: no such file: the authors' AEB.jsonl is to lie there (in the"
            " folder release of EMOLIB_DATA, where the notebooks look)"
        )
    rows = []
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines):
            rows.append(_read_released(line, f"{path}:{number + 1}", number))
    if not rows:
        raise DataError(f"{path}: empty")
    if form == PUBLISHED:
        rows = [row | {"prompt": to_published(row["prompt"])} for row in rows]
    return Dataset.from_list(rows, features=_FEATURES)


def read_responses(path: str | Path, rows: Dataset) -> pd.DataFrame:
    """Somebody's answers to `rows`, as `predict.predict` gives them.

    A JSON line per answer: `row`, the item's 0-based place among `rows`, and
    `response`, a text, a number or null (null and NaN: no answer, so unparsed). Lines
    may stand in any order. DataError for a line that is no such JSON, for a row that is
    not among the items or stands there twice, and for items without a line.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    found: dict[int, str] = {}
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row, response = _read_response(line, f"{path}:{number}", len(rows))
            if row in found:
                raise DataError(f"{path}:{number}: a second response to row {row}")
            found[row] = response
    if len(found) < len(rows):
        first = next(row for row in range(len(rows)) if row not in found)
        raise DataError(
            f"{path}: {len(found)} responses to {len(rows)} items; row {first}"
            f" ({rows[first]['task']}) is the first without one"
        )
    table = rows.select_columns(["id", "task", "emotion"]).to_pandas()
    answered = [found[row] for row in range(len(rows))]
    return table.astype({"emotion": object}).assign(response=answered)


def _read_response(line: bytes, where: str, items: int) -> tuple[int, str]:
    try:
        record = json.loads(line.decode("utf-8"))
        row, response = record["row"], record["response"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{where}: expected JSON with row and response ({error!r})"
        ) from None
    if type(row) is not int or not 0 <= row < items:
        raise DataError(f"{where}: row {row!r}, expected 0 to {items - 1}")
    if isinstance(response, list | dict | bool):
        raise DataError(f"{where}: response {response!r:.60}, expected a text")
    empty = response is None or response != response  # NaN alone differs from itself
    return row, "" if empty else str(response)


def _read_released(line: bytes, where: str, number: int) -> dict:
    try:
        record = json.loads(line.decode("utf-8"))
        task, prompt, gold = record["task"], record["prompt"], record["gold"]
        f"{task}{prompt}{gold}".encode()  # halves of characters are no text
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{where}: expected JSON with task, prompt and gold ({error!r})"
        ) from None
    if not isinstance(task, str) or task not in TASKS:
        raise DataError(f"{where}: no task {task!r:.60}")
    parts = _RELEASED.fullmatch(str(prompt))
    if not parts:
        raise DataError(f"{where}: not a prompt as released: {str(prompt)[:60]!r}")
    return {
        "id": str(number),
        "task": task,
        "emotion": parts["emotion"],
        "text": parts["text"],
        "instruction": parts["instruction"],
        "prompt": prompt,
        "gold": str(gold),
    }
