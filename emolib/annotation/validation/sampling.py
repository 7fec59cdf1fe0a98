"""The rows to rate, drawn with known probabilities, and their ratings beside the whole table."""

import numpy as np
import pandas as pd

from emolib import DataError
from emolib.files import name_some

PROBABILITY, ROW = "probability", "row"  # columns of `sample`


def sample(table: pd.DataFrame, n: int, strata: str | None = None, seed: int = 0) -> pd.DataFrame:
    """`n` rows to rate, in the table's order, with their place in it and their probability.

    Adds `row` (from 0) and `probability`, which `estimate` needs. At random, or, with `strata`, as
    many of each value of that column as there are (a small group is taken whole and the others get
    more); plain means over such a sample are not those of the table. A column of more than ten
    different numbers is cut at its quintiles. DataError for an n that is not between 1 and the
    number of rows, more strata than n, and a column or names in the way.
    """
    if clash := [name for name in (ROW, PROBABILITY) if name in table]:
        raise DataError(f"sample: there is a column {clash[0]!r} already: rename it")
    if not isinstance(n, int) or not 1 <= n <= len(table):
        raise DataError(f"n is {n}, expected 1 to {len(table)}, the number of rows")
    if strata is not None and strata not in table:
        raise DataError(f"strata: no column {strata!r}: there are {name_some(table)}")
    groups = pd.Series(0, table.index) if strata is None else _cut(table[strata])
    sizes = groups.value_counts(dropna=False).sort_index()
    if len(sizes) > n:
        raise DataError(f"n is {n}, and {strata} has {len(sizes)} values: take more rows")
    wanted = _share_out(n, sizes.to_numpy())
    generator, rows, chances = np.random.default_rng(seed), [], []
    numbers = groups.to_numpy()
    for value, size, take in zip(sizes.index, sizes, wanted, strict=True):
        there = np.flatnonzero(pd.isna(numbers) if pd.isna(value) else numbers == value)
        rows += generator.choice(there, take, replace=False).tolist()
        chances += [take / size] * int(take)
    found = pd.DataFrame({ROW: rows, PROBABILITY: chances}).sort_values(ROW, ignore_index=True)
    return pd.concat([table.iloc[found[ROW]].reset_index(drop=True), found], axis=1)


def _cut(column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().sum() == column.notna().sum() and numbers.nunique() > 10:
        return pd.qcut(numbers, 5, labels=False, duplicates="drop")
    return column.astype("str")


def _share_out(n: int, sizes: np.ndarray) -> np.ndarray:
    """How many of each group: the same number, as far as there are so many."""
    taken = np.zeros(len(sizes), dtype=int)
    while n > taken.sum():
        room = np.flatnonzero(taken < sizes)
        more = max(1, (n - taken.sum()) // len(room))
        for group in room[: n - taken.sum()]:
            taken[group] += min(more, sizes[group] - taken[group])
    return taken


def join(table: pd.DataFrame, rated: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The annotated table with the ratings of a sample of it beside: `columns` and probability.

    `rated`: what `sample` gave, with ratings filled in. DataError for rows that are not in the
    table or stand there twice.
    """
    if absent := [name for name in (ROW, PROBABILITY, *columns) if name not in rated]:
        raise DataError(f"no column {absent[0]!r} in the rated sample")
    rows = read_numbers(rated[ROW], ROW)
    if not (set(rows) <= set(range(len(table))) and len(set(rows)) == len(rows)):
        raise DataError(f"{ROW}: expected numbers of rows from 0 to {len(table) - 1}, each once")
    if clash := [name for name in (PROBABILITY, *columns) if name in table]:
        raise DataError(f"the table has a column {clash[0]!r} already: drop it")
    for name in table.columns.intersection(rated.columns):  # the rows must be the same ones
        mine, theirs = (_fold(each) for each in (table[name].iloc[rows.astype(int)], rated[name]))
        if mine != theirs:
            hint = "join the table as it was drawn from, and drop or sort rows afterwards"
            raise DataError(f"{name}: differs between the table and the rated sample: {hint}")
    beside = rated[[PROBABILITY, *columns]].set_axis(rows.astype(int))
    return table.reset_index(drop=True).join(beside)


def _fold(column: pd.Series) -> list[str]:
    """Texts without white space, which files change; nothing for numbers, which they spell anew."""
    return ["".join(x.split()) if isinstance(x, str) else "" for x in column]


def read_numbers(column: pd.Series, name: str) -> np.ndarray:
    """A column as floats; DataError where it holds something else."""
    try:
        return pd.to_numeric(column).astype(float).to_numpy()
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: expected numbers, 1 and 0 for yes and no ({error})") from None
