"""What people rated, on whatever scale, as numbers beside the columns of `annotate`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.files import name_some
from emolib.tasks import EMOTIONS, get

_YES = dict.fromkeys(("yes", "y", "true", "t", "1", "1.0", "present", "x"), 1.0)
_NO = dict.fromkeys(("no", "n", "false", "f", "0", "0.0", "absent"), 0.0)
_WORDS = _YES | _NO
_MISSING = ("", "na", "n/a", "nan", "null", "-", ".", "<na>")
_LABELS = get("E-c").labels
_CLASSES = {f"{emotion}_class": range(4) for emotion in EMOTIONS}
_CLASSES |= {"valence_class": range(-3, 4)}
_SCORES = ("valence", *(f"{emotion}_intensity" for emotion in EMOTIONS))
_NAMES = (*_SCORES, *_CLASSES, *(f"has_{label}" for label in _LABELS))


@dataclass(frozen=True)
class Pair:
    """One of our columns and the columns of a table that hold people's ratings of the same thing.

    `kind`: "score" (a rating's place on its scale, 0 to 1, beside our score), "class" (numbered
    from 0) or "label" (0 or 1). `levels`: the ends of the rating's scale, or its words from the
    lowest to the highest. `found`: the scale was taken from the values. `probability`: our number
    is the probability of a label, as there is no intensity of that emotion.
    """

    column: str
    kind: str
    raters: tuple[str, ...]
    levels: tuple = ()
    found: bool = False
    probability: bool = False

    @property
    def title(self) -> str:
        """What the report calls it."""
        return f"{self.column} (probability)" if self.probability else self.column

    @property
    def main(self) -> str:
        """The measure to look at first."""
        return {"score": "pearson", "class": "qwk", "label": "f1"}[self.kind]

    @property
    def scale(self) -> str:
        """The scale of the ratings in words."""
        if self.kind == "label":
            return "yes or no"
        words = " to " if len(self.levels) == 2 and not isinstance(self.levels[0], str) else ", "
        shown = (x if isinstance(x, str) else f"{x:g}" for x in self.levels)
        return words.join(shown) + ", as found in the values" * self.found


def read_options(given: Sequence[str], what: str) -> dict[str, str]:
    """["anger=my_anger"] as a dict; DataError for what has no "=" and for a name given twice."""
    found: dict[str, str] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not (sign and name and value) or name in found:
            problem = f"{name!r} is given twice" if name in found else "expected NAME=VALUE"
            raise DataError(f"{what} {each!r}: {problem}")
        found[name] = value
    return found


def pair(table: pd.DataFrame, gold: Mapping, ranges: Mapping | None = None) -> list[Pair]:
    """What to compare with what.

    `gold`: a column of `annotate` (anger_intensity, valence_class, has_joy), or an emotion or
    "valence", to the name of a column in `table`, or to the names of several raters' columns (a
    list, or a text with commas). An emotion alone means has_ of it where all ratings are yes or no,
    else its score. `ranges`: the same names to the scale of the ratings, "1:7", or its words from
    the lowest to the highest, "none,some,much"; without it the least and the largest value are
    taken for its ends.

    DataError for a name that is neither, a column that is not there, and words without an order.
    """
    ranges = dict(ranges or {})
    if unknown := ", ".join(sorted(set(ranges) - set(gold))):
        raise DataError(f"range {unknown}: not among the columns of gold ({', '.join(gold)})")
    if not gold:
        raise DataError("gold: name at least one rated column, for example gold anger=my_anger")
    pairs = [_pair(table, name, _split(table, c), ranges.get(name)) for name, c in gold.items()]
    columns = [pair.column for pair in pairs]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise DataError(f"gold: {twice[0]} is named twice, also by a shorter name")
    return pairs


def _split(table: pd.DataFrame, columns) -> tuple[str, ...]:
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if names[0] not in table and len(names) == 1:
        names = tuple(name.strip() for name in names[0].split(","))
    if absent := [name for name in names if name not in table]:
        raise DataError(f"gold: no column {absent[0]!r}: there are {name_some(table)}")
    if len(set(names)) < len(names):
        raise DataError(f"gold: a column twice among {', '.join(names)}")
    return names


def _pair(table: pd.DataFrame, name: str, raters: tuple, given) -> Pair:
    name = name.lower()
    words = {_clean(value) for rater in raters for value in table[rater]} - {None}
    if not words:
        raise DataError(f"gold {name}: no ratings in {', '.join(raters)}")
    levels, found = (_read_levels(given, name), False) if given else (_find_levels(words), True)
    column, probability = _choose_column(name, words, levels, bool(given)), False
    if column in raters:
        hint = "the tool's column is called so: rename the ratings'"
        raise DataError(f"gold {name}: {column!r} cannot hold ratings, {hint}")
    kind = "class" if column in _CLASSES else "label" if column[:4] == "has_" else "score"
    if kind == "label" and not (words <= set(_WORDS) and not given):
        kind, probability = "score", True
        if name == column:
            hint = "expected yes or no, true or false, 1 or 0"
            raise DataError(f"gold {name}: {', '.join(sorted(words)[:5])} in {raters[0]}: {hint}")
    if kind == "label":
        return Pair(column, kind, raters)
    if levels is None:
        odd = sorted(word for word in words if _number(word) is None)
        shown = ", ".join(word[:20] for word in odd[:5])
        hint = f"their order from the lowest to the highest (--range {name}=none,some,much)"
        raise DataError(f"gold {name}: {shown}: no numbers: empty these cells, or give {hint}")
    if kind == "class":
        return Pair(column, kind, raters, *_fit_classes(column, levels, found, words))
    return Pair(column, kind, raters, levels, found, probability)


def _choose_column(name: str, words: set, levels: tuple | None, given: bool) -> str:
    if name in _NAMES:
        return name
    if name not in (*EMOTIONS, *_LABELS):
        known = ", ".join((*EMOTIONS, *_NAMES))
        raise DataError(f"gold {name!r}: no column of annotate: there are {known}")
    if name not in EMOTIONS or (words <= set(_WORDS) and not given):
        return f"has_{name}"
    ordered = levels is not None and isinstance(levels[0], str) and len(levels) == 4
    return f"{name}_class" if ordered else f"{name}_intensity"


def _fit_classes(column: str, levels: tuple, found: bool, words: set) -> tuple[tuple, bool]:
    """The scale of a class column; DataError where it has another number of classes."""
    ours = _CLASSES[column]
    if found and {_number(word) for word in words} <= set(map(float, ours)):
        return (float(ours[0]), float(ours[-1])), False
    n = len(levels) if isinstance(levels[0], str) else levels[1] - levels[0] + 1
    if n != len(ours):
        hint = f"name the range, or compare it with {column.replace('_class', '_intensity')}"
        hint = hint.replace("valence_intensity", "valence")
        raise DataError(f"gold {column}: {n:g} classes rated, {len(ours)} predicted: {hint}")
    return levels, found


def _read_levels(given, name: str) -> tuple:
    if not isinstance(given, str):
        given = ",".join(given) if isinstance(given[0], str) else ":".join(map(str, given))
    ends = [_number(part) for part in given.split(":")]
    if len(ends) == 2 and None not in ends and ends[0] < ends[1]:
        return tuple(ends)
    words = tuple(_clean(part) or part.strip() for part in given.split(","))
    if len(words) < 2 or len(set(words)) < len(words):
        hint = 'expected its ends, "1:7", or its words from the lowest, "none,some,much"'
        raise DataError(f"range {name}={given}: {hint}")
    return words


def _find_levels(words: set) -> tuple | None:
    numbers = [_number(word) for word in words]
    if None in numbers:
        return (0.0, 1.0) if words <= set(_WORDS) else None
    # A constant column has no scale; its middle stands in for where it lies.
    low, high = min(numbers), max(numbers)
    return (low, high) if low < high else (low - 1.0, high + 1.0)


def read(table: pd.DataFrame, pair: Pair, where: str = "") -> np.ndarray:
    """The ratings [raters, rows] as numbers: see `Pair.kind`; NaN where there is none.

    DataError names row, column and value of a rating that is off the scale.
    """
    return np.array([_read_column(table[rater], rater, pair, where) for rater in pair.raters])


def _read_column(values: pd.Series, rater: str, pair: Pair, where: str) -> list[float]:
    found = []
    for number, value in enumerate(values, start=1):
        word = _clean(value)
        rating = np.nan if word is None else _place(word, pair)
        if rating is None:
            hint = f"not on the scale {pair.scale}: correct it, or name the range"
            raise DataError(f"{where}row {number}: {rater} is {str(value)[:60]!r}, {hint}")
        found.append(rating)
    return found


def _place(word: str, pair: Pair) -> float | None:
    if pair.kind == "label":
        return _WORDS.get(word)
    last = len(_CLASSES[pair.column]) - 1 if pair.kind == "class" else 1
    if isinstance(pair.levels[0], str):
        n = len(pair.levels) - 1
        return pair.levels.index(word) * last / n if word in pair.levels else None
    low, high = pair.levels
    number = _number(word, _WORDS.get(word))
    if number is None or not low <= number <= high:
        return None
    place = (number - low) / (high - low) * last
    return place if pair.kind == "score" or place == round(place) else None


def _clean(value) -> str | None:
    """A rating as a short word in small letters; None where there is none."""
    word = "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value).strip().lower()
    return None if word in _MISSING else word


def _number(word: str, default=None) -> float | None:
    """The number that a word spells, a decimal comma among it."""
    if re.fullmatch(r"[-+]?\d+,\d+", word.strip()):
        word = word.replace(",", ".")
    try:
        number = float(word)
    except ValueError:
        return default
    return number if np.isfinite(number) else default
