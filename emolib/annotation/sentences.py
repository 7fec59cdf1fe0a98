"""Texts to sentences, and values of sentences back to values of texts."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, pairwise

import pandas as pd

from emolib.annotation.columns import DIGITS, REMARKS
from emolib.annotation.notes import describe

KEYS = ("text_row", "sentence_number", "sentence")
_URL = re.compile(r"(?:https?://|www\.)\S*[\w/]")
_END = re.compile(r"(?<=[.!?…。！？])\s+")
_MOST = 2000  # characters given to pysbd at once: its time grows with their square


def split(texts: Iterable) -> pd.DataFrame:
    """One row per sentence: `text_row`, `sentence_number`, both from 1, and `sentence`.

    English, by pysbd's rules; a line break ends a sentence, and what holds no letter or digit (an
    emoji, a bracket) belongs to the sentence before it. Nothing but white space between sentences
    is lost. What has no sentence (an empty text, or none at all) is one row with itself in it.

    >>> split(["Dr. Who is sad. Why? 😭"])["sentence"].tolist()
    ['Dr. Who is sad.', 'Why? 😭']
    """
    rows = []
    for row, text in enumerate(texts, start=1):
        found = split_one(text) if isinstance(text, str) else []
        rows += [(row, number, each) for number, each in enumerate(found or [text], start=1)]
    frame = pd.DataFrame({name: pd.Series(dtype=object) for name in KEYS})
    if rows:
        frame = pd.DataFrame(rows, columns=list(KEYS), dtype=object)
    return frame.astype({"text_row": "int64", "sentence_number": "int64"})


def split_one(text: str) -> list[str]:
    """A text's sentences, without white space at their ends; none of a blank text."""
    found = []
    for piece in _cut(text):
        for sentence in filter(None, map(str.strip, _segment(piece))):
            if found and not any(map(str.isalnum, sentence)):
                found[-1] = f"{found[-1]} {sentence}"
            else:
                found.append(sentence)
    return found


def aggregate(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per text from `split`'s columns and, beside them, `annotate`'s without its text.

    `text_row`; `sentences`, how many were annotated; the mean over these, all alike, of every
    score, class (so 1.5 is possible) and confidence; share_joy and so on, the share of them with
    that label, in place of has_joy; `reason`, those of the sentences; `note`, of the whole text.
    """
    names = [name for name in frame if name not in (*KEYS, *REMARKS)]
    values, rows = frame[names].astype("float64"), frame["text_row"]
    means = values.groupby(rows).mean().round(DIGITS)
    means.columns = [rename(name) for name in names]
    means.insert(0, "sentences", values.notna().any(axis=1).groupby(rows).sum())
    means["reason"] = frame.groupby("text_row")["reason"].agg(_join)
    texts = frame.groupby("text_row")["sentence"].agg(lambda each: " ".join(each.dropna()))
    means["note"] = [describe(text) for text in texts]
    return means.astype(REMARKS).rename_axis("text_row").reset_index()


def rename(column: str) -> str:
    """The name of a column's mean.

    >>> rename("has_joy_confidence")
    'share_joy_confidence'
    """
    return re.sub("^has_", "share_", column)


def _join(reasons: pd.Series) -> str | None:
    return "; ".join(dict.fromkeys(reasons.dropna())) or None


def _cut(text: str) -> Iterator[str]:
    """Lines; long ones cut after a sentence or a word, or wherever it must be."""
    for line in text.splitlines():
        while len(line) > _MOST:
            ends = [match.end() for match in _END.finditer(line, 0, _MOST)]
            end = ends[-1] if ends else line.rfind(" ", 1, _MOST) + 1 or _MOST
            yield line[:end]
            line = line[end:]
        yield line


def _segment(piece: str) -> list[str]:
    masked = _URL.sub(lambda match: "x" * len(match[0]), piece.strip())
    try:
        parts = _load_segmenter().segment(masked)
    except Exception:  # whatever a text does to its many regular expressions
        parts = []
    if "".join(parts) != masked:  # it loses the signs that it uses itself, such as ♨
        ends = [0, *(match.end() for match in _END.finditer(masked)), len(masked)]
    else:
        ends = accumulate(map(len, parts), initial=0)
    return [piece.strip()[start:end] for start, end in pairwise(ends)]


@cache
def _load_segmenter():
    from pysbd import Segmenter  # only where sentences are wanted

    return Segmenter(language="en", clean=False)
