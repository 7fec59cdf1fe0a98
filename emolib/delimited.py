"""Rows of delimited text (CSV, TSV), cut so that no quotation mark swallows rows unseen."""

import csv
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
    first, width, doubtful, proved, prose = 1, 0, 0, False, False
    try:
        for row in rows:
            if not width:  # the header, which may go over lines
                prose = delimiter in ",;" and f"{delimiter} " not in "".join(taken)
            if quotes is None and len(taken) > 1 and (width or not header):
                swallowed = _count_rows(taken, delimiter, width or len(row), prose)
                doubtful = doubtful or (first if swallowed else 0)
            elif width == 1 and row and taken[0].startswith('"'):
                proved = (
                    proved or delimiter in row[0] or '"' in row[0]
                )  # this file quotes its cells
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


def _count_rows(taken: list[str], delimiter: str, width: int, prose: bool) -> int:
    """How many rows a cell over these lines has swallowed, as far as one can see.

        1,"so happy      two cells each, as the header has: three rows, or a cell of three lines
        2,nothing        that happens to look like them.
        3,bye"

    With `prose`, a delimiter before a space is part of a sentence.
    """

    def count(line: str) -> int:
        return 1 + line.count(delimiter) - (line.count(f"{delimiter} ") if prose else 0)

    begun, *further = [count(line) for line in taken if line.strip()]
    alike = sum(cells == width for cells in further)
    return alike if begun >= width and 2 * alike >= len(further) > 0 else 0
