"""Rows of delimited text (CSV, TSV), cut so that no quotation mark swallows rows unseen."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from emolib import DataError

_PLAIN = "where quotation marks are ordinary characters, say so: --plain-quotes (quotes=False)"
_BACKSLASH = (
    'where \\" is a quotation mark in a cell, say so: --backslash-quotes (backslash_quotes=True)'
)


def read_rows(
    lines: Iterable[str],
    path: str | Path,
    delimiter: str = ",",
    quotes: bool | None = None,
    backslash: bool = False,
    advice: str | None = None,
    header: bool = True,
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of each row, blank ones too.

    `quotes` False: quotation marks are ordinary characters; True: they quote a cell, over as many
    lines as it takes. None is True, but a cell is refused whose lines look like rows of their own,
    because a text that begins with a lone quotation mark would swallow them. `backslash`: \\" is a
    quotation mark in a quoted cell, as Spark writes it. DataError names file and line, and the
    options that read it, or the `advice`. `header`: the first row may go over lines.
    """
    csv.field_size_limit(2**31 - 1)
    taken: list[str] = []  # the lines of the row under way
    layout = {"delimiter": delimiter, "strict": True}
    layout["quoting"] = csv.QUOTE_NONE if quotes is False else csv.QUOTE_MINIMAL
    rows = csv.reader(_note(lines, taken, backslash), **layout)
    recent: deque[list[str]] = deque(maxlen=50)
    first, width, doubtful, proved, prose = 1, 0, 0, False, False
    try:
        for row in rows:
            if not width:  # the header, which may go over lines
                prose = delimiter in ",;" and f"{delimiter} " not in "".join(taken)
            if width or not header:
                recent.append(row)
            if quotes is None and len(taken) > 1 and recent:
                alike = [each for each in recent if len(each) == len(row)]
                doubtful = doubtful or first * _looks_swallowing(taken, alike, delimiter, prose)
            elif width == 1 and row and taken[0].startswith('"'):  # this file quotes its cells
                proved = proved or delimiter in row[0] or '"' in row[0]
            if doubtful and (width or len(row)) > 1:
                break
            width = width or len(row)
            yield first, row
            first = rows.line_num + 1
            taken.clear()
    except csv.Error as error:
        hint = _BACKSLASH if any('\\"' in line for line in taken) else _PLAIN
        raise DataError(f"{path}:{first}: {error} ({advice or hint})") from None
    if doubtful and not proved:
        problem = "a quotation mark opens a cell over lines that look like rows of their own"
        hint = f"{_PLAIN}; where cells go over lines, --quotes (quotes=True)"
        raise DataError(f"{path}:{doubtful}: {problem} ({advice or hint})")


def _note(lines: Iterable[str], taken: list[str], backslash: bool) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line.replace('\\"', '""') if backslash else line


def _looks_swallowing(taken: list[str], rows: list[list[str]], delimiter: str, prose: bool) -> bool:
    """Whether the lines of the last of some rows look like rows of their own.

        1,"so happy      two cells each, a number and a text, as other rows have: three rows,
        2,nothing        or a cell of three lines that happens to look like them.
        3,bye"

    With `prose`, a delimiter before a space is part of a sentence.
    """
    mark = re.escape(delimiter) + ("(?! )" if prose else "")
    begun, *further = [re.split(mark, line.strip("\r\n")) for line in taken if line.strip()]
    width = len(rows[-1])
    known = [set(map(_find_shape, column)) for column in zip(*rows, strict=True)]

    def fits(cells: list[str]) -> bool:
        pairs = list(zip(map(_find_shape, cells), known, strict=False))
        # A cell may be empty anywhere, and a column that was empty so far may hold anything.
        known_kinds = (x in seen or x < max(seen) or seen == {0} for x, seen in pairs)
        return len(cells) == width and all(known_kinds)

    alone = len(begun) > width or fits(begun)
    return alone and 2 * sum(map(fits, further)) >= len(further) > 0


def _find_shape(cell: str) -> int:
    """0 nothing, 1 a number, 2 a word, 3 any text."""
    cell = cell.strip('"')
    if not cell or re.fullmatch(r"[-+]?[\d.,:/-]+", cell):
        return int(bool(cell))
    return 3 if re.search(r"\s", cell) else 2
