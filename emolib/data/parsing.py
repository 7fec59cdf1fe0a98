"""A model's response becomes a value, or None where it cannot be read.

Nothing is guessed: a number outside the task's range, a class that does not exist and a number that
breaks off ("0. seven") are None, because one misread response can move a correlation further than
any model change (see the tests for real examples).
"""

import re

import numpy as np

from emolib import DataError
from emolib.tasks import Task, get

LONGEST = 2000  # characters looked at; a longer response has lost its thread

# Not glued to letters, no decimal comma, fraction or second decimal part.
_NUMBER = re.compile(
    r"(?<![\w.,/])[-+]?(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?![\w%])(?!\s*[.,/]\s*\d)"
)
_NEGATED = r"(?<!\bno )(?<!\bnot )(?<!n't )(?<!n’t )(?<!\bwithout )(?<!\bnon-)"
_NEGATION = re.compile(r"(?i)\b(?:not|neither|nor|never|without)\b|n['’]t\b")


def parse(
    task: str, response: str | None, asked: tuple[float, float] | None = None
) -> float | int | tuple[str, ...] | None:
    """The value a response gives for a task, or None if it gives none.

    Score tasks: a float within `Task.range`; if the prompt asked for another range
    (`prompts.read_range` tells), the number must lie in that one and is mapped to the corpus's.
    Ordinal tasks: a key of `Task.classes`. Label tasks: the labels named, in the corpus's order; ()
    for the neutral answer of E-c. A leading number counts. Elsewhere in the response a number or
    class description counts only where it is the only one. Only the first line with text is read,
    after the thought of a reasoning model (<think>...</think>).

    >>> parse("EI-reg", "0.531"), parse("EI-reg", "48: disgust"), parse("E-c", "joy.")
    (0.531, None, ('joy',))
    """
    found = get(task)
    line = _take_line(response)
    if not line:
        return None
    if found.kind == "score":
        return _read_score(found, line, asked or found.range)
    return _read_class(found, line) if found.kind == "ordinal" else _read_labels(found, line)


def read_gold(task: str, gold) -> float | int | tuple[str, ...]:
    """The value of a gold answer as the corpus or the release writes it.

    A value that was read already comes back as it is. DataError if it is no answer.
    """
    if isinstance(gold, tuple | list):
        gold = ", ".join(gold) or get(task).neutral
    value = parse(task, str(gold))
    if value is None:
        raise DataError(f"{task}: {gold!r} is no gold answer of this task")
    return value


def _take_line(response: str | None) -> str:
    thought, _, answer = (response or "").rpartition("</think>")
    if not thought and answer.lstrip().startswith("<think>"):
        answer = ""  # the thought has no end, so no answer follows
    text = answer[:LONGEST].replace("\u2212", "-").strip()
    line = text.splitlines()[0].strip() if text else ""
    return re.sub(r"^([-+])\s+(?=\d)", r"\1", line)


def _read_score(task: Task, line: str, asked: tuple[float, float]) -> float | None:
    found = _take_number(line)
    if not found or ("." not in found.group() and line[found.end() :][:1] == "."):
        return None  # no number, or one that breaks off after its point
    value = float(found.group())
    if not asked[0] <= value <= asked[1]:
        return None
    return value if asked == task.range else float(np.interp(value, asked, task.range))


def _read_class(task: Task, line: str) -> int | None:
    found = _take_number(line)
    if found:
        value = float(found.group())
        return int(value) if value in task.classes else None
    if re.match(r"[-+]?[\d.]", line):
        return None  # it starts as a number and cannot be read as one
    if _NEGATION.search(line):
        return None
    patterns = {key: _describe(task, words) for key, words in task.classes.items()}
    named = [key for key, pattern in patterns.items() if re.search(pattern, line)]
    if len(named) < 2:
        return named[0] if named else None
    # "very negative" holds the words of SST-5's "negative" as well: the longer counts,
    # unless the shorter is said once more ("negative or very negative").
    longest = max(named, key=lambda key: len(task.classes[key]))
    rest = re.sub(patterns[longest], "", line)
    return None if any(re.search(patterns[key], rest) for key in named) else longest


def _describe(task: Task, text: str) -> str:
    """A pattern for the part of a class's words that tells it from the others."""
    words = text.removesuffix(" can be inferred").replace(" emotional state", "")
    words = words.replace("{emotion}", f"(?:{'|'.join(task.emotions)})")
    return rf"(?i){_NEGATED}\b{words}\b"


def _read_labels(task: Task, line: str) -> tuple[str, ...] | None:
    line = line.lower()
    spoken = [x for x in task.labels if re.search(rf"{_NEGATED}\b{x}\b", line)]
    if spoken or not task.neutral:
        return tuple(spoken) or None
    spaceless = re.sub(r"\W", "", line)  # one tokenizer's answers lose the spaces
    neutral = (task.neutral.replace(" ", ""), "neutral", "noemotion")
    return () if spaceless.startswith(neutral) else None


def _take_number(line: str) -> re.Match | None:
    """The number a line starts with, or the only one in a line of words."""
    found = list(_NUMBER.finditer(line))
    if found and found[0].start() == 0:
        return found[0]
    if re.match(r"[-+]?\.?\d", line):
        return None
    return found[0] if len(found) == 1 else None
