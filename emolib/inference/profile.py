"""A text's affect profile in one pass: the text, its questions as branches, read at their ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from emolib import DataError
from emolib.data.profiles import CLASSES, CUTS, QUESTIONS, Question, render
from emolib.inference import constrained, prefix_tree, tree_attention
from emolib.tasks import get

DIGITS = np.arange(10) / 9  # the scores that the digits stand for
_EDGES = (np.arange(11) - 0.5) / 9  # between digits
_SPELLED = [f"{value:.6g}" for value in DIGITS]


@dataclass(frozen=True)
class Reader:
    """The questions of a profile in one tokenizer.

    `branches` and `parents` are those of `prefix_tree.Item`, in which questions that begin alike
    share their tokens; `ends` is each question's last branch token.
    """

    questions: tuple[Question, ...]
    branches: list[int]
    parents: list[int]
    ends: list[int]
    digits: list[int]  # tokens of 0 to 9
    binary: list[int]  # tokens of no and yes

    @cached_property
    def scores(self) -> list[int]:
        """The numbers of the questions that are answered by a digit."""
        return [n for n, question in enumerate(self.questions) if question.is_score]

    @cached_property
    def labels(self) -> list[int]:
        """The numbers of the questions that are answered by yes or no."""
        return [n for n, question in enumerate(self.questions) if not question.is_score]

    def lay(self, prompts: Sequence[Sequence[int]]) -> tuple[prefix_tree.Row, torch.Tensor]:
        """Tokenized prompts as one row, and [prompts, questions]: where answers are read."""
        items = [prefix_tree.Item(ids, self.branches, self.parents) for ids in prompts]
        row = prefix_tree.lay(items)
        return row, torch.tensor(row.branches)[:, self.ends]

    def measure(self, hidden: torch.Tensor, head) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of digits [..., scores, 10], log odds of labels [..., labels].

        `hidden`: states at the questions' ends, [..., questions, width]. Softmax over the ten
        digits alone, and yes against no; in float32, gradients pass.
        """
        digits = _score(hidden[..., self.scores, :], head, self.digits)
        binary = _score(hidden[..., self.labels, :], head, self.binary)
        return digits.log_softmax(-1), binary[..., 1] - binary[..., 0]


def _score(hidden: torch.Tensor, head, tokens: list[int]) -> torch.Tensor:
    """Logits of some tokens in float32: bfloat16 would round probabilities by some percent."""
    bias = head.bias[tokens].float() if getattr(head, "bias", None) is not None else None
    return torch.nn.functional.linear(hidden.float(), head.weight[tokens].float(), bias)


def make_reader(tokenizer, questions: Sequence[Question] = QUESTIONS) -> Reader:
    """The reader of some questions; DataError for a tokenizer without a token for each answer."""
    digits = [_take_last(tokenizer, str(digit)) for digit in range(10)]
    binary = [_take_last(tokenizer, word) for word in (" no", " yes")]
    if len(set(digits)) < 10 or len(set(binary)) < 2:
        raise DataError("a profile needs a tokenizer with a token for each digit, yes and no")
    found: dict[tuple[int, int], int] = {}
    branches, parents, ends = [], [], []
    for question in questions:
        place = -1
        for token in tokenizer(question.branch, add_special_tokens=False).input_ids:
            before, place = place, found.setdefault((place, token), len(branches))
            if place == len(branches):
                branches.append(token)
                parents.append(before)
        ends.append(place)
    return Reader(tuple(questions), branches, parents, ends, digits, binary)


def _take_last(tokenizer, text: str) -> int:
    return tokenizer(text, add_special_tokens=False).input_ids[-1]


def predict(
    model,
    tokenizer,
    texts: Sequence[str],
    questions: Sequence[Question] = QUESTIONS,
    budget: int = 2048,
    report: Callable[[float], object] = lambda share: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Digits' probabilities [texts, scores, 10] and labels' [texts, labels], in the texts' order.

    Rows have at most `budget` tokens, or one text; texts of like length share one. `report` is
    called with the share of the texts that are done. DataError for an empty text.
    """
    reader = make_reader(tokenizer, questions)
    prompts = tokenizer([render(text) for text in texts]).input_ids
    digits = np.zeros((len(texts), len(reader.scores), 10))
    labels = np.zeros((len(texts), len(reader.labels)))
    done = 0
    for batch in _plan(prompts, len(reader.branches), budget):
        found = constrained.in_halves(lambda part: _predict(model, reader, prompts, part), batch)
        for number, (one, other) in zip(batch, found, strict=True):
            digits[number], labels[number] = one, other
        done += len(batch)
        report(done / len(texts))
    return digits, labels


def _plan(prompts: list, more: int, budget: int) -> list[list[int]]:
    """Texts per row, the longest first; all have `more` tokens of branches."""
    batches: list[list[int]] = []
    used = 0
    for number in sorted(range(len(prompts)), key=lambda n: (-len(prompts[n]), n)):
        size = len(prompts[number]) + more
        if not batches or used + size > budget:
            batches.append([])
            used = 0
        batches[-1].append(number)
        used += size
    return batches


def _predict(model, reader: Reader, prompts: list, numbers: Sequence[int]) -> list[tuple]:
    row, places = reader.lay([prompts[n] for n in numbers])
    with torch.inference_mode():
        hidden = tree_attention.encode(model, row)[places]
        digits, odds = reader.measure(hidden, tree_attention.take_body(model)[1])
        pair = digits.exp().double().cpu().numpy(), odds.sigmoid().double().cpu().numpy()
    return list(zip(*pair, strict=True))


def read_answers(
    digits: np.ndarray, labels: np.ndarray, questions: Sequence[Question] = QUESTIONS
) -> list[tuple]:
    """(task, emotion, probabilities, mean) of every answer about one text.

    `digits` [scores, 10] and `labels` [labels] as `predict` gives them for a text. A score's class
    comes from the same digits: each digit's share is spread evenly around its value and cut at
    CUTS. Probabilities are by value, class or label; the mean is that of values or classes.
    """
    found, held = [], {}
    rows, chances = iter(digits), iter(labels.tolist())
    for question in questions:
        task, about = question.task, question.about
        if not question.is_score:
            held.setdefault(task, {})[about] = next(chances)
            continue
        p = next(rows)
        mean = float(p @ DIGITS)
        found.append((task, about, dict(zip(_SPELLED, p.tolist(), strict=True)), mean))
        classes = CLASSES.get(task)
        if cuts := CUTS.get(f"{classes} {about}" if about else classes):
            below = np.interp(cuts, _EDGES, [0, *np.cumsum(p)])
            parts, names = np.diff([0, *below, 1]).clip(0), sorted(get(classes).classes)
            shares = dict(zip(map(str, names), parts.tolist(), strict=True))
            found.append((classes, about, shares, float(parts @ names)))
    return [*found, *((task, None, each, np.nan) for task, each in held.items())]


def judge(
    names: Sequence[str],
    digits: np.ndarray,
    labels: np.ndarray,
    questions: Sequence[Question] = QUESTIONS,
) -> pd.DataFrame:
    """Judgements (see `evaluation.judgements`) of texts called `names`, from what `predict` gives.

    A row per text and answer of `read_answers`; emotion is None where the task has none.
    """
    found = [
        (name, *answer)
        for name, one, other in zip(names, digits, labels, strict=True)
        for answer in read_answers(one, other, questions)
    ]
    columns = ["id", "task", "emotion", "probabilities", "mean"]
    return pd.DataFrame(found, columns=columns).astype({"emotion": object})
