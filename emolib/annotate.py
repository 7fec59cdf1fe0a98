"""Texts in, affect out: one row per text, each value with a confidence.

`annotate` for a list of texts; `Annotator` keeps the model for the next texts.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from datasets import Dataset
from tqdm import tqdm

from emolib import DataError, runs
from emolib.baselines import lexicons
from emolib.prompts import FORMS, instructions, render
from emolib.tasks import AAID, Task, get

DEFAULT = "smollm2-135m"
COLUMNS = {
    "EI-reg": "{}_intensity",
    "EI-oc": "{}_class",
    "V-reg": "valence",
    "V-oc": "valence_class",
    "E-c": "has_{}",
}
NEAR = 0.1  # a score's confidence: how probable it is that it lies this close
DIGITS = 4  # decimals of scores and confidences
_KEPT = 50_000  # distinct texts whose rows are remembered, about 40 MB
_CHARACTERS = 16  # per token at most, before a text is tokenized at all


@dataclass(frozen=True)
class Settings:
    """How to judge. All but tokens_per_batch and progress can change a value."""

    tasks: tuple[str, ...] | None = None  # of COLUMNS; None: all the model can judge
    quantization: str | None = None  # see models.load
    adapter: str | None = None
    device: str = "auto"
    dtype: str | None = None  # "bfloat16" is faster where the CPU has it
    form: str | None = None  # of the prompts; None: the adapter's own, else "paper"
    max_tokens: int = 512  # of a text; what comes after is not read
    tokens_per_batch: int = 2048
    progress: bool = True


def annotate(texts: Iterable[str], model: str = DEFAULT, **settings) -> pd.DataFrame:
    """One row per text, in the order given; a Series keeps its index.

    `model`: whatever `models.load` takes, or "vader" or "textblob", which need no model
    and judge valence alone. `settings` are the fields of `Settings`; `tasks` names what
    to judge. Columns, after `text`:

    anger_intensity and so on for fear, joy, sadness (EI-reg): 0 to 1;
    anger_class and so on (EI-oc): 0 none, 1 low, 2 moderate, 3 high;
    valence (V-reg): 0 most negative to 1 most positive;
    valence_class (V-oc): -3 to 3;
    has_anger and so on for eleven emotions (E-c): True or False;
    each of these with `_confidence`, the model's own probability, 0 to 1, of the class
      or of the True or False beside it, or that a score lies within 0.1 of the one
      beside it (untrained probabilities: they are not calibrated);
    reason: why a text was not judged, or that it was cut; else missing.

    What cannot be judged (no text, an empty one) is missing and never an exception.
    Equal texts are computed once. DataError for an unknown task, setting or model.
    """
    return Annotator(model, **settings)(texts)


class Annotator:
    """A model, loaded once, that annotates any number of batches of texts."""

    def __init__(self, model: str = DEFAULT, **settings):
        if settings.get("tasks") is not None:
            settings["tasks"] = tuple(settings["tasks"])
        self.chosen = _read_settings(settings)
        self.tasks = _choose_tasks(model, self.chosen.tasks)
        self.columns = list_columns(self.tasks)
        self._known: dict[bytes, tuple[np.ndarray, str | None]] = {}
        if model in lexicons.NAMES:
            self._judge = _Lexicon(model)
        else:
            self._judge = _Model(model, self.tasks, self.chosen)

    @property
    def settings(self) -> dict:
        """All that decides the values: tasks, model, its weights, precision, form."""
        return {
            "tasks": list(self.tasks),
            "max_tokens": self.chosen.max_tokens,
            "tokens_per_batch": self.chosen.tokens_per_batch,
            **self._judge.settings,
        }

    def __call__(
        self, texts: Iterable[str], advance: Callable[[int], object] | None = None
    ) -> pd.DataFrame:
        """As `annotate`; `advance` is told of every text that is done.

        Without `advance` there is a progress bar, unless the settings say otherwise.
        """
        if isinstance(texts, str | bytes):
            raise DataError("a single text: give a list of texts")
        index = texts.index if isinstance(texts, pd.Series) else None
        texts = list(texts)
        if advance is None:
            hidden = not self.chosen.progress
            with tqdm(total=len(texts), unit="text", disable=hidden) as bar:
                frame = self._annotate(texts, bar.update)
        else:
            frame = self._annotate(texts, advance)
        frame.insert(0, "text", pd.Series(texts, dtype=object))
        return frame if index is None else frame.set_index(index)

    def _annotate(self, texts: list, advance: Callable) -> pd.DataFrame:
        keys = [_hash(text) for text in texts]
        new = {
            key: text
            for key, text in zip(keys, texts, strict=True)
            if key not in self._known
        }
        advance(sum(key not in new for key in keys))
        copies = Counter(keys)
        times = [copies[key] for key in new]
        found = self._judge_new(
            list(new.values()), lambda number: advance(times[number])
        )
        here = dict(zip(new, found, strict=True))
        rows = [here[key] if key in here else self._known[key] for key in keys]
        self._remember(here)
        return self._tabulate(rows)

    def _judge_new(self, texts: list, advance: Callable) -> list:
        """(values in the order of the columns, reason) per text."""
        empty = np.full(len(self.columns), np.nan)
        found = [(empty, _refuse(text)) for text in texts]
        asked = [number for number, (_, reason) in enumerate(found) if not reason]
        for number, (_, reason) in enumerate(found):
            if reason:
                advance(number)
        judged = self._judge(
            [_clean(texts[number]) for number in asked],
            lambda place: advance(asked[place]),
        )
        for number, (values, reason) in zip(asked, judged, strict=True):
            row = np.array([values.get(name, np.nan) for name in self.columns])
            found[number] = (row.round(DIGITS), reason)
        return found

    def take_up(self, texts: Iterable[str], frame: pd.DataFrame) -> None:
        """Remembers rows that were made before, so that equal texts get the same."""
        values = frame[list(self.columns)].astype("float64").to_numpy()
        reasons = [None if pd.isna(each) else each for each in frame["reason"]]
        rows: dict = {}
        for text, row, reason in zip(texts, values, reasons, strict=True):
            rows.setdefault(_hash(text), (row, reason))
        self._remember({k: row for k, row in rows.items() if k not in self._known})

    def _remember(self, new: dict) -> None:
        self._known |= new
        for key in list(self._known)[: max(0, len(self._known) - _KEPT)]:
            del self._known[key]

    def _tabulate(self, rows: list) -> pd.DataFrame:
        values = np.array([row for row, _ in rows]).reshape(-1, len(self.columns))
        frame = pd.DataFrame(values, columns=list(self.columns))
        frame["reason"] = pd.Series([reason for _, reason in rows], dtype=object)
        return frame.astype(self.columns | {"reason": "str"})


def list_columns(tasks: Iterable[str]) -> dict[str, str]:
    """Column -> pandas type of what `annotate` gives for these tasks, without reason.

    >>> list(list_columns(["V-oc"]))
    ['valence_class', 'valence_class_confidence']
    """
    kinds = {"score": "float64", "ordinal": "Int64", "labels": "boolean"}
    columns = {}
    for name in tasks:
        task = get(name)
        for about in task.emotions or task.labels or ("",):
            column = COLUMNS[name].format(about)
            columns |= {column: kinds[task.kind], f"{column}_confidence": "float64"}
    return columns


def _read_settings(settings: dict) -> Settings:
    chosen = runs.read_settings(Settings, settings, "annotation")
    if chosen.form not in (None, *FORMS):
        raise DataError(f"form {chosen.form!r}: expected one of {', '.join(FORMS)}")
    for name in ("max_tokens", "tokens_per_batch"):
        if getattr(chosen, name) < 1:
            raise DataError(f"{name} is {getattr(chosen, name)}, expected 1 or more")
    return chosen


def _choose_tasks(model: str, tasks: tuple[str, ...] | None) -> tuple[str, ...]:
    possible = ("V-reg",) if model in lexicons.NAMES else AAID
    for task in tasks or ():
        if task not in possible:
            who = model if model in lexicons.NAMES else "annotate"
            raise DataError(f"task {task!r}: {who} judges {', '.join(possible)}")
    return tuple(task for task in possible if not tasks or task in tasks)


def _refuse(text) -> str | None:
    """Why there is nothing to judge, or None."""
    if not isinstance(text, str):
        missing = text is None or text is pd.NA or text != text
        return "no text" if missing else f"not a text but {type(text).__name__}"
    return None if text.strip() else "empty text"


def _clean(text: str) -> str:
    """A text that can be written as UTF-8; halves of a character become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _hash(text) -> bytes:
    whole = f"{type(text).__name__} {text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=16).digest()


class _Lexicon:
    """Valence from a lexicon's polarity, which has no confidence."""

    def __init__(self, name: str):
        self.settings = {"model": name}
        self._measure = lexicons.load(name)

    def __call__(self, texts: list[str], advance: Callable) -> list:
        found = []
        for place, text in enumerate(texts):
            found.append(({"valence": (self._measure(text) + 1) / 2}, None))
            advance(place)
        return found


class _Model:
    """A language model, asked every task about every text under one instruction."""

    def __init__(self, name: str, tasks: tuple[str, ...], chosen: Settings):
        from emolib import attention, models

        options = {
            key: value
            for key, value in asdict(chosen).items()
            if key in ("quantization", "adapter", "device", "dtype")
        }
        self.model, self.tokenizer = models.load(name, **options)
        self.shared = attention.fits(self.model, self.tokenizer)
        self.chosen = chosen
        self.form = chosen.form or self.model.settings["prompt_form"] or "paper"
        self.asks = [
            {"task": task, "emotion": emotion, "instruction": instructions(task)[0]}
            for task in tasks
            for emotion in get(task).emotions or (None,)
        ]
        self.settings = {**self.model.settings, "prompt_form": self.form}
        self.settings.pop("adapter")  # its weights are named by their hash

    def __call__(self, texts: list[str], advance: Callable) -> list:
        from emolib import constrained

        kept = [self._shorten(text) for text in texts]
        rows = [
            {**ask, **render({**ask, "text": text}, self.form, self.tokenizer)}
            for text, _ in kept
            for ask in self.asks
        ]
        if not rows:
            return []
        questions = constrained.read_questions(Dataset.from_list(rows), self.tokenizer)
        records: list = [None] * len(questions)
        left = [len(self.asks)] * len(texts)
        for batch in constrained.plan(questions, self.chosen.tokens_per_batch):
            asked = [questions[number] for number in batch]
            judged = constrained.judge(self.model, self.tokenizer, asked, self.shared)
            for number, record in zip(batch, judged, strict=True):
                records[number] = record
                place = number // len(self.asks)
                left[place] -= 1
                if not left[place]:
                    advance(place)
        return [
            self._read(records[place * len(self.asks) :][: len(self.asks)], reason)
            for place, (_, reason) in enumerate(kept)
        ]

    def _shorten(self, text: str) -> tuple[str, str | None]:
        """The part of a text that is read, and the reason to give if it is not all."""
        most = self.chosen.max_tokens
        start = text.strip()[: most * _CHARACTERS]
        ids = self.tokenizer(start, add_special_tokens=False).input_ids
        if len(ids) > most:
            cut = self.tokenizer.decode(ids[:most]).rstrip("\ufffd").strip()
            start = cut or start[:most]
        if len(start) == len(text.strip()):
            return text, None
        return start, f"cut: about {len(start)} of {len(text)} characters were read"

    def _read(self, records: list[dict], reason: str | None):
        values: dict = {}
        for ask, record in zip(self.asks, records, strict=True):
            if not np.isfinite(list(record["probabilities"].values())).all():
                return {}, "the model's probabilities are not finite numbers"
            values |= _read_record(get(ask["task"]), ask["emotion"], record)
        return values, reason


def _read_record(task: Task, emotion: str | None, record: dict) -> dict[str, float]:
    """Column -> value from a record of `constrained.judge`."""
    pattern, found = COLUMNS[task.name], {}
    if task.kind == "labels":
        for label, p in record["probabilities"].items():
            held = label in record["prediction"]
            found[pattern.format(label)] = float(held)
            found[pattern.format(label) + "_confidence"] = p if held else 1 - p
        return found
    column = pattern.format(emotion)
    if task.kind == "ordinal":
        value, sure = record["prediction"], record["probability"]
    else:
        value = record["mean"]
        sure = sum(
            p
            for other, p in record["probabilities"].items()
            if abs(float(other) - value) <= NEAR
        )
    return {column: float(value), f"{column}_confidence": min(1.0, float(sure))}
