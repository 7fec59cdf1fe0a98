"""What predicts the answers about a text: a lexicon, or a language model."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from datasets import Dataset

from emolib import DataError
from emolib.annotation.columns import read_record
from emolib.annotation.settings import ModelSettings
from emolib.baselines import lexicons
from emolib.data.profiles import PROFILE
from emolib.data.prompts import instructions, render
from emolib.evaluation.judgements import compute_mean, name_part
from emolib.tasks import AAID, get

_LOADING = ("quantization", "adapter", "device", "dtype", "backend")
_CHARACTERS = 16  # per token at most, before a text is tokenized at all
Prediction = tuple[dict[str, float], str | None]


class Lexicon:
    """Valence from a lexicon's polarity, which has no confidence."""

    def __init__(self, name: str, chosen: ModelSettings):
        self.settings, self._measure = {"model": name}, lexicons.load(name)
        self._words = chosen.max_tokens  # VADER's time grows with their square

    def predict(self, texts: list[str], report: Callable) -> list[Prediction]:
        """As `LanguageModel.predict`."""
        cut = [self._shorten(text) for text in texts]
        return [({"valence": (self._measure(text) + 1) / 2}, reason) for text, reason in cut]

    def _shorten(self, text: str) -> tuple[str, str | None]:
        start = text.strip()[: self._words * _CHARACTERS]
        ends = [found.end() for found in islice(re.finditer(r"\S+", start), self._words)]
        start = start[: ends[-1]]
        return (text, None) if len(start) == len(text.strip()) else (start, _say_cut(start, text))


class LanguageModel:
    """A language model; `settings`: its weights, precision, form, rules and so on."""

    def __init__(self, name: str, tasks: list[str], chosen: ModelSettings):
        from emolib import models
        from emolib.evaluation import calibration
        from emolib.inference import tree_attention  # torch: not for a lexicon

        model, self.tokenizer = models.load(name, **{key: getattr(chosen, key) for key in _LOADING})
        self.model = models.merge(model)
        self.shared = tree_attention.fits(self.model, self.tokenizer)
        self.chosen, about = chosen, dict(self.model.settings)
        self.form = chosen.form or about["prompt_form"] or "paper"
        if self.form == PROFILE and not (self.shared and hasattr(self.model, "modules")):
            raise DataError(f"form 'profile': {name} cannot share rows, or is read by llama.cpp")
        self.questions = []
        for task in tasks:
            about_task = {"task": task, "instruction": instructions(task)[0]}
            self.questions += [about_task | {"emotion": x} for x in get(task).emotions or (None,)]
        # The adapter itself is named by its weights' hash.
        self.calibration, found = calibration.find(about.pop("adapter"))
        if self.calibration.joined and set(tasks) >= set(AAID):
            self.calibration = self.calibration.joined
        self.level = _read_level(self.calibration, chosen.coverage)
        self.settings = {**about, "prompt_form": self.form, "calibration": found}

    def predict(self, texts: list[str], report: Callable) -> list[Prediction]:
        """Values by column, and a reason or None, per text; `report` gets the share done."""
        if not texts:
            return []
        kept, reasons = zip(*map(self._shorten, texts), strict=True)
        predict = self._predict_profiles if self.form == PROFILE else self._predict_answers
        answers = predict(kept, report)
        return [self._read(part, reason) for part, reason in zip(answers, reasons, strict=True)]

    def _predict_profiles(self, texts: Sequence[str], report: Callable) -> Iterator[list[tuple]]:
        """(Probabilities, mean) of every question about each text, in one pass per text."""
        from emolib.inference import profile

        given = profile.predict(
            self.model, self.tokenizer, texts, budget=self.chosen.tokens_per_batch, report=report
        )
        for digits, labels in zip(*given, strict=True):
            found = {answer[:2]: answer[2:] for answer in profile.read_answers(digits, labels)}
            yield [found[question["task"], question["emotion"]] for question in self.questions]

    def _predict_answers(self, texts: Sequence[str], report: Callable) -> Iterator[list[tuple]]:
        """The same from a prompt per question."""
        from emolib.inference import constrained

        model, tokenizer, width = self.model, self.tokenizer, len(self.questions)
        asked = [{**question, "text": text} for text in texts for question in self.questions]
        rows = Dataset.from_list([q | render(q, self.form, tokenizer) for q in asked])
        questions = constrained.read_questions(rows, tokenizer, model.settings["answers"])
        how = (self.shared, self.chosen.tokens_per_batch, report)
        records = constrained.predict_all(model, tokenizer, questions, *how)
        for start in range(0, len(records), width):
            part = records[start : start + width]
            means = join(self.questions, part, self.calibration.weights)
            yield list(zip((record["probabilities"] for record in part), means, strict=True))

    def _shorten(self, text: str) -> tuple[str, str | None]:
        """The part of a text that is read, and the reason to give if it is not all."""
        most = self.chosen.max_tokens
        start = text.strip()[: most * _CHARACTERS]
        ids = self.tokenizer(start, add_special_tokens=False).input_ids
        if len(ids) > most:
            start = self.tokenizer.decode(ids[:most]).rstrip("\ufffd").strip() or start[:most]
        if len(start) == len(text.strip()):
            return text, None
        return start, _say_cut(start, text)

    def _read(self, answers: list[tuple], reason: str | None) -> Prediction:
        if not all(np.isfinite(list(each.values())).all() for each, _ in answers):
            return {}, "the model's probabilities are not finite numbers"
        values = {}
        for question, (answer, mean) in zip(self.questions, answers, strict=True):
            values |= read_record(question, answer, mean, self.calibration, self.level)
        return values, reason


def _say_cut(start: str, text: str) -> str:
    return f"cut: about {len(start)} of {len(text)} characters were read"


def join(questions: list[dict], records: list[dict], weights: dict) -> list[float]:
    """The mean of every answer about one text, joined with the others by `weights`."""
    from emolib.evaluation.stacked_regression import join_one, read_answers  # scikit-learn: slow

    inputs, means = {}, {}
    for question, record in zip(questions, records, strict=True):
        task, emotion, answer = question["task"], question["emotion"], record["probabilities"]
        mean = means[name_part(task, emotion)] = compute_mean(task, answer)
        inputs |= read_answers(task, emotion, answer, mean)
    parts = means.items()
    return [join_one(inputs, weights[key]) if key in weights else mean for key, mean in parts]


def _read_level(calibration, coverage: float | None) -> str | None:
    """The name of the level of intervals; DataError if they were not made for it."""
    known = sorted({name for widths in calibration.half_widths.values() for name in widths})
    level = None if coverage is None else f"{coverage:g}"
    if level not in (None, *known):
        there = f"there are {', '.join(known)}" if known else "this model has none"
        raise DataError(f"coverage {coverage}: not calibrated: {there} (notebook 7 makes them)")
    return level
