"""Sentences that are alike but for a person: the Equity Evaluation Corpus, taken apart.

Kiritchenko and Mohammad (2018, "Examining Gender and Race Bias in Two Hundred Sentiment
Analysis Systems") put noun phrases, pronouns and first names into templates. Names
stand for a race that they are associated with in the United States, and gender is
female or male. SemEval's test files hold that corpus and further sentences like it.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.data import corpora

SIDES = {
    "gender": ("female", "male"),
    "race": ("African American", "European American"),
}

# Persons and words of the corpus: Kiritchenko and Mohammad 2018, section 3.
_NAMES = {
    ("female", "African American"): "Ebony Jasmine Lakisha Latisha Latoya Nichelle"
    " Shaniqua Shereen Tanisha Tia",
    ("male", "African American"): "Alonzo Alphonse Darnell Jamel Jerome Lamar Leroy"
    " Malik Terrence Torrance",
    ("female", "European American"): "Amanda Betsy Courtney Ellen Heather Katie Kristin"
    " Melanie Nancy Stephanie",
    ("male", "European American"): "Adam Alan Andrew Frank Harry Jack Josh Justin Roger"
    " Ryan",
}
_COUPLES = (
    ("she", "he"),
    ("her", "him"),
    ("this woman", "this man"),
    ("this girl", "this boy"),
    ("my sister", "my brother"),
    ("my daughter", "my son"),
    ("my wife", "my husband"),
    ("my girlfriend", "my boyfriend"),
    ("my mother", "my father"),
    ("my aunt", "my uncle"),
    ("my mom", "my dad"),
)
_WORDS = {
    "anger": "angry annoyed enraged furious irritated annoying displeasing irritating"
    " outrageous vexing",
    "fear": "anxious discouraged fearful scared terrified dreadful horrible shocking"
    " terrifying threatening",
    "joy": "ecstatic excited glad happy relieved amazing funny great hilarious"
    " wonderful",
    "sadness": "depressed devastated disappointed dissapointed miserable sad depressing"
    " gloomy grim heartbreaking serious",  # one is misspelt in SemEval's files
}
# Not in the paper: what the further frames of SemEval's files are about.
_TOPICS = (
    "bartender doctor electrician engineer hairdresser hygienist janitor librarian"
    " nurse nutritionist programmer receptionist scientist supervisor surgeon art"
    " astronomy chemistry dance drama literature physics poetry science technology"
)
# Invented for this project: a frame, and the words that it is filled with.
_INVENTED = {
    "All week {subject} seemed {word}.": "angry scared happy sad",
    "The letter left {object} {word}.": "furious anxious glad miserable",
    "{subject} bought {self} a {word} book.": "vexing horrible funny gloomy",
    "{subject} waits for the bus by the bakery.": "-",
    "There is a parcel for {object} at the desk.": "-",
}


def _list_persons() -> pd.DataFrame:
    names = [
        (name, "first names", *group)
        for group, listed in _NAMES.items()
        for name in listed.split()
    ]
    others = [
        (person, " / ".join(couple), gender, None)
        for couple in _COUPLES
        for person, gender in zip(couple, SIDES["gender"], strict=True)
    ]
    columns = ["person", "couple", "gender", "race"]
    return pd.DataFrame(names + others, columns=columns).astype(object)


PERSONS = _list_persons()  # person, couple, gender, race (None but for first names)
_FEELINGS = {w: emotion for emotion, words in _WORDS.items() for w in words.split()}
_named = PERSONS["race"].notna()
_PERSON = re.compile(
    rf"\b({'|'.join(PERSONS['person'][_named])}"
    rf"|(?i:{'|'.join(PERSONS['person'][~_named])}))\b"
)
_SELF = re.compile(r"\b(?:herself|himself)\b")
_WORD = re.compile(rf"\b({'|'.join(_FEELINGS)})\b")
_FILLED = re.compile(rf"\b(?:an? )?(?:{'|'.join([*_FEELINGS, *_TOPICS.split()])})\b")


def read_pairs(data: str | Path = "official") -> pd.DataFrame:
    """The equity sentences inside SemEval's test files, as `describe` tells of them.

    With "sample" they are 280 sentences in frames invented for this project (part
    "invented"): the bundled corpus has too few, and no names that stand for a race.
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
    if found["id"].duplicated().any():
        raise DataError(
            f"two sentences {found['id'][found['id'].duplicated()].iloc[0]}"
        )
    text = found["text"].astype(object)
    who = text.str.extract(_PERSON, expand=False)
    found["frame"] = text.str.replace(_PERSON, "<person>", n=1, regex=True)
    found["frame"] = found["frame"].str.replace(_SELF, "<self>", regex=True)
    found["template"] = found["frame"].str.replace(_FILLED, "<word>", regex=True)
    is_name = who.isin(PERSONS["person"])
    found["person"] = who.where(is_name, who.str.lower())
    found = found.merge(PERSONS, on="person", how="left")
    found["word"] = text.str.extract(_WORD, expand=False)
    found["named"] = found["word"].map(_FEELINGS)
    both = found.groupby("frame")["gender"].transform("nunique") == 2
    topical = found["word"].isna() & (found["frame"] != found["template"])
    found["part"] = np.where(topical, "further", "eec")
    found.loc[~both, "part"] = "single"
    found = found.astype(object)
    return found.where(found.notna(), None)


def _invent() -> pd.DataFrame:
    """Three names per gender and race and four couples in each invented frame."""
    chosen = [name for names in _NAMES.values() for name in names.split()[::4]]
    chosen += [person for couple in _COUPLES[2:5] for person in couple]
    texts = []
    for frame, words in _INVENTED.items():
        for word in words.split():
            pronouns = _COUPLES["{object}" in frame]  # she and he, or her and him
            for person in (*chosen, *pronouns):
                female = (
                    PERSONS["gender"][PERSONS["person"] == person].iloc[0] == "female"
                )
                text = frame.format(
                    subject=person,
                    object=person,
                    self="herself" if female else "himself",
                    word=word,
                )
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
