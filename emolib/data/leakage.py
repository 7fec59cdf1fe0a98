"""Texts that stand both in AAID and in AEB-1's test data: there should be none."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.data import corpora
from emolib.tasks import AAID


def audit(data: str | Path = "official") -> pd.DataFrame:
    """Texts that stand in AAID and in AEB-1's test data, one row per pair of places.

    Columns: split, task, id of the AAID side; aeb_task, aeb_id; match, "exact" or "normalized"
    (equal without user names, URLs, letter case and white space); text, the AEB side's. Count with
    `.value_counts(["task", "aeb_task", "match"])`.
    """
    sides = []
    for splits in (("train", "dev"), ("test",)):
        read = [corpora.read(task, split, data) for split in splits for task in AAID]
        side = pd.concat(read)[["split", "task", "id", "text"]]
        side = side.drop_duplicates(["task", "id", "text"])
        sides.append(side.assign(key=side["text"].map(normalize)))
    pairs = sides[0].merge(sides[1], on="key", suffixes=("", "_aeb")).query("key != ''")
    same = pairs["text"] == pairs["text_aeb"]
    pairs["match"], pairs["text"] = (np.where(same, "exact", "normalized"), pairs.text_aeb)
    pairs = pairs.rename(columns={"task_aeb": "aeb_task", "id_aeb": "aeb_id"})
    return pairs[["split", "task", "id", "aeb_task", "aeb_id", "match", "text"]]


def normalize(text: str) -> str:
    """A text without what tells two copies of one tweet apart.

    >>> normalize("@Ann  LOOK here https://t.co/x1")
    'look here'
    """
    return " ".join(re.sub(r"https?://\S+|www\.\S+|@\w+", " ", text.lower()).split())
