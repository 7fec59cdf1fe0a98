"""Other benchmarks' questions, read off affect profiles by rules with names.

A profile (`profile.predict`) says how strong four emotions are, how positive a text is, and which
of eleven emotions it holds. A data set that asks something else about the text gets its answer by a
rule whose numbers are published ones, or cut points counted on SemEval-2018's training files:
nothing is fitted. A task may have several rules; each is a row of a table under its own name. Two
were first seen to work on test answers of an earlier adapter, so that their rows are no blind test:
SST5's quintiles and GoEmotions' likeliest label.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.data.profiles import CUTS
from emolib.tasks import THRESHOLD, get

# Valence, arousal and dominance of the words, 0 to 1: NRC VAD lexicon (Mohammad 2018), as used to
# read these dimensions off emotions by Park et al. (2021).
SPACE = {
    "anger": (0.167, 0.865, 0.657),
    "anticipation": (0.698, 0.539, 0.711),
    "disgust": (0.052, 0.775, 0.317),
    "fear": (0.073, 0.840, 0.293),
    "joy": (0.980, 0.824, 0.794),
    "love": (1.000, 0.519, 0.673),
    "optimism": (0.949, 0.565, 0.814),
    "pessimism": (0.083, 0.484, 0.264),
    "sadness": (0.052, 0.288, 0.164),
    "surprise": (0.875, 0.875, 0.562),
    "trust": (0.888, 0.547, 0.741),
}
SST_CUTS = (0.2, 0.4, 0.6, 0.8)  # Socher et al. 2013: classes end with their cut
# GoEmotions' joy takes in love and optimism (its authors' own mapping, see its reader).
MERGED = {"GoEmotions": {"joy": ("joy", "love", "optimism")}}
# Tasks that ask about the texts of another one.
SAME = {"SST5": "SST", "EmoBank-A": "EmoBank-V", "EmoBank-D": "EmoBank-V"}
SAME |= {"BRIGHTER-A": "BRIGHTER-B", "SemEval2026-A": "SemEval2026-V"}


def tabulate(judged: pd.DataFrame) -> pd.DataFrame:
    """Profiles' judgements (`profile.judge`) as a row per text, in the order given, index id.

    Columns: anger, fear, joy, sadness and valence (scores, 0 to 1), and "has anger" and so on
    (probabilities of labels).
    """
    texts: dict[str, dict] = {}
    columns = judged[["id", "task", "emotion", "probabilities", "mean"]]
    for name, task, emotion, held, mean in columns.itertuples(index=False, name=None):
        row = texts.setdefault(name, {})
        if get(task).kind == "score":
            row[emotion if isinstance(emotion, str) else "valence"] = mean
        elif get(task).kind == "labels":
            row |= {f"has {label}": p for label, p in held.items()}
    return pd.DataFrame.from_dict(texts, orient="index")


def read(task: str, profiles: pd.DataFrame, rule: str) -> pd.Series:
    """A task's answers about all texts of `tabulate`, as `metrics` takes them, by a rule of RULES.

    Index: the texts' ids; for a task with emotions one after the other, as in its corpus. A rule
    that needs the other texts has `batch` in its name. DataError for an unknown task or rule.
    """
    if rule not in RULES.get(task, {}):
        known = RULES.get(task, RULES)
        raise DataError(f"{task}: no rule {rule!r} to read it by: there are {', '.join(known)}")
    found = RULES[task][rule](get(task), profiles)
    if get(task).kind == "score":  # each between the ends of its range
        low, high = get(task).range
        found = low + (high - low) * found.clip(0, 1)
    return found


def _read_valence(task, profiles):
    return profiles["valence"]


def _read_class(thresholds: Callable, side: str = "right"):
    """The class of valence between ascending cut points."""

    def rule(task, profiles):
        valence = profiles["valence"]
        places = np.searchsorted(thresholds(valence), valence, side)
        return pd.Series(np.array(sorted(task.classes))[places], profiles.index)

    return rule


def _read_place(dimension: int):
    """Where a text's emotions lie: the mean of their places, weighted by their probabilities."""

    def rule(task, profiles):
        weights = profiles[[f"has {label}" for label in SPACE]].clip(lower=1e-9)
        places = [place[dimension] for place in SPACE.values()]
        return weights.mul(places, axis=1).sum(axis=1) / weights.sum(axis=1)

    return rule


def _read_distance(task, profiles):
    return (2 * profiles["valence"] - 1).abs()


def _merge(task, profiles) -> pd.DataFrame:
    """Each label's probability, the highest where several of ours are one of theirs."""
    found, names = {}, MERGED.get(task.name, {})
    for label in task.labels:
        if label != "neutral":
            ours = [f"has {each}" for each in names.get(label, (label,))]
            found[label] = profiles[ours].max(axis=1)
    return pd.DataFrame(found)


def _read_likeliest(task, profiles):
    """The likeliest label, or neutral where none is more probable than not."""
    held = _merge(task, profiles)
    chosen = held.idxmax(axis=1).where(held.max(axis=1) >= THRESHOLD, "neutral")
    return chosen.map(lambda label: (label,))


def _read_list(task, profiles):
    """All labels more probable than not; neutral, where the task has it, if there is none."""
    held = _merge(task, profiles) >= THRESHOLD
    empty = ("neutral",) if "neutral" in task.labels else ()
    return held.apply(lambda row: tuple(row.index[row]) or empty, axis=1)


def _read_emotions(combine: Callable):
    """Every emotion's value, one emotion after the other; surprise has no intensity of its own."""

    def rule(task, profiles):
        present = [profiles[f"has {emotion}"] for emotion in task.emotions]
        strong = [profiles.get(emotion) for emotion in task.emotions]
        pairs = zip(present, strong, strict=True)
        return pd.concat([p if each is None else combine(p, each) for p, each in pairs])

    return rule


_VALENCE = {"valence": _read_valence}
_AROUSAL = {"place of the emotions": _read_place(1), "distance of valence": _read_distance}
RULES: dict[str, dict[str, Callable]] = {
    **dict.fromkeys(("V-A", "V-M", "V-NYT", "V-T", "SST", "EmoBank-V", "SemEval2026-V"), _VALENCE),
    **dict.fromkeys(("EmoBank-A", "SemEval2026-A"), _AROUSAL),
    "EmoBank-D": {"place of the emotions": _read_place(2)},
    "SST5": {
        "valence at SST's cuts": _read_class(lambda valence: SST_CUTS, "left"),
        "valence at the batch's quintiles": _read_class(lambda valence: valence.quantile(SST_CUTS)),
    },
    "TDT": {"valence at V-oc's cuts": _read_class(lambda valence: CUTS["V-oc"][2:4])},
    "GoEmotions": {"list of labels": _read_list, "likeliest label": _read_likeliest},
    "BRIGHTER-A": {"list of labels": _read_list},
    "BRIGHTER-B": {
        # SemEval rated the anger of angry tweets: an intensity holds if the emotion is there.
        "presence times intensity": _read_emotions(lambda present, strong: present * strong),
        "presence": _read_emotions(lambda present, strong: present),
        "intensity": _read_emotions(lambda present, strong: strong),
    },
}
