"""Prompt and answer become tokens, in one of three ways: for training and for asking.

"after": as one text, the way most models are tuned. "apart": each by itself and then joined, as the
authors' decoders were tuned: a SentencePiece tokenizer then begins an answer with a piece of its
own. "decoder": the encoder reads the prompt, the decoder writes the answer (T5, BART).
"""

from datasets import Dataset, Features, List, Value, concatenate_datasets

from emolib import DataError
from emolib.data.prompts import PUBLISHED, form_of


def choose_style(style: str, prompt: str) -> str:
    """The style for a prompt: one in form "published" never joins its answer."""
    return "apart" if style == "after" and form_of(prompt) == PUBLISHED else style


def encode_answers(prompt: str, answers: list[str], tokenizer, style: str) -> list[list[int]]:
    """Tokens of each answer to `prompt`, with the end of text.

    `prompt` may be the end of one. "decoder": as the decoder is to write them, which for BART
    begins with its start token. DataError in style "after" where prompt and answer share a token.
    """
    return [ids for _, ids in _encode_pairs([prompt] * len(answers), answers, tokenizer, style)]


def keep_short(rows: Dataset, tokenizer, max_length: int, style: str = "after"):
    """(Rows of at most `max_length` tokens, how many were longer).

    The rows come with their tokens: input_ids (prompt, completion, end of text) and labels (-100 on
    the prompt); in style "decoder" input_ids are the prompt's, labels the completion's, and each
    may have `max_length`. Longer rows are left out because the trainer would cut them from the
    right, the label first. DataError where all rows are longer, and where a prompt's tokens are
    not a prefix of the whole row's: it would be trained on another prompt than it gets later.
    """
    style = choose_style(style, rows[0]["prompt"])
    found = []
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        pairs = _encode_pairs(part["prompt"], part["completion"], tokenizer, style)
        for row, (ids, labels) in enumerate(pairs, start=start):
            if style != "decoder":
                ids, labels = ids + labels, [-100] * len(ids) + labels
            if max(len(ids), len(labels)) <= max_length:
                found.append((row, ids, labels))
    if not found:
        raise DataError(f"no row is as short as max_length={max_length} tokens")
    kept, ids, labels = map(list, zip(*found, strict=True))
    features = Features(dict.fromkeys(("input_ids", "labels"), List(Value("int32"))))
    tokens = Dataset.from_dict({"input_ids": ids, "labels": labels}, features=features)
    return concatenate_datasets([rows.select(kept), tokens], axis=1), len(rows) - len(kept)


def _encode_pairs(prompts: list, answers: list, tokenizer, style: str) -> list[tuple]:
    """(tokens of prompt, tokens of answer) per pair; DataError where the two merge."""
    starts, end = tokenizer(prompts).input_ids, [tokenizer.eos_token_id]
    if style == "decoder":
        return list(zip(starts, tokenizer(text_target=answers).input_ids, strict=True))
    if style == "apart":
        ends = tokenizer(answers, add_special_tokens=False).input_ids
        return [(ids, answer + end) for ids, answer in zip(starts, ends, strict=True)]
    whole = tokenizer([a + b for a, b in zip(prompts, answers, strict=True)]).input_ids
    found = []
    for start, ids, prompt, answer in zip(starts, whole, prompts, answers, strict=True):
        if ids[: len(start)] != start:
            both = f"the end of the prompt with the answer: {prompt[-20:]!r} and {answer!r}"
            raise DataError(f"this tokenizer merges {both}: take another prompt form")
        found.append((start, ids[len(start) :] + end))
    return found
