"""The affect profile: the text once, and every question about it as a short branch after it.

    Text: {text}            ┬─ " anger"     a digit: EI-reg, anger's intensity
    Feelings:               │               yes or no: E-c holds anger
                            ├─ " valence"   a digit: V-reg
                            └─ ...

A branch sees the text and itself, no other branch: an answer does not depend on what else is asked.
A score is the mean of k/9 over the ten digits k; EI-oc and V-oc are read off the same number by cut
points, as SemEval-2018's own classes were cut from its scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, Features, List, Value

from emolib import DataError
from emolib.data import corpora
from emolib.data.parsing import read_gold
from emolib.tasks import EMOTIONS, get

PROFILE = "profile"  # the form's name, beside those of `prompts`
CLASSES = {"EI-reg": "EI-oc", "V-reg": "V-oc"}  # read off the same number
# Where SemEval-2018's training scores change from class to class, which do not overlap there: half
# way between one class's highest score and the next one's lowest. A test counts them again.
CUTS = {
    "EI-oc anger": (0.395, 0.4655, 0.6145),
    "EI-oc fear": (0.5815, 0.687, 0.7955),
    "EI-oc joy": (0.399, 0.5385, 0.6745),
    "EI-oc sadness": (0.419, 0.5215, 0.6865),
    "V-oc": (0.229, 0.381, 0.428, 0.6095, 0.7035, 0.7785),
}
_FEATURES = Features(
    {
        **dict.fromkeys(("id", "text", "prompt"), Value("string")),
        **dict.fromkeys(("gold", "ceiling"), List(Value("float32"))),
    }
)


@dataclass(frozen=True)
class Question:
    """A question of the profile: a score of a task, or whether a label is present.

    `about` is the emotion of a score (None for valence) or the label; `branch` is the text that
    stands after the prompt. Questions of one branch are answered at the same token.
    """

    task: str
    about: str | None
    branch: str

    @property
    def is_score(self) -> bool:
        """Whether the answer is a digit, and not yes or no."""
        return get(self.task).kind == "score"


QUESTIONS = (
    *(Question("EI-reg", emotion, f" {emotion}") for emotion in EMOTIONS),
    Question("V-reg", None, " valence"),
    *(Question("E-c", label, f" {label}") for label in get("E-c").labels),
)


def render(text: str) -> str:
    """The text as the profile's prompt; DataError where it is empty."""
    if not text.strip():
        raise DataError("a prompt needs a text that is not empty")
    return f"Text: {text.strip()}\nFeelings:"


def build(
    split: str, data: str | Path = "official", questions: Sequence[Question] = QUESTIONS
) -> Dataset:
    """One row per distinct text of the questions' tasks, in the order of their files.

    Columns id (the first that the text has), text, prompt, gold and ceiling: lists with a number
    per question, NaN where there is none. `gold`: a score in 0 to 1, or 1 and 0 for a label that is
    present and one that is not. `ceiling`: evidence of absence. Where raters say that an emotion is
    not in a text and nobody rated its intensity, the intensity should lie in the lowest quarter of
    that emotion's ratings in this split, whose upper end the ceiling is.
    """
    texts: dict[str, dict] = {}
    for task in dict.fromkeys(question.task for question in questions):
        frame = corpora.read(task, split, data)
        for name, text, emotion, gold in frame[["id", "text", "emotion", "gold"]].itertuples(
            index=False, name=None
        ):
            known = texts.setdefault(text, {"id": name})
            value = read_gold(task, gold)
            if get(task).kind == "score":
                known[task, emotion] = float(np.interp(value, get(task).range, (0, 1)))
            else:
                known |= {(task, label): float(label in value) for label in get(task).labels}
    keys = [(question.task, question.about) for question in questions]
    gold = np.array([[known.get(key, np.nan) for key in keys] for known in texts.values()])
    return Dataset.from_dict(
        {
            "id": [known["id"] for known in texts.values()],
            "text": list(texts),
            "prompt": [render(text) for text in texts],
            "gold": gold,
            "ceiling": _find_ceilings(gold, questions),
        },
        features=_FEATURES,
    )


def _find_ceilings(gold: np.ndarray, questions: Sequence[Question]) -> np.ndarray:
    ceilings = np.full_like(gold, np.nan)
    places = {(q.task, q.about): n for n, q in enumerate(questions)}
    for number, question in enumerate(questions):
        label = places.get(("E-c", question.about))
        if question.is_score and label is not None:
            absent = (gold[:, label] == 0) & np.isnan(gold[:, number])
            ceilings[absent, number] = np.nanquantile(gold[:, number], 0.25)
    return ceilings


def draw(rows: Dataset, size: int, seed: int = 0) -> Dataset:
    """So many rows, drawn by `seed`, in an order of its own; 0: all."""
    return rows.shuffle(seed).select(range(min(size, len(rows)))) if size else rows


def to_items(rows: Dataset, questions: Sequence[Question] = QUESTIONS) -> pd.DataFrame:
    """The rows' gold as items of their tasks: id, task, emotion, gold, as `metrics` reads them.

    A score task has an item per text and emotion with gold, a label task one per text.
    """
    found = []
    for name, gold in zip(rows["id"], rows["gold"], strict=True):
        labels: dict[str, list] = {}
        for question, value in zip(questions, gold, strict=True):
            if not question.is_score and value == value:
                labels.setdefault(question.task, []).extend([question.about] * int(value))
            elif value == value:
                found.append((name, question.task, question.about, value))
        found += [(name, task, None, tuple(held)) for task, held in labels.items()]
    return pd.DataFrame(found, columns=["id", "task", "emotion", "gold"])
