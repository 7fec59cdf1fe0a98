"""A row becomes the exact text a model sees: one function for training and testing.

The shape is the paper's (its Table 2): the task sentence, the text, for EI tasks the
emotion, then the name of the answer. Three forms of it: "paper" (Human:/Assistant:,
letter for letter as in the released benchmark), "plain" (no roles, the answer follows
on the same line) and "chat" (the tokenizer's own chat template).
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml

from emolib import DataError
from emolib.tasks import NEUTRAL, Task, get

FORMS = ("paper", "plain", "chat")


@cache
def instructions(task: str) -> tuple[str, ...]:
    """The ten instructions of a task, in this project's words, classes filled in."""
    found = get(task)
    text = (resources.files("emolib") / "instructions.yaml").read_text("utf-8")
    classes = " ".join(
        f"{value}: {words.format(emotion='E')}."
        for value, words in found.classes.items()
    )
    return tuple(
        template.format(
            classes=classes, labels=", ".join(found.labels), neutral=NEUTRAL
        )
        for template in yaml.safe_load(text)[task]
    )


def render(row: Mapping, form: str = "paper", tokenizer=None) -> dict[str, str]:
    """`prompt`, and `completion` where the row has a gold answer.

    `row` needs task, instruction, text and, for EI tasks, emotion. The tokens of the
    prompt are a prefix of the tokens of prompt + completion: no prompt ends in a space,
    and a completion that must not touch the word before it brings its own space.
    The end-of-text token is not part of a completion; the trainer appends it.

    Raises DataError for an unknown form, an empty text, an EI row without an emotion,
    and for "chat" without a tokenizer that has a chat template.
    """
    if form not in FORMS:
        raise DataError(f"no prompt form {form!r}: the forms are {', '.join(FORMS)}")
    task = get(row["task"])
    text = row["text"].strip()
    if not text:
        raise DataError(f"{task.name}: a prompt needs a text that is not empty")
    if task.emotions and row.get("emotion") not in task.emotions:
        raise DataError(
            f"{task.name}: emotion {row.get('emotion')!r}, expected one of"
            f" {', '.join(task.emotions)}"
        )
    prompt = _SHAPES[form](
        task, row["instruction"], text, row.get("emotion"), tokenizer
    )
    if row.get("gold") is None:
        return {"prompt": prompt}
    gap = " " if form == "plain" else ""
    return {"prompt": prompt, "completion": gap + complete(task, row["gold"])}


def complete(task: Task, gold: str) -> str:
    """The answer a model is trained to give: a score always has three decimals."""
    return f"{float(gold):.3f}" if task.kind == "score" else gold


def form_of(prompt: str) -> str:
    """Which of the forms a prompt is written in."""
    if prompt.startswith("Human: \nTask: ") and prompt.endswith("Assistant:\n"):
        return "paper"
    return "plain" if prompt.endswith(":") else "chat"


def _paper(task: Task, instruction: str, text: str, emotion: str | None, _) -> str:
    # The released prompts end every part with a full stop, unless one stands there.
    stop = "" if text[-1] in ".!?" else "."
    named = f" Emotion E: {emotion}." if emotion else ""
    body = f"Task: {instruction} {task.noun}: {text}{stop}{named} {task.answer}: "
    return f"Human: \n{body}\n\nAssistant:\n"


def _plain(task: Task, instruction: str, text: str, emotion: str | None, _) -> str:
    named = f"Emotion E: {emotion}\n" if emotion else ""
    return f"{instruction}\n\n{task.noun}: {text}\n{named}{task.answer}:"


def _chat(
    task: Task, instruction: str, text: str, emotion: str | None, tokenizer
) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError('form "chat" needs a tokenizer with a chat template')
    message = {
        "role": "user",
        "content": _plain(task, instruction, text, emotion, None),
    }
    prompt = tokenizer.apply_chat_template(
        [message], tokenize=False, add_generation_prompt=True
    )
    # The tokenizer adds its own start token again when it reads the prompt as text.
    start = tokenizer.bos_token
    adds_start = start and tokenizer("").input_ids == [tokenizer.bos_token_id]
    return prompt.removeprefix(start) if adds_start else prompt


_SHAPES = {"paper": _paper, "plain": _plain, "chat": _chat}
