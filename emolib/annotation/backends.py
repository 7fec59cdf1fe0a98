"""What `annotate` asks about a text: a lexicon, or a language model."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from datasets import Dataset

from emolib import DataError
from emolib.baselines import lexicons
from emolib.data.prompts import instructions, render
from emolib.evaluation.judgements import NEAR, cool, cool_labels, expect, key_of
from emolib.tasks import AAID, Task, get

COLUMNS = {
    "EI-reg": "{}_intensity",
    "EI-oc": "{}_class",
    "V-reg": "valence",
    "V-oc": "valence_class",
    "E-c": "has_{}",
}
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
        from emolib import models
        from emolib.evaluation import decision_rules
        from emolib.inference import tree_attention  # torch: not for a lexicon

        options = {
            key: value
            for key, value in asdict(chosen).items()
            if key in ("quantization", "adapter", "device", "dtype", "backend")
        }
        model, self.tokenizer = models.load(name, **options)
        self.model = models.merge(model)
        self.shared = tree_attention.fits(self.model, self.tokenizer)
        self.chosen = chosen
        self.form = chosen.form or self.model.settings["prompt_form"] or "paper"
        self.asks = [
            {"task": task, "emotion": emotion, "instruction": instructions(task)[0]}
            for task in tasks
            for emotion in get(task).emotions or (None,)
        ]
        self.rules, found = decision_rules.find(self.model.settings["adapter"])
        if self.rules.joined and set(tasks) >= set(AAID):
            self.rules = self.rules.joined
        self.level = _read_level(self.rules, chosen.coverage)
        self.settings = {
            **self.model.settings,
            "prompt_form": self.form,
            "calibration": found,
        }
        self.settings.pop("adapter")  # its weights are named by their hash

    def __call__(self, texts: list[str], report: Callable) -> list[Judged]:
        """Values by column and a reason, or None, per text; `report` hears the share
        of the work that is done.
        """
        from emolib.inference import constrained

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
        budget = self.chosen.tokens_per_batch
        records = constrained.judge_all(
            self.model, self.tokenizer, questions, self.shared, budget, report
        )
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
        for record in records:
            if not np.isfinite(list(record["probabilities"].values())).all():
                return {}, "the model's probabilities are not finite numbers"
        values: dict = {}
        means = join(self.asks, records, self.rules.weights)
        for ask, record, mean in zip(self.asks, records, means, strict=True):
            task, emotion = get(ask["task"]), ask["emotion"]
            given = record["probabilities"]
            values |= _read_record(task, emotion, given, mean, self.rules, self.level)
        return values, reason


def join(asks: list[dict], records: list[dict], weights: dict) -> list[float]:
    """The mean of every answer about one text, joined with the others by `weights`."""
    from emolib.evaluation import stacked_regression  # scikit-learn: not for a lexicon

    answers: dict[str, float] = {}
    means = []
    for ask, record in zip(asks, records, strict=True):
        means.append(expect(ask["task"], record))
        named = ask["task"], ask["emotion"], record["probabilities"], means[-1]
        answers |= stacked_regression.read_answers(*named)
    keys = [key_of(ask["task"], ask["emotion"]) for ask in asks]
    return [
        stacked_regression.join_one(answers, weights[key]) if key in weights else mean
        for key, mean in zip(keys, means, strict=True)
    ]


def _read_level(rules, coverage: float | None) -> str | None:
    """The name of the level of intervals; DataError if they were not made for it."""
    if coverage is None:
        return None
    level = f"{coverage:g}"
    known = sorted({name for widths in rules.half_widths.values() for name in widths})
    if level not in known:
        there = f"there are {', '.join(known)}" if known else "this model has none"
        raise DataError(
            f"coverage {coverage}: no intervals were calibrated for it: {there}"
            " (notebook 7 makes them)"
        )
    return level


def _read_record(
    task: Task, emotion: str | None, given: dict, mean: float, rules, level
) -> dict:
    """Column -> value from an answer's probabilities and mean, by these decisions."""
    from emolib.evaluation.decision_rules import decide_one

    pattern = COLUMNS[task.name]
    heat = rules.temperatures.get(task.name, 1.0)
    decided = decide_one(task, emotion, given, mean, rules)
    if task.kind == "labels":
        sure = dict(zip(given, cool_labels([*given.values()], heat), strict=True))
        return _read_labels(pattern, decided, sure)
    column, values = pattern.format(emotion), np.array([float(name) for name in given])
    cooled = cool(np.array(list(given.values())), heat)
    near = NEAR if task.kind == "score" else 0
    sure = float(cooled[np.abs(values - decided) <= near].sum())
    found = {column: float(decided), f"{column}_confidence": min(1.0, sure)}
    if level and task.kind == "score":
        half = rules.half_widths[key_of(task.name, emotion)][level]
        ends = np.clip([decided - half, decided + half], *task.range)
        found |= {f"{column}_low": float(ends[0]), f"{column}_high": float(ends[1])}
    return found


def _read_labels(pattern: str, decided: tuple, sure: dict) -> dict[str, float]:
    found = {}
    for label, p in sure.items():
        held = label in decided
        found[pattern.format(label)] = float(held)
        found[pattern.format(label) + "_confidence"] = float(p if held else 1 - p)
    return found
