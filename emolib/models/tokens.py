"""Prompt and answer become tokens, in one of three ways: for training and for asking.

"after": as one text, the way most models are tuned. "apart": each by itself and then joined, as the
authors' decoders were tuned: a SentencePiece tokenizer then begins an answer with a piece of its
own. "decoder": the encoder reads the prompt, the decoder writes the answer (T5, BART).
"""

from datasets import Dataset, Features, List, Value, concatenate_datasets

from emolib import DataError
from emolib.data.prompts import PUBLISHED, form_of

_BARE = {"add_special_tokens": False}


def choose_style(style: str, prompt: str) -> str:
    """The style for a prompt: one in form "published" never joins its answer."""
    return "apart" if style == "after" and form_of(prompt) == PUBLISHED else style


def encode_answers(prompt: str, answers: list[str], tokenizer, style: str) -> list[list[int]]:
    """Tokens of each answer to `prompt`, with the end of text.

    `prompt` may be the end of one. "decoder": as the decoder is to write them, which for BART
    begins with its start token. DataError in style "after" where the tokenizer joins the prompt's
    end with an answer's beginning.
    """
    if style == "decoder":
        return tokenizer(text_target=answers).input_ids
    end = [tokenizer.eos_token_id]
    if style == "apart":
        return [ids + end for ids in tokenizer(answers, **_BARE).input_ids]
    start = tokenizer(prompt).input_ids
    found = []
    for answer, ids in zip(
        answers, tokenizer([prompt + a for a in answers]).input_ids, strict=True
    ):
        if ids[: len(start)] != start:
            raise DataError(
                "this tokenizer merges the end of the prompt with the answer"
                f" {answer!r}: take another prompt form"
            )
        found.append(ids[len(start) :] + end)
    return found


def keep_short(
    rows: Dataset, tokenizer, max_length: int, style: str = "after"
) -> tuple[Dataset, int]:
    """Rows of at most `max_length` tokens, and how many were longer.

    The rows come with their tokens: input_ids (prompt, completion, end of text) and labels (-100 on
    the prompt); in style "decoder" input_ids are the prompt's, labels the completion's, and each
    may have `max_length`. Longer rows are left out because the trainer would cut them from the
    right, the label first.

    DataError where all rows are longer, and where a prompt's tokens are not a prefix of the whole
    row's: the model would be trained on another prompt than it gets later.
    """
    tokens = _encode(rows, tokenizer, max_length, choose_style(style, rows[0]["prompt"]))
    if not len(tokens):
        raise DataError(f"no row is as short as max_length={max_length} tokens")
    kept = rows.select(tokens["row"][:])
    whole = concatenate_datasets([kept, tokens.remove_columns("row")], axis=1)
    return whole, len(rows) - len(kept)


def _encode(rows: Dataset, tokenizer, max_length: int, style: str) -> Dataset:
    """Columns row (number), input_ids, labels of the rows that are short enough."""
    found: dict[str, list] = {"row": [], "input_ids": [], "labels": []}
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        pairs = _encode_pairs(part["prompt"], part["completion"], tokenizer, style)
        for row, (prompt, answer) in enumerate(pairs, start=start):
            if answer is None:
                raise DataError(
                    f"row {row}: this tokenizer merges the end of the prompt with the"
                    f" completion {part['completion'][row - start]!r}: take another"
                    " prompt form"
                )
            if style == "decoder":
                ids, labels = prompt, answer
            else:
                ids, labels = prompt + answer, [-100] * len(prompt) + answer
            if max(len(ids), len(labels)) <= max_length:
                found["row"].append(row)
                found["input_ids"].append(ids)
                found["labels"].append(labels)
    tokens = List(Value("int32"))
    kinds = {"row": Value("int32"), "input_ids": tokens, "labels": tokens}
    return Dataset.from_dict(found, features=Features(kinds))


def _encode_pairs(prompts: list, answers: list, tokenizer, style: str) -> list:
    """(tokens of prompt, tokens of answer) per pair; None for an answer that merges."""
    starts = tokenizer(prompts).input_ids
    if style != "after":
        return list(zip(starts, encode_answers("", answers, tokenizer, style), strict=True))
    whole = [
        prompt + answer + tokenizer.eos_token
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return [
        (start, ids[len(start) :] if ids[: len(start)] == start else None)
        for start, ids in zip(starts, tokenizer(whole).input_ids, strict=True)
    ]
