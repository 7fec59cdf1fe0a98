"""What the authors released: their benchmark, and two models' answers to it."""

import re
from pathlib import Path

import pandas as pd
from datasets import Dataset

from emolib import DataError, files
from emolib.data.aeb import FEATURES
from emolib.data.prompts import PUBLISHED, to_published
from emolib.data.rows import Rows, to_frame
from emolib.tasks import TASKS

# The released shape; the noun varies, instruction and text are free. An answer's name
# is spelled out because a released text may end without a full stop.
_RELEASED = re.compile(
    r"Human: \nTask: (?P<instruction>.*?) (?:Tweet|Text): (?P<text>.*?)"
    r"(?: Emotion E: (?P<emotion>\w+)\.)? (?:(?:Intensity|Sentiment)"
    r" (?:[Ss]core|Class)|This tweet contains emotions): "
    r"\n\nAssistant:\n",
    re.DOTALL,
)


def read_release(path: str | Path, form: str = "paper") -> Dataset:
    """The authors' AEB.jsonl in file order, columns as `aeb.build` gives them.

    `form`: "paper", as the file has them, or "published", see `prompts`. `id` is the 0-based line,
    as response files count. `emotion`, `text` and `instruction` are read off the prompt; the text
    is as released, with the full stop that the release adds. DataError names the line that is no
    JSON, lacks a field or is no released prompt.
    """
    if form not in ("paper", PUBLISHED):
        known = f"form paper, or {PUBLISHED} for the published models"
        raise DataError(f"the released prompts are in {known}, not {form!r}")
    if not Path(path).is_file():
        where = "in the folder release of EMOLIB_DATA, where the notebooks look"
        raise DataError(f"{path}: no such file: the authors' AEB.jsonl is to lie there ({where})")
    with Path(path).open("rb") as lines:
        rows = [_take_apart(x, f"{path}:{i + 1}", i) for i, x in enumerate(lines)]
    if not rows:
        raise DataError(f"{path}: empty")
    if form == PUBLISHED:
        rows = [row | {"prompt": to_published(row["prompt"])} for row in rows]
    return Dataset.from_list(rows, features=FEATURES)


def read_responses(path: str | Path, rows: Rows) -> pd.DataFrame:
    """Somebody's answers to `rows`, as `predict.predict` gives them.

    A JSON line per answer: `row`, the item's 0-based place among `rows`, and `response`, a text, a
    number or null (null and NaN: no answer, so unparsed). Lines may stand in any order. DataError
    for a line that is no such JSON, for a row that is not among the items or stands there twice,
    and for items without a line.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    table, found = to_frame(rows)[["id", "task", "emotion"]], {}
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row, response = _read_response(line, f"{path}:{number}", len(table))
            if row in found:
                raise DataError(f"{path}:{number}: a second response to row {row}")
            found[row] = response
    if missing := sorted(set(table.index) - set(found)):
        first = f"row {missing[0]} ({table['task'][missing[0]]}) is the first without one"
        raise DataError(f"{path}: {len(found)} responses to {len(table)} items; {first}")
    return table.assign(response=[found[row] for row in table.index])


def _take_apart(line: bytes, where: str, number: int) -> dict:
    task, prompt, gold = _read_fields(line, where, "task", "prompt", "gold")
    if not isinstance(task, str) or task not in TASKS:
        raise DataError(f"{where}: no task {task!r:.60}")
    parts = _RELEASED.fullmatch(str(prompt))
    if not parts:
        raise DataError(f"{where}: not a prompt as released: {str(prompt)[:60]!r}")
    row = {"id": str(number), "task": task, "prompt": prompt, "gold": str(gold)}
    return row | parts.groupdict()


def _read_response(line: bytes, where: str, items: int) -> tuple[int, str]:
    row, response = _read_fields(line, where, "row", "response")
    if type(row) is not int or not 0 <= row < items:
        raise DataError(f"{where}: row {row!r}, expected 0 to {items - 1}")
    if isinstance(response, list | dict | bool):
        raise DataError(f"{where}: response {response!r:.60}, expected a text")
    empty = response is None or response != response  # NaN alone differs from itself
    return row, "" if empty else str(response)


def _read_fields(line: bytes, where: str, *names: str) -> list:
    try:
        record = files.parse_json(line.decode("utf-8"))
        found = {name: record[name] for name in names}
        for name in names:  # halves of characters are no text, but a model may say them
            name == "response" or str(found[name]).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        fields = f"{', '.join(names[:-1])} and {names[-1]}"
        raise DataError(f"{where}: expected JSON with {fields} ({error!r})") from None
    return list(found.values())
