"""What `annotate` asks about a text: a lexicon, or a language model."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from datasets import Dataset

from emolib.baselines import lexicons
from emolib.prompts import instructions, render
from emolib.tasks import Task, get

COLUMNS = {
    "EI-reg": "{}_intensity",
    "EI-oc": "{}_class",
    "V-reg": "valence",
    "V-oc": "valence_class",
    "E-c": "has_{}",
}
NEAR = 0.1  # a score's confidence: how probable it is that it lies this close
_CHARACTERS = 16  # per token at most, before a text is tokenized at all
Judged = tuple[dict[str, float], str | None]


class Lexicon:
    """Valence from a lexicon's polarity, which has no confidence."""

    def __init__(self, name: str):
        self.settings = {"model": name}
        self._measure = lexicons.load(name)

    def __call__(self, texts: list[str], report: Callable) -> list[Judged]:
        """As `LanguageModel`."""
        return [({"valence": (self._measure(text) + 1) / 2}, None) for text in texts]


class LanguageModel:
    """A language model, asked every task about every text under one instruction."""

    def __init__(self, name: str, tasks: tuple[str, ...], chosen):
        from emolib import attention, models  # torch: not for a lexicon

        options = {
            key: value
            for key, value in asdict(chosen).items()
            if key in ("quantization", "adapter", "device", "dtype", "backend")
        }
        model, self.tokenizer = models.load(name, **options)
        self.model = models.merge(model)
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

    def __call__(self, texts: list[str], report: Callable) -> list[Judged]:
        """Values by column and a reason, or None, per text; `report` hears the share
        of the work that is done.
        """
        from emolib import constrained

        kept = [self._shorten(text) for text in texts]
        rows = [
            {**ask, **render({**ask, "text": text}, self.form, self.tokenizer)}
            for text, _ in kept
            for ask in self.asks
        ]
        if not rows:
            return []
        questions = constrained.read_questions(
            Dataset.from_list(rows), self.tokenizer, self.model.settings["answers"]
        )
        records: list = [None] * len(questions)
        done = 0
        for batch in constrained.plan(questions, self.chosen.tokens_per_batch):
            asked = [questions[number] for number in batch]
            judged = constrained.judge(self.model, self.tokenizer, asked, self.shared)
            for number, record in zip(batch, judged, strict=True):
                records[number] = record
            done += len(batch)
            report(done / len(questions))
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

    def _read(self, records: list[dict], reason: str | None) -> Judged:
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
