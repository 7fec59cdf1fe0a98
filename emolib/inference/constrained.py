"""Prompts in, probabilities of the answers that their tasks allow out. No sampling.

Every prompt is one forward pass over tokens of its own: what it shares with others is computed once
(`prefix_tree`), the allowed answers follow it as branches (`answer_tree`), and the language-model
head computes their tokens alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from transformers.modeling_outputs import BaseModelOutput

from emolib.data import parsing
from emolib.data.prompts import read_range
from emolib.inference import prefix_tree, tree_attention
from emolib.inference.answer_tree import Choices, list_choices, read_labels, read_list
from emolib.tasks import THRESHOLD, describe_class


@dataclass(frozen=True)
class Question:
    """A prompt's tokens, and the answers it allows."""

    ids: list[int]
    choices: Choices
    emotion: str | None = None  # named in the words of a class

    @property
    def item(self) -> prefix_tree.Item:
        return prefix_tree.Item(self.ids, self.choices.tokens, self.choices.parents)


def read_questions(rows, tokenizer, style: str = "after") -> list[Question]:
    """One question per row of a Dataset with task, emotion and prompt, in order.

    Rows without an instruction ask for the corpus's own range. `style`: how the model's answers
    become tokens, see `models.tokens`.
    """
    questions = []
    for row, ids in zip(rows.to_list(), tokenizer(rows[:]["prompt"]).input_ids, strict=True):
        asked = read_range(row["task"], row.get("instruction", ""))
        allowed = list_choices(row["task"], asked, row["prompt"], tokenizer, style)
        questions.append(Question(ids, allowed, row["emotion"]))
    return questions


def predict(model, tokenizer, questions: Sequence[Question], shared: bool) -> list:
    """A record per question: response, prediction and so on, as `predict.predict` has them.

    All questions are computed together, in halves where the memory does not suffice. `shared`: in
    one row (if `tree_attention.fits`), else padded sequences; an encoder-decoder reads each prompt
    once and its decoder follows the answers.
    """
    compute = _compute_shared if shared else _compute_padded
    if model.config.is_encoder_decoder:
        compute = _compute_decoder
    alone = getattr(model, "score_answers", None)  # llama.cpp
    found = in_halves(alone or partial(compute, model, tokenizer), questions)
    return [describe(q, each) for q, each in zip(questions, found, strict=True)]


def predict_all(
    model,
    tokenizer,
    questions: Sequence[Question],
    shared: bool,
    budget: int = 2048,
    report: Callable[[float], object] = lambda share: None,
) -> list[dict]:
    """As `predict`, in batches of at most `budget` tokens; records in the order given.

    `report` is called with the share of the questions that are done.
    """
    records: list = [None] * len(questions)
    done = 0
    for batch in prefix_tree.plan([question.item for question in questions], budget):
        found = predict(model, tokenizer, [questions[n] for n in batch], shared)
        for number, record in zip(batch, found, strict=True):
            records[number] = record
        done += len(batch)
        report(done / len(questions))
    return records


def in_halves(work: Callable[[Sequence], list], items: Sequence) -> list:
    """What `work` gives for the items, one by one; in halves where memory runs out."""
    try:
        return list(work(items))
    except (RuntimeError, MemoryError) as error:
        if len(items) == 1 or not is_memory(error):
            raise
        half = len(items) // 2
        print(f"Out of memory with {len(items)} prompts: going on with {half}.")
    return in_halves(work, items[:half]) + in_halves(work, items[half:])


def is_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    return isinstance(error, MemoryError) or should_reduce_batch_size(error)


def score(hidden: torch.Tensor, head, tokens: list[int]) -> torch.Tensor:
    """Logits of some tokens alone; the head's other rows are not needed."""
    bias = head.bias[tokens] if getattr(head, "bias", None) is not None else None
    return torch.nn.functional.linear(hidden, head.weight[tokens], bias)


def _compute_shared(model, tokenizer, questions) -> list[np.ndarray]:
    """Probabilities of the answers per question [answers], from one shared row."""
    row = prefix_tree.lay([question.item for question in questions])
    with torch.inference_mode():
        hidden = tree_attention.encode(model, row)
    _, head = tree_attention.take_body(model)

    def compute(choices: Choices, numbers: list[int]) -> torch.Tensor:
        spots = [
            [row.ends[n] if place < 0 else row.branches[n][place] for n in numbers]
            for place in choices.places
        ]
        return score(hidden[torch.tensor(spots).T], head, choices.candidates)

    return _fill(questions, compute)


def _compute_padded(model, tokenizer, questions) -> list[np.ndarray]:
    """The same from padded batches of whole sequences, one per fork of each answer."""

    def compute(choices: Choices, numbers: list[int]) -> torch.Tensor:
        paths = [choices.find_path(place) for place in choices.places]
        sequences = [[*questions[n].ids, *path] for n in numbers for path in paths]
        inputs = pad(tokenizer, sequences, "left", model.device)
        logits = model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
        chosen = logits[:, choices.candidates]
        return chosen.view(len(numbers), len(choices.places), -1)

    return _fill(questions, compute)


def _compute_decoder(model, tokenizer, questions) -> list[np.ndarray]:
    """The same from a decoder, which reads off all forks along the longest answers."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    start = model.config.decoder_start_token_id

    def compute(choices: Choices, numbers: list[int]) -> torch.Tensor:
        paths, spots = choices.list_paths()
        answers = [[start, *path] for path in paths]
        answers = pad(tokenizer, answers, "right", model.device)["input_ids"]
        prompts = [questions[n].ids for n in numbers]
        prompts = pad(tokenizer, prompts, "right", model.device)
        states = whole.get_encoder()(**prompts).last_hidden_state
        logits = model(
            encoder_outputs=BaseModelOutput(states.repeat_interleave(len(paths), 0)),
            attention_mask=prompts["attention_mask"].repeat_interleave(len(paths), 0),
            decoder_input_ids=answers.repeat(len(numbers), 1),
            use_cache=False,
        ).logits
        logits = logits.view(len(numbers), len(paths), *logits.shape[1:])
        rows, columns = torch.tensor(spots).T
        return logits[:, rows, columns][..., choices.candidates]

    return _fill(questions, compute)


def pad(tokenizer, sequences: list, side: str, device):
    """Sequences as one batch of input_ids and attention_mask [sequences, longest]."""
    whole = {"input_ids": sequences}
    return tokenizer.pad(whole, padding_side=side, return_tensors="pt").to(device)


def _fill(questions, compute: Callable) -> list[np.ndarray]:
    """Probabilities per question; `compute` gives the logits of those with the same choices."""
    groups: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        groups.setdefault(id(question.choices), []).append(number)
    found: list = [None] * len(questions)
    for numbers in groups.values():
        choices = questions[numbers[0]].choices
        with torch.inference_mode():
            measured = choices.measure(compute(choices, numbers))
        p = measured.exp().double().cpu().numpy()
        for number, each in zip(numbers, p, strict=True):
            found[number] = each
    return found


def describe(question: Question, probabilities: np.ndarray) -> dict:
    """A record for one prompt from its answers' probabilities [answers].

    Of a score or class the likeliest, of a score the distribution's moments too.
    """
    choices = question.choices
    task, best = choices.task, int(probabilities.argmax())
    if task.kind == "labels":
        return _describe_labels(choices, probabilities)
    values, moments = np.array(choices.values, dtype=float), {"mean": None, "spread": None}
    if task.kind == "ordinal":
        response = describe_class(task, choices.values[best], question.emotion)
    else:
        response = f"{values[best]:.3f}"
        if choices.asked != task.range:
            values = np.interp(values, choices.asked, task.range)
        mean = float(probabilities @ values)
        spread = float(np.sqrt(probabilities @ (values - mean) ** 2))
        moments = {"mean": mean, "spread": spread}
    named = zip(values, probabilities, strict=True)
    return {
        "response": response,
        "prediction": parsing.parse(task.name, response, choices.asked),
        "probability": float(probabilities[best]),
        **moments,
        "probabilities": {f"{value:.6g}": float(p) for value, p in named},
    }


def _describe_labels(choices: Choices, probabilities: np.ndarray) -> dict:
    """Of labels: those more probable than not; how probable exactly that list is."""
    task = choices.task
    held = read_labels(choices, probabilities[None])[0]
    chosen = tuple(label for label, p in zip(task.labels, held, strict=True) if p >= THRESHOLD)
    if not chosen and not task.neutral:
        chosen = (task.labels[int(held.argmax())],)
    return {
        "response": ", ".join(chosen) or task.neutral,
        "prediction": chosen,
        "probability": read_list(choices, probabilities, chosen),
        "mean": None,
        "spread": None,
        "probabilities": {label: float(p) for label, p in zip(task.labels, held, strict=True)},
    }
