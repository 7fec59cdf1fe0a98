"""Rows of one file: cells, lines, JSON, a sheet, a folder of texts."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from emolib import DataError, delimited
from emolib.annotation.formats import tables
from emolib.annotation.formats.decoding import find_encoding, read_lines
from emolib.annotation.formats.paths import list_texts
from emolib.annotation.formats.write_files import sanitize
from emolib.files import parse_json

_SEPARATOR = re.compile(r'"?sep=([^"])"?[\r\n]*')


@dataclass(frozen=True)
class Source:
    """A file of texts, how it is read, and what `inspect` found in it."""

    path: Path
    column: str  # that holds the texts; the name for them, where they are lines
    format: str
    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    delimiter: str = ","
    quotes: bool | None = None  # see delimited.read_rows
    backslash_quotes: bool = False
    sheet: str | None = None
    rows: int = 0
    columns: tuple[str, ...] = ()
    replaced: int = 0  # bad bytes
    types: dict[str, str] = field(default_factory=dict)  # of JSON's and Excel's uniform columns
    counts: Counter = field(default_factory=Counter)  # of what is being read


def _read_text(source: Source) -> Iterator[str]:
    return read_lines(source.path, source.encoding, source.encoding_errors, source.counts)


def find_separator(source: Source) -> str | None:
    """The delimiter that a first line for Excel names: sep=;"""
    found = _SEPARATOR.fullmatch(next(_read_text(source), ""))
    return found.group(1) if found else None


def _skip_separator(lines: Iterator[str]) -> Iterator[str]:
    for line in islice(lines, 1):
        yield "\n" if _SEPARATOR.fullmatch(line) else line
    yield from lines


def suggest_delimiter(source: Source, names: list[str]) -> str:
    """A hint, where a file of several columns was read as one."""
    if len(names) != 1 or source.format not in ("csv", "tsv"):
        return ""
    found = [mark for mark in (";", "\t", "|", ",") if mark in names[0]]
    option = f": --delimiter {found[0]!r}" if found else ""
    return f" (or the delimiter is another{option})"


def refuse_header(source: Source) -> None:
    """DataError if the first line looks like a header, where lines are read and have none."""
    first = next(_read_text(source), "").strip()
    cells = {mark: [cell.strip('" ') for cell in first.split(mark)] for mark in ",;\t"}
    format = "tsv" if "\t" in first else "csv"
    if not any(source.column in each for each in cells.values()):
        if first.startswith("{") and f'"{source.column}"' in first:
            format = "jsonl"
        elif source.column == "text" or "\t" not in first:
            return
    problem = f"read as lines, but the first looks like columns: {first:.60}"
    hint = f"--input-format {format} reads the columns, --input-format lines takes all as texts"
    raise DataError(f"{source.path}:1: {problem} ({hint})")


def _read_lines(source: Source) -> Iterator[list[str]]:
    yield [source.column]
    yield from ([line.rstrip("\r\n")] for line in _read_text(source))


def _read_cells(source: Source) -> Iterator[list[str]]:
    # Not by pandas, which fills short rows up and names no line of a quotation mark never closed.
    lines, header = _skip_separator(_read_text(source)), []
    how = {"quotes": source.quotes, "backslash": source.backslash_quotes}
    for number, row in delimited.read_rows(lines, source.path, source.delimiter, **how):
        if not header:
            header = row
            if row:
                yield _name_columns(row)
            continue
        if not row and len(header) == 1:
            row = [""]  # a blank line is an empty text
        if len(row) > len(header) and not any(row[len(header) :]):
            row = row[: len(header)]  # delimiters at the end of a line
        if row and len(row) != len(header):
            problem = f"{len(row)} cells, the header has {len(header)}"
            hint = suggest_delimiter(source, header)
            raise DataError(f"{source.path}:{number}: {problem}{hint}")
        if row:
            yield row
    if not header:
        raise DataError(f"{source.path}: empty, without even a header")


def _name_columns(header: list[str]) -> list[str]:
    """Columns without a name get one, if there are several: column_3."""
    if header.count("") < 2:
        return header
    return [name or f"column_{number}" for number, name in enumerate(header, start=1)]


def _read_json(source: Source) -> Iterator[dict]:
    yield {}  # no header
    for number, line in enumerate(_read_text(source), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{source.path}:{number}: no JSON ({error})") from None
        if not isinstance(record, dict):
            raise DataError(f"{source.path}:{number}: expected a JSON object per line")
        yield record


def _read_sheet(source: Source) -> Iterator:
    rows = tables.read_sheet(source.path, source.sheet, source.column)
    names = _name_columns(next(rows))
    yield names
    yield from (dict(zip(names, row, strict=True)) for row in rows)


def _read_folder(source: Source) -> Iterator[list[str]]:
    """A row per .txt file: its name, with its folder's in it, and its text without a last break."""
    yield ["file", "text"]
    for path in list_texts(source.path):
        one = replace(source, path=path, encoding=find_encoding(path, source.encoding))
        text = "".join(_read_text(one))
        name = sanitize(str(path.relative_to(source.path)))
        yield [name, text.removesuffix("\n").removesuffix("\r")]


READERS = {"csv": _read_cells, "tsv": _read_cells, "jsonl": _read_json, "lines": _read_lines}
READERS |= {"xlsx": _read_sheet, "folder": _read_folder}
