"""Sentences that are alike but for a person: the Equity Evaluation Corpus, taken apart.

Kiritchenko and Mohammad (2018, "Examining Gender and Race Bias in Two Hundred Sentiment Analysis
Systems") put noun phrases, pronouns and first names into templates. Names stand for a race that
they are associated with in the United States, and gender is female or male. SemEval's test files
hold that corpus and further sentences like it.
"""

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from emolib import DataError
from emolib.data import corpora
from emolib.data.rows import to_frame

SIDES = {"gender": ("female", "male"), "race": ("African American", "European American")}
_LISTS = yaml.safe_load((resources.files("emolib.data") / "equity_corpus.yaml").read_text("utf-8"))


def _list_persons() -> pd.DataFrame:
    groups = _LISTS["names"]  # gender, race, names
    rows = [(name, "first names", *group) for *group, names in groups for name in names.split()]
    for couple in _LISTS["couples"]:
        sides = zip(couple, SIDES["gender"], strict=True)
        rows += [(person, " / ".join(couple), gender, None) for person, gender in sides]
    return pd.DataFrame(rows, columns=["person", "couple", "gender", "race"], dtype=object)


PERSONS = _list_persons()  # person, couple, gender, race (None but for first names)
_FEELINGS = {w: emotion for emotion, ws in _LISTS["words"].items() for w in ws.split()}
_named = PERSONS["race"].notna()
_names, _others = ("|".join(PERSONS["person"][each]) for each in (_named, ~_named))
_PERSON = re.compile(rf"\b({_names}|(?i:{_others}))\b")
_WORD = re.compile(rf"\b({'|'.join(_FEELINGS)})\b")
_FILLED = "|".join([*_FEELINGS, *_LISTS["topics"].split()])
_FILLED = re.compile(rf"\b(?:an? )?(?:{_FILLED})\b")


def read_pairs(data: str | Path = "official") -> pd.DataFrame:
    """The equity sentences inside SemEval's test files, as `describe` tells of them.

    With "sample" they are 280 sentences in frames invented for this project (part "invented"): the
    bundled corpus has too few, and no names that stand for a race.
    """
    if str(data) == "sample":
        return describe(_invent()).assign(part="invented")
    return describe(corpora.read_equity("V-reg", data))  # EI-reg's are the same


def describe(sentences: pd.DataFrame) -> pd.DataFrame:
    """What a sentence is made of; `sentences` needs id and text, the order is kept.

    Columns id, text and, None where there is none:
    frame: the text with <person> (and <self> for herself or himself), and
    template: the frame with <word> for what varies between frames of one kind;
    person, and from PERSONS its couple, gender and race;
    word: the emotion word, and named: the emotion that it names;
    part: "eec" (the Equity Evaluation Corpus: frames with an emotion word, or neutral),
      "further" (on occupations and fields of study) or "single" (no such person, or no
      sentence of the other gender).

    DataError for an id that stands there twice.
    """
    found = sentences[["id", "text"]].reset_index(drop=True).astype(object)
    if (again := found["id"].duplicated()).any():
        raise DataError(f"two sentences {found['id'][again].iloc[0]}")
    text = found["text"]
    who = text.str.extract(_PERSON, expand=False)
    frame = text.str.replace(_PERSON, "<person>", n=1, regex=True)
    found["frame"] = frame.str.replace(r"\b(?:herself|himself)\b", "<self>", regex=True)
    found["template"] = found["frame"].str.replace(_FILLED, "<word>", regex=True)
    found["person"] = who.where(who.isin(PERSONS["person"]), who.str.lower())
    found = found.merge(PERSONS, on="person", how="left")
    found["word"] = text.str.extract(_WORD, expand=False)
    found["named"] = found["word"].map(_FEELINGS)
    both = found.groupby("frame")["gender"].transform("nunique") == 2
    topical = found["word"].isna() & (found["frame"] != found["template"])
    found["part"] = np.where(topical, "further", "eec")
    found.loc[~both, "part"] = "single"
    return to_frame(found)


def _invent() -> pd.DataFrame:
    """Three names per gender and race and four couples in each invented frame."""
    chosen = [name for *_, names in _LISTS["names"] for name in names.split()[::4]]
    chosen += [person for couple in _LISTS["couples"][2:5] for person in couple]
    genders, texts = PERSONS.set_index("person")["gender"], []
    for frame, words in _LISTS["invented"].items():
        pronouns = _LISTS["couples"]["{object}" in frame]  # she and he, or her and him
        for word in words.split():
            for who in (*chosen, *pronouns):
                own = "herself" if genders[who] == "female" else "himself"
                text = frame.format(subject=who, object=who, self=own, word=word)
                texts.append(text[0].upper() + text[1:])
    ids = [f"invented-{number:03}" for number in range(1, len(texts) + 1)]
    return pd.DataFrame({"id": ids, "text": texts})


def draw(sentences: pd.DataFrame, frames: int | None, seed: int = 0) -> pd.DataFrame:
    """At most `frames` whole frames of every template, drawn by `seed`, in order.

    None keeps all. For a machine that cannot ask all 16,937 sentences five times.
    """
    if frames is None:
        return sentences
    if frames < 1:
        raise DataError(f"frames is {frames}, expected 1 or more, or None for all")
    listed = sentences[["template", "frame"]].drop_duplicates()
    mixed = listed.sample(frac=1, random_state=seed)
    kept = mixed.groupby("template").head(frames)["frame"]
    return sentences[sentences["frame"].isin(kept)].reset_index(drop=True)
