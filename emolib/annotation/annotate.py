"""Texts in, affect out: one row per text, each value with a confidence.

`annotate` for a list of texts; `Annotator` keeps the model for the next texts.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import DataError, runs
from emolib.annotation.backends import COLUMNS, LanguageModel, Lexicon
from emolib.annotation.write_files import mend
from emolib.baselines import lexicons
from emolib.data.prompts import FORMS
from emolib.tasks import AAID, get

DEFAULT = "emo-smollm2-135m"
DIGITS = 4  # decimals of scores and confidences
_KEPT = 50_000  # distinct texts whose rows are remembered, about 40 MB


@dataclass(frozen=True)
class Settings:
    """How to judge. tokens_per_batch moves the last digits at most."""

    tasks: tuple[str, ...] | None = None  # of COLUMNS; None: all the model can judge
    quantization: str | None = None  # see models.load
    adapter: str | None = None
    device: str = "auto"
    dtype: str | None = None  # "bfloat16" is faster where the CPU has it
    backend: str = "transformers"  # or "llama.cpp", for GGUF files
    form: str | None = None  # of the prompts; None: the adapter's own, else "paper"
    max_tokens: int = 512  # of a text; what comes after is not read
    tokens_per_batch: int = 2048
    coverage: float | None = None  # of intervals around scores: 0.8, 0.9 or 0.95
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
      beside it (after temperature scaling where the model has a calibration.json, as
      the bundled one has, see notebook 7; else as the model gives it);
    with `coverage`, anger_intensity_low and _high and so on for every score: the ends
      of an interval that holds the raters' mean in that share of texts like those of
      SemEval-2018 (split-conformal; a promise about many texts, not about one);
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
        self.columns = list_columns(self.tasks, self.chosen.coverage)
        self._known: dict[bytes, tuple[np.ndarray, str | None]] = {}
        if model in lexicons.NAMES:
            if self.chosen.coverage is not None:
                raise DataError(f"coverage: {model} has no calibrated intervals")
            self._judge = Lexicon(model)
        else:
            self._judge = LanguageModel(model, self.tasks, self.chosen)

    @property
    def settings(self) -> dict:
        """All that decides the values: tasks, model, its weights, precision, form."""
        return {
            "tasks": list(self.tasks),
            "max_tokens": self.chosen.max_tokens,
            "tokens_per_batch": self.chosen.tokens_per_batch,
            "coverage": self.chosen.coverage,
            **self._judge.settings,
        }

    def __call__(
        self, texts: Iterable[str], advance: Callable[[int], object] | None = None
    ) -> pd.DataFrame:
        """As `annotate`; `advance` is told how many texts' worth of work is done.

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
        told = sum(key not in new for key in keys)
        advance(told)

        def report(share: float) -> None:
            nonlocal told
            step = round(share * len(texts)) - told
            if step > 0:
                told += step
                advance(step)

        found = self._judge_new(list(new.values()), report)
        report(1.0)
        here = dict(zip(new, found, strict=True))
        rows = [here[key] if key in here else self._known[key] for key in keys]
        self._remember(here)
        return self._tabulate(rows)

    def _judge_new(self, texts: list, report: Callable[[float], None]) -> list:
        """(values in the order of the columns, reason) per text."""
        empty = np.full(len(self.columns), np.nan)
        found = [(empty, _refuse(text)) for text in texts]
        asked = [number for number, (_, reason) in enumerate(found) if not reason]
        judged = self._judge([mend(texts[number]) for number in asked], report)
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
        over = max(0, len(self._known) - _KEPT)
        for key in list(islice(self._known, over)):
            del self._known[key]

    def _tabulate(self, rows: list) -> pd.DataFrame:
        values = np.array([row for row, _ in rows]).reshape(-1, len(self.columns))
        frame = pd.DataFrame(values, columns=list(self.columns))
        frame["reason"] = pd.Series([reason for _, reason in rows], dtype=object)
        return frame.astype(self.columns | {"reason": "str"})


def list_columns(tasks: Iterable[str], coverage: float | None = None) -> dict:
    """Column -> pandas type of what `annotate` gives for these tasks, without reason.

    With `coverage` the ends of an interval after every score.

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
            if coverage and task.kind == "score":
                columns |= {f"{column}_low": "float64", f"{column}_high": "float64"}
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


def _hash(text) -> bytes:
    whole = f"{type(text).__name__} {text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=16).digest()
