"""Texts in, affect out: one row per text, each value with a confidence."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from os import PathLike
from unicodedata import category

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from emolib import DataError, runs
from emolib.annotation.backends import LanguageModel, Lexicon
from emolib.annotation.columns import DIGITS, REMARKS, list_columns
from emolib.annotation.formats.write_files import sanitize
from emolib.annotation.notes import describe
from emolib.annotation.settings import DEFAULT_MODEL, ModelSettings
from emolib.annotation.validation import fitting
from emolib.baselines import lexicons
from emolib.data.profiles import PROFILE
from emolib.data.prompts import FORMS
from emolib.tasks import AAID

_UNSEEN = "\ufe0e\ufe0f\u034f\u115f\u1160\u3164\u2800"  # marks and letters that show nothing
_KEPT = 50_000  # distinct texts whose rows are remembered, about 40 MB


def annotate(texts: Iterable[str], model: str = DEFAULT_MODEL, **settings) -> pd.DataFrame:
    """One row per text, in the order given; a Series keeps its index.

    `model`: whatever `models.load` takes, or "vader" or "textblob", which need no model and predict
    valence alone. `settings` are the fields of `ModelSettings`; `tasks` names what to predict.
    Columns, after `text`:

    anger_intensity and so on for fear, joy, sadness (EI-reg): 0 to 1;
    anger_class and so on (EI-oc): 0 none, 1 low, 2 moderate, 3 high;
    valence (V-reg): 0 most negative to 1 most positive; valence_class (V-oc): -3 to 3;
    has_anger and so on for eleven emotions (E-c): True or False;
    each of these with `_confidence`, the model's own probability, 0 to 1, of the value beside it or
      that a score lies within 0.1 of it (after temperature scaling where the model has a
      calibration.json, as the bundled one has, see notebook 7);
    with `coverage`, _low and _high of every score: an interval that holds the raters' mean in that
      share of texts like those of SemEval-2018 (split-conformal: of many texts, not of one);
    reason: why a text was not annotated, or that it was cut; else missing;
    note: what the model was not made for, such as a text that does not look English (see
      `notes.NOTES`); else missing. The values beside a note are what the model gave.

    What cannot be annotated (no text, an empty one) is missing and never an exception. Equal texts
    are computed once. DataError for an unknown task, setting or model.
    """
    return Annotator(model, **settings)(texts)


class Annotator:
    """A model, loaded once, that annotates any number of batches of texts.

    `columns`: name -> pandas type, without `reason` and `note`. `settings`: all that decides
    the values.
    """

    def __init__(self, model: str = DEFAULT_MODEL, **settings):
        if not isinstance(model, str | PathLike):
            raise DataError(f"model: expected a name or a path, not {type(model).__name__}")
        model = str(model)
        least, choices = {"max_tokens": 1, "tokens_per_batch": 1}, {"form": (*FORMS, PROFILE)}
        chosen = runs.read_settings(ModelSettings, settings, "annotation", least, choices)
        tasks = _choose_tasks(model, chosen.tasks or ())
        self.columns = list_columns(tasks, chosen.coverage)
        self._known: dict[bytes, tuple] = {}
        self._hidden = not chosen.progress
        lexicon = model in lexicons.NAMES
        if lexicon and chosen.coverage is not None:
            raise DataError(f"coverage: {model} has no calibrated intervals")
        needed = (model, chosen) if lexicon else (model, tasks, chosen)
        self._backend = (Lexicon if lexicon else LanguageModel)(*needed)
        self.settings = {"tasks": tasks, "coverage": chosen.coverage, **self._backend.settings}
        self.settings |= {name: getattr(chosen, name) for name in least}
        self._fits = None
        if chosen.calibration:
            self._fits = _read_fits(chosen, self.columns, self.settings)
            self.settings["fits"] = {part: self._fits[part] for part in fitting.PARTS}

    def __call__(self, texts: Iterable[str], advance: Callable | None = None) -> pd.DataFrame:
        """As `annotate`; `advance` is called with how many more texts are done.

        Without `advance` there is a progress bar, unless the settings say otherwise.
        """
        index = texts.index if isinstance(texts, pd.Series) else None
        texts = _list_texts(texts)
        with tqdm(total=len(texts), unit="text", disable=bool(advance) or self._hidden) as bar:
            rows = self._find_rows(texts, advance or bar.update)
        values = np.array([row for row, *_ in rows]).reshape(-1, len(self.columns))
        frame = pd.DataFrame(values, columns=list(self.columns))
        for place, name in enumerate(REMARKS, start=1):
            frame[name] = pd.Series([row[place] for row in rows], dtype=object)
        frame = frame.astype(self.columns | REMARKS)
        frame.insert(0, "text", pd.Series(texts, dtype=object))
        return frame if index is None else frame.set_index(index)

    def remember(self, texts: Iterable[str], frame: pd.DataFrame) -> None:
        """Takes over rows that were made before, so that equal texts get the same."""
        values = frame[list(self.columns)].astype("float64").to_numpy()
        remarks = frame[list(REMARKS)].astype(object)
        remarks = remarks.where(remarks.notna(), None).to_numpy()
        rows = ((row, *beside) for row, beside in zip(values, remarks, strict=True))
        self._store(dict(zip(map(_hash, texts), rows, strict=True)))

    def _find_rows(self, texts: list, advance: Callable[[int], object]) -> list:
        """(values in the order of the columns, reason, note) per text."""
        keys, done = [_hash(text) for text in texts], 0
        pairs = zip(keys, texts, strict=True)
        new = {key: text for key, text in pairs if key not in self._known}

        def report(share: float) -> None:
            nonlocal done
            step = max(0, round(share * len(texts)) - done)
            done += step
            advance(step)

        report(sum(key not in new for key in keys) / max(1, len(keys)))
        found = dict(zip(new, self._predict(list(new.values()), report), strict=True))
        report(1.0)
        rows = [found[key] if key in found else self._known[key] for key in keys]
        self._store(found)
        return rows

    def _predict(self, texts: list, report: Callable[[float], None]) -> list:
        reasons = [_refuse(text) for text in texts]
        usable = [sanitize(t) for t, reason in zip(texts, reasons, strict=True) if not reason]
        predicted = iter(self._backend.predict(usable, report))
        rows = [({}, reason) if reason else next(predicted) for reason in reasons]
        table = [[values.get(name, np.nan) for name in self.columns] for values, _ in rows]
        if self._fits:
            frame = pd.DataFrame(table, columns=list(self.columns), dtype=float)
            table = fitting.apply(frame, self._fits).to_numpy()
        notes = [None if why else describe(t) for t, why in zip(texts, reasons, strict=True)]
        reasons = [reason for _, reason in rows]
        return list(zip(np.round(table, DIGITS), reasons, notes, strict=True))

    def _store(self, new: dict) -> None:
        self._known |= {key: row for key, row in new.items() if key not in self._known}
        for key in list(islice(self._known, max(0, len(self._known) - _KEPT))):
            del self._known[key]


def _choose_tasks(model: str, wanted: Iterable[str] | str) -> list[str]:
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        wanted = [wanted]
    who, possible = (model, ["V-reg"]) if model in lexicons.NAMES else ("annotate", AAID)
    for task in wanted:
        if task not in possible:
            raise DataError(f"task {task!r}: {who} predicts {', '.join(possible)}")
    return [task for task in possible if not wanted or task in wanted]


def _read_fits(chosen: ModelSettings, columns: dict, settings: dict) -> dict:
    fits = fitting.read(chosen.calibration, columns)
    if chosen.coverage is not None:
        raise DataError(
            "coverage: its intervals are on SemEval's scale, not on that of calibration"
        )
    about = fits["about"]
    names = ("weights", "adapter_weights") if about.get("weights") else ("model",)
    if about.get("model") and any(about.get(name) != settings.get(name) for name in names):
        raise DataError(f"{chosen.calibration}: fitted for {about['model']}, not for this model")
    return fits


def _list_texts(texts) -> list:
    """A list of texts, whatever held them; DataError for what is no series of texts."""
    if isinstance(texts, str | bytes):
        raise DataError("a single text: give a list of texts")
    if isinstance(texts, Mapping) or hasattr(texts, "columns") or not hasattr(texts, "__iter__"):
        hint = 'give a list of texts, or a column of a table: table["text"]'
        raise DataError(f"texts: a {type(texts).__name__}, not a list of texts: {hint}")
    try:
        return [each.as_py() if isinstance(each, pa.Scalar) else each for each in texts]
    except TypeError as error:  # an array without a dimension
        raise DataError(f"texts: {error}: give a list of texts") from None


def _refuse(text) -> str | None:
    """Why there is nothing to annotate, or None."""
    if isinstance(text, str):
        seen = (c for c in text if not (c.isspace() or c in _UNSEEN or category(c) in ("Cf", "Cc")))
        return None if any(seen) else "empty text"
    missing = pd.api.types.is_scalar(text) and pd.isna(text)
    return "no text" if missing else f"not a text but {type(text).__name__}"


def _hash(text) -> bytes:
    shown = text if isinstance(text, str) else ""
    whole = f"{type(text).__name__} {pd.api.types.is_scalar(text) and pd.isna(text)} {shown}"
    whole = whole.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=16).digest()
