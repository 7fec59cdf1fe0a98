"""The answers that a task allows, as a tree of tokens, and their probabilities.

The answers of every task are known: a class, a number, a list of labels. Their tokens form a tree.
Appended to a prompt as branches (`prefix_tree.Item`), one forward pass gives the model's
distribution at every fork, hence the probability of each answer among those allowed. Where first
tokens differ, as for classes that begin with their number, nothing has to be appended at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
import torch

from emolib.data.prompts import complete, form_of
from emolib.models.tokens import choose_style, encode_answers
from emolib.tasks import Task, get

STEP = 0.1  # of a score's range: digits that say less than this are not asked for


@dataclass(frozen=True)
class Choices:
    """A task's allowed answers in one tokenizer.

    `tokens` and `parents` are the branches to append. A fork is a branch's number, -1 for the
    prompt's last token; `forks` and `targets` name the fork and the next token of each edge,
    `paths` the edges of each answer, whose values are `values`.
    """

    task: Task
    asked: tuple[float, float] | None
    tokens: list[int]
    parents: list[int]
    forks: list[int]
    targets: list[int]
    paths: np.ndarray  # [answers, edges], 0 or 1
    values: list

    @cached_property
    def places(self) -> list[int]:
        """The forks, each once: where hidden states are needed."""
        return sorted(set(self.forks))

    @cached_property
    def candidates(self) -> list[int]:
        """Every token that an edge leads to, once: the only logits that are needed."""
        return list(dict.fromkeys(self.targets))

    def find_path(self, place: int) -> list[int]:
        """The branch tokens from the prompt's end to a fork."""
        path = []
        while place >= 0:
            path.append(self.tokens[place])
            place = self.parents[place]
        return path[::-1]

    def list_paths(self) -> tuple[list[list[int]], list[tuple[int, int]]]:
        """Paths that no other path goes on from; per fork (path, tokens before it)."""
        whole = [self.find_path(place) for place in self.places]
        paths = [path for path in whole if sum(o[: len(path)] == path for o in whole) == 1]
        first = [next(n for n, p in enumerate(paths) if p[: len(o)] == o) for o in whole]
        return paths, list(zip(first, map(len, whole), strict=True))

    def measure(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [prompts, answers].

        `logits`: [prompts, places, candidates]. Softmax over each fork's edges alone, in float32:
        answers that are not allowed have no part in it. Gradients pass.
        """
        column = {token: number for number, token in enumerate(self.candidates)}
        steps = logits.new_empty((len(logits), len(self.forks)), dtype=torch.float32)
        for number, place in enumerate(self.places):
            edges = [e for e, fork in enumerate(self.forks) if fork == place]
            found = logits[:, number, [column[self.targets[e]] for e in edges]]
            steps[:, edges] = found.float().log_softmax(-1)
        return steps @ torch.from_numpy(self.paths).to(steps).T


def list_choices(
    task: str, asked: tuple[float, float] | None, prompt: str, tokenizer, style: str = "after"
) -> Choices:
    """The answers allowed after `prompt`, a prompt of the task that asks for `asked`.

    `style`: how answers become tokens, see `tokens`.

    Scores: numbers with three decimals in the range asked for, gathered where their next digits
    make less than STEP of it. Ordinal tasks: the classes. Label tasks: every label alone and every
    pair in the corpus's order, as `read_labels` needs.
    """
    gap = " " if form_of(prompt) == "plain" else ""
    # All prompts of a task end alike from the answer's name on, and what stands before does not
    # change the answer's tokens: so the tree is grown once.
    tail = prompt[max(0, prompt.rfind(get(task).answer)) :]
    style = choose_style(style, prompt)
    return _list_after(task, asked, tail, gap, tokenizer, style)


@lru_cache(maxsize=64)
def _list_after(task: str, asked, tail: str, gap: str, tokenizer, style) -> Choices:
    found = get(task)
    values, texts = _spell(found, asked)
    answers = encode_answers(tail, [gap + text for text in texts], tokenizer, style)
    pairs = [
        # A pair of labels stands for all lists that begin with it: its end of text goes.
        (ids[:-1] if isinstance(value, tuple) and len(value) == 2 else ids, value)
        for ids, value in zip(answers, values, strict=True)
    ]
    return _grow(found, asked, pairs)


def _spell(task: Task, asked) -> tuple[list, list[str]]:
    if task.kind == "score":
        low, high = (round(1000 * end) for end in asked)
        values = [number / 1000 for number in range(low, high + 1)]
        return values, [f"{value:.3f}" for value in values]
    if task.kind == "ordinal":
        values = list(task.classes)
        return values, [complete(task, str(value)) for value in values]
    values = [*combinations(task.labels, 1), *combinations(task.labels, 2)]
    texts = [", ".join(value) for value in values]
    if task.neutral:
        values, texts = [(), *values], [task.neutral, *texts]
    return values, texts


def _grow(task: Task, asked, answers: list[tuple[list[int], object]]) -> Choices:
    """The tree of answers (tokens, value), as deep as they have to be told apart.

    Numbers whose next digits make less than STEP of the range are one answer: their middle.
    """
    width = STEP * (asked[1] - asked[0]) if task.kind == "score" else 0.0
    tokens, parents, edges, leaves = [], [], [], []

    def is_one(answers: list) -> bool:
        values = [value for _, value in answers]
        return len(answers) == 1 or (width > 0 and max(values) - min(values) < width)

    def grow(answers: list, depth: int, node: int, path: list[int]) -> None:
        if is_one(answers):
            values = [value for _, value in answers]
            leaves.append((path, values[0] if len(values) == 1 else float(np.mean(values))))
            return
        by_token: dict[int, list] = {}
        for ids, value in answers:
            by_token.setdefault(ids[depth], []).append((ids, value))
        for token, below in by_token.items():
            ahead, following = path, node
            if len(by_token) > 1:
                edges.append((node, token))
                ahead = [*path, len(edges) - 1]
            if not is_one(below):
                following = len(tokens)
                tokens.append(token)
                parents.append(node)
            grow(below, depth + 1, following, ahead)

    grow(answers, depth=0, node=-1, path=[])
    paths = np.zeros((len(leaves), len(edges)), dtype=np.float32)
    for number, (path, _) in enumerate(leaves):
        paths[number, path] = 1
    forks, targets = map(list, zip(*edges, strict=True))
    values = [value for _, value in leaves]
    return Choices(task, asked, tokens, parents, forks, targets, paths, values)


def read_labels(choices: Choices, probabilities: np.ndarray) -> np.ndarray:
    """[prompts, labels]: how probable it is that the list holds each label.

    A list is read as a chain: which label follows depends on the one before. The first label's
    probabilities and those of each pair (`probabilities`, over the choices) then give every label's
    by summing over all lists.
    """
    labels = choices.task.labels
    place = {label: number for number, label in enumerate(labels)}
    first = np.zeros((len(probabilities), len(labels)))
    pair = np.zeros((len(probabilities), len(labels), len(labels)))
    for number, value in enumerate(choices.values):
        if value:
            first[:, place[value[0]]] += probabilities[:, number]
        if len(value) == 2:
            pair[:, place[value[0]], place[value[1]]] += probabilities[:, number]
    following = pair / np.maximum(first, 1e-12)[..., None]
    held = first
    for label in range(len(labels)):  # what comes before it is final by then
        held[:, label] += np.einsum("pk,pk->p", held[:, :label], following[:, :label, label])
    return held.clip(0, 1)


def read_list(choices: Choices, probabilities: np.ndarray, chosen: Sequence[str]) -> float:
    """The probability of exactly the list `chosen`, by the same chain.

    `probabilities`: [answers], of one prompt.
    """
    given = dict(zip(choices.values, probabilities, strict=True))
    if len(chosen) < 2:
        return float(given[tuple(chosen)])
    result = given[tuple(chosen[:2])]
    for before, after in zip(chosen[1:], [*chosen[2:], None], strict=True):
        begins = sum(p for value, p in given.items() if value[:1] == (before,))
        result *= given[(before,) if after is None else (before, after)]
        result /= max(begins, 1e-12)
    return float(result)
