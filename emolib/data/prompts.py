"""A row becomes the exact text a model sees: one function for training and testing.

The shape is the paper's (its Table 2): the task sentence, the text, for EI tasks the emotion, then
the name of the answer. Four forms of it: "paper" (Human:/Assistant:, letter for letter as in the
released benchmark), "published" (the same with the space after `Assistant:` that the authors'
training code has), "plain" (no roles, the answer follows on the same line) and "chat" (the
tokenizer's own chat template).
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import numpy as np
import yaml

from emolib import DataError
from emolib.tasks import Task, describe_class, get

PUBLISHED = "published"
FORMS = ("paper", PUBLISHED, "plain", "chat")
_ENDS = {"paper": "Assistant:\n", PUBLISHED: "Assistant: \n"}


@cache
def instructions(task: str) -> tuple[str, ...]:
    """A task's instructions, in this project's words, with classes or labels filled in.

    Ten for the tasks of AAID. Zero-shot score tasks ask for 0 to 1, as in training (paper, 4.3.2),
    in V-reg's ten instructions where it is valence they want. Others of AEB-2 have one each.
    """
    found = get(task)
    text = (resources.files("emolib.data") / "instructions.yaml").read_text("utf-8")
    described = [f"{k}: {w.format(emotion='E')}." for k, w in found.classes.items()]
    filled = {"classes": " ".join(described), "labels": ", ".join(found.labels)}
    templates = yaml.safe_load(text)[found.ask or task]
    return tuple(template.format(**filled, neutral=found.neutral) for template in templates)


def read_range(task: str, instruction: str) -> tuple[float, float] | None:
    """The range an instruction asks a score in; None for a task without a range.

    0 to 1 for this project's instructions; for others, as the released ones, the corpus's own.
    """
    own = get(task).range
    return (0.0, 1.0) if own and instruction in instructions(task) else own


def render(row: Mapping, form: str = "paper", tokenizer=None) -> dict[str, str]:
    """`prompt`, and `completion` where the row has a gold answer.

    `row` needs task, instruction, text and, for EI tasks, emotion. The tokens of the prompt are a
    prefix of the tokens of prompt + completion: no prompt ends in a space, and a completion that
    must not touch the word before it brings its own space. The end-of-text token is not part of a
    completion; the trainer appends it.

    Raises DataError for an unknown form, an empty text, an EI row without an emotion, and for
    "chat" without a tokenizer that has a chat template that works.
    """
    if form not in FORMS:
        raise DataError(f"no prompt form {form!r}: the forms are {', '.join(FORMS)}")
    task, emotion, text = get(row["task"]), row.get("emotion"), row["text"].strip()
    if not text:
        raise DataError(f"{task.name}: a prompt needs a text that is not empty")
    if task.emotions and emotion not in task.emotions:
        known = ", ".join(task.emotions)
        raise DataError(f"{task.name}: emotion {emotion!r}, expected one of {known}")
    if form in _ENDS:  # every part ends with a full stop, unless one stands there
        stop = "" if text[-1] in ".!?" else "."
        named = f" Emotion E: {emotion}." if emotion else ""
        body = f"{row['instruction']} {task.noun}: {text}{stop}{named} {task.answer}: "
        prompt = f"Human: \nTask: {body}\n\n{_ENDS[form]}"
    else:
        named = f"Emotion E: {emotion}\n" if emotion else ""
        body = f"{row['instruction']}\n\n{task.noun}: {text}\n{named}{task.answer}:"
        prompt = body if form == "plain" else _apply_template(body, tokenizer)
    if row.get("gold") is None:
        return {"prompt": prompt}
    gap = " " if form == "plain" else ""
    asked = read_range(task.name, row["instruction"])
    return {"prompt": prompt, "completion": gap + complete(task, row["gold"], asked)}


def _apply_template(body: str, tokenizer) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError('form "chat" needs a tokenizer with a chat template')
    messages = [{"role": "user", "content": body}]
    options = {"tokenize": False, "add_generation_prompt": True}
    try:
        prompt = tokenizer.apply_chat_template(messages, **options)
    except Exception as error:  # a template is a program, and may do anything wrong
        raise DataError(f"the tokenizer's chat template fails: {error}") from error
    # The tokenizer adds its own start token again when it reads the prompt as text.
    start = tokenizer.bos_token
    adds_start = start and tokenizer("").input_ids == [tokenizer.bos_token_id]
    return prompt.removeprefix(start) if adds_start else prompt


def render_after(row: Mapping, examples: list[Mapping], form: str = "paper") -> str:
    """The prompt of a row after solved examples of its task: a few-shot prompt.

    Every example is a turn of its own with its gold answer, in the row's instruction, which stands
    once, in the first turn. Forms "paper" and "plain"; DataError for "chat" (a string is one turn).
    """
    if form not in ("paper", "plain"):
        raise DataError(f'few-shot prompts are "paper" or "plain", not {form!r}')
    asked = row["instruction"]
    known = f"Task: {asked} " if form == "paper" else f"{asked}\n\n"
    turns = []
    for turn in (*examples, dict(row, gold=None)):
        parts = render(dict(turn, instruction=asked), form)
        prompt = parts["prompt"].replace(known, "", 1) if turns else parts["prompt"]
        turns.append(prompt + parts.get("completion", ""))
    return "\n\n".join(turns)


def complete(task: Task, gold: str, asked: tuple[float, float] | None = None) -> str:
    """The answer a model is to give: a score with three decimals, a class in words.

    `asked`: the range the score is asked in, where that is not the corpus's own.
    """
    if task.kind == "score":
        value = float(gold)
        if asked and asked != task.range:
            value = float(np.interp(value, task.range, asked))
        return f"{value:.3f}"
    if task.kind == "ordinal" and ":" not in gold:
        return describe_class(task, int(gold))
    return gold


def form_of(prompt: str) -> str:
    """Which of the forms a prompt is written in."""
    for form, end in _ENDS.items():
        if prompt.startswith("Human: \nTask: ") and prompt.endswith(end):
            return form
    return "plain" if prompt.endswith(":") else "chat"


def to_published(prompt: str) -> str:
    """A prompt in form "paper" as the published checkpoints were trained on it."""
    return prompt.removesuffix(_ENDS["paper"]) + _ENDS[PUBLISHED]
