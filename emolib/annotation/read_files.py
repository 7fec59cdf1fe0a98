"""Files of texts, read in chunks of rows: CSV, TSV, JSONL, Parquet, lines.

A CSV's cells stay the strings they are ("007" stays "007"); JSONL's and Parquet's values keep their
types where the target has them. Nothing in a file is evaluated.
"""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError
from emolib.annotation.settings import Format
from emolib.annotation.write_files import sanitize

FORMATS = get_args(Format)


@dataclass(frozen=True)
class Source:
    """A file of texts, how it is read, and what `inspect` found in it."""

    path: Path
    column: str  # that holds the texts; the name for them, where they are lines
    format: str
    encoding: str = "utf-8"
    delimiter: str = ","
    quotes: bool = True  # False: a quotation mark is an ordinary character
    rows: int = 0
    columns: tuple[str, ...] = ()


def find_format(path: str | Path, given: str | None = None) -> str:
    """The format given, or the one that the file's ending names.

    >>> find_format("tweets.TSV")
    'tsv'
    """
    ending = Path(path).suffix.lower().removeprefix(".")
    format = given or {"txt": "lines", "ndjson": "jsonl"}.get(ending, ending)
    if format not in FORMATS:
        raise DataError(
            f"{path}: no format {format!r}: name one of {', '.join(FORMATS)}, or end"
            " the file's name in it"
        )
    return format


def inspect(path: str | Path, column: str = "text", format: str | None = None, **options) -> Source:
    """The file's `Source`, after all of it was read once: nothing fails hours later.

    `options`: `Source`'s encoding, delimiter (None: a comma, a tab for TSV), quotes. DataError
    names the file and line of what cannot be read, and the columns there are if `column` is not
    among them.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    format = find_format(path, format)
    delimiter = options.pop("delimiter", None) or ("\t" if format == "tsv" else ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"delimiter {delimiter!r}: expected one character")
    source = Source(path, column, format, delimiter=delimiter, **options)
    if source.encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        # As spreadsheets write it; without its mark it is the same.
        source = replace(source, encoding="utf-8-sig")
    rows, columns = _scan(source)
    _check_columns(source, columns)
    return replace(source, rows=rows, columns=columns)


def read(source: Source, size: int) -> Iterator[pd.DataFrame]:
    """The file's rows in order, `size` at a time; an empty frame if there are none."""
    if source.format == "parquet":
        yield from _read_parquet(source, size)
        return
    rows, kind = _read_rows(source), "str"
    if source.format == "jsonl":
        kind = object
    else:
        next(rows)  # the header
    for _ in range(0, source.rows or 1, size):
        chunk = list(islice(rows, size))
        yield pd.DataFrame(chunk, columns=list(source.columns), dtype=kind)


def _scan(source: Source) -> tuple[int, tuple[str, ...]]:
    """How many rows there are, and the columns' names."""
    if source.format == "parquet":
        return _scan_parquet(source)
    rows = _read_rows(source)
    if source.format != "jsonl":
        names = next(rows)
        return sum(1 for _ in rows), tuple(names)
    found: dict[str, None] = {}
    count = 0
    for record in rows:
        found |= dict.fromkeys(record)
        count += 1
    return count, tuple(found)


def _check_columns(source: Source, names: tuple[str, ...]) -> None:
    path, column = source.path, source.column
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}")
    for name in names:
        if name != sanitize(name):  # only JSON can spell such a thing
            raise DataError(f"{path}: the column name {name!r} holds half a character")
    if column not in names:
        delimited = len(names) == 1 and source.format in ("csv", "tsv")
        hint = " (or the delimiter is another)" if delimited else ""
        there = ", ".join(names) or "none"
        raise DataError(f"{path}: no column {column!r}: there are {there}{hint}")


def _read_rows(source: Source) -> Iterator:
    """Records of JSONL; else the header and then the rows, as lists of strings."""
    if source.format == "jsonl":
        yield from _read_json(source)
    elif source.format == "lines":
        yield [source.column]
        yield from ([line.rstrip("\r\n")] for line in _read_text(source))
    else:
        yield from _read_cells(source)


def _read_text(source: Source) -> Iterator[str]:
    """Lines with their ends, whatever they are; DataError where they are no text."""
    number = 0
    try:
        with source.path.open(encoding=source.encoding, newline="") as file:
            for line in file:
                number += 1
                yield line
    except (ValueError, LookupError) as error:  # no such encoding, or another one
        encoding = source.encoding.removesuffix("-sig")
        raise DataError(
            f"{source.path}: after line {number}: not {encoding} ({error}): name the"
            " file's encoding, for example latin-1"
        ) from None
    except OSError as error:
        raise DataError(f"{source.path}: cannot be read ({error})") from None


def _read_cells(source: Source) -> Iterator[list[str]]:
    """A CSV's header, then its rows, all of the header's length.

    By `csv`, not by pandas: that one fills short rows up and does not name the line of a quotation
    mark that is never closed.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    quoting = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    rows = csv.reader(_read_text(source), delimiter=source.delimiter, strict=True, quoting=quoting)
    width, begins = 0, 1
    try:
        for row in rows:
            width = width or len(row)
            if row and len(row) != width:
                raise DataError(f"{source.path}:{begins}: {len(row)} cells, the header has {width}")
            if row:
                yield row
            begins = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source.path}:{begins}: {error} (where quotation marks are"
            " ordinary characters, say so: quotes=False)"
        ) from None
    if not width:
        raise DataError(f"{source.path}: empty, without even a header")


def _read_json(source: Source) -> Iterator[dict]:
    for number, line in enumerate(_read_text(source), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{source.path}:{number}: no JSON ({error})") from None
        if not isinstance(record, dict):
            raise DataError(f"{source.path}:{number}: expected a JSON object per line")
        yield record


@contextmanager
def _open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not readable Parquet ({error})") from None


def _scan_parquet(source: Source) -> tuple[int, tuple[str, ...]]:
    rows = 0
    with _open_parquet(source.path) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches():
            batch.validate(full=True)  # texts are UTF-8, for one
            rows += len(batch)
    if schema.names.count(source.column) == 1:
        kind = schema.field(source.column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        texts = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
        if kind not in texts:
            raise DataError(f"{source.path}: column {source.column!r} holds {kind}, not texts")
    return rows, tuple(schema.names)


def _read_parquet(source: Source, size: int) -> Iterator[pd.DataFrame]:
    # What pandas noted down would turn columns into an index.
    options = {"types_mapper": pd.ArrowDtype, "ignore_metadata": True}
    with _open_parquet(source.path) as file:
        if not source.rows:
            yield file.schema_arrow.empty_table().to_pandas(**options)
        for batch in file.iter_batches(batch_size=size):
            yield batch.to_pandas(**options)
