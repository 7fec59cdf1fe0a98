"""Files of texts, read in chunks of rows: CSV, TSV, JSONL, Parquet, lines.

A CSV's cells stay the strings they are ("007" stays "007"); JSONL's and Parquet's
values keep their types where the target has them. Nothing in a file is evaluated.
"""

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError
from emolib.annotation.write_files import mend

FORMATS = ("csv", "tsv", "jsonl", "parquet", "lines")


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


def inspect(
    path: str | Path,
    column: str = "text",
    format: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quotes: bool = True,
) -> Source:
    """The file's `Source`, after all of it was read once: nothing fails hours later.

    DataError names the file and line of what cannot be read, and the columns there are
    if `column` is not among them.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    format = find_format(path, format)
    delimiter = delimiter or ("\t" if format == "tsv" else ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"delimiter {delimiter!r}: expected one character")
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"  # as spreadsheets write it; without its mark the same
    source = Source(path, column, format, encoding, delimiter, quotes)
    rows, columns = _scan(source)
    found = replace(source, rows=rows, columns=columns)
    _check_columns(found)
    return found


def _scan(source: Source) -> tuple[int, tuple[str, ...]]:
    """How many rows there are, and the columns' names."""
    if source.format == "parquet":
        return _scan_parquet(source)
    if source.format == "jsonl":
        names: dict[str, None] = {}
        count = 0
        for record in _read_json(source):
            names |= dict.fromkeys(record)
            count += 1
        return count, tuple(names)
    if source.format == "lines":
        return sum(1 for _ in _read_lines(source)), (source.column,)
    cells = _read_cells(source)
    header = next(cells)
    return sum(1 for _ in cells), tuple(header)


def _check_columns(found: Source) -> None:
    path, names, column = found.path, found.columns, found.column
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}")
    for name in names:
        if name != mend(name):  # only JSON can spell such a thing
            raise DataError(f"{path}: the column name {name!r} holds half a character")
    if column not in names:
        delimited = len(names) == 1 and found.format in ("csv", "tsv")
        hint = " (or the delimiter is another)" if delimited else ""
        there = ", ".join(names) or "none"
        raise DataError(f"{path}: no column {column!r}: there are {there}{hint}")


def read(source: Source, size: int) -> Iterator[pd.DataFrame]:
    """The file's rows in order, `size` at a time; an empty frame if there are none."""
    if source.format == "parquet":
        yield from _read_parquet(source, size)
        return
    if not source.rows:
        yield pd.DataFrame(columns=list(source.columns), dtype="str")
        return
    if source.format == "jsonl":
        rows, kind = _read_json(source), object
    elif source.format == "lines":
        rows, kind = ([line] for line in _read_lines(source)), "str"
    else:
        rows, kind = islice(_read_cells(source), 1, None), "str"
    while chunk := list(islice(rows, size)):
        yield pd.DataFrame(chunk, columns=list(source.columns), dtype=kind)


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
    """A CSV's header, then its rows, all of the header's length."""
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    quoting = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    rows = csv.reader(
        _read_text(source), delimiter=source.delimiter, strict=True, quoting=quoting
    )
    header = None
    while True:
        where = f"{source.path}:{rows.line_num + 1}"  # where the row begins
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(
                f"{where}: {error} (where quotation marks are"
                " ordinary characters, say so: quotes=False)"
            ) from None
        if not row:
            continue
        if header is None:
            header = row
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} cells, the header has {len(header)}")
        yield row
    if header is None:
        raise DataError(f"{source.path}: empty, without even a header")


def _read_lines(source: Source) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in _read_text(source))


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


def _scan_parquet(source: Source) -> tuple[int, tuple[str, ...]]:
    try:
        with pq.ParquetFile(source.path) as file:
            schema, rows = file.schema_arrow, 0
            for batch in file.iter_batches():
                batch.validate(full=True)  # texts are UTF-8, for one
                rows += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.path}: not readable Parquet ({error})") from None
    for field in schema:
        kind = field.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
        if field.name == source.column and not any(
            is_text(kind) for is_text in (*texts, pa.types.is_string_view)
        ):
            raise DataError(
                f"{source.path}: column {source.column!r} holds {kind}, not texts"
            )
    return rows, tuple(schema.names)


def _read_parquet(source: Source, size: int) -> Iterator[pd.DataFrame]:
    # What pandas noted down would turn columns into an index.
    options = {"types_mapper": pd.ArrowDtype, "ignore_metadata": True}
    try:
        with pq.ParquetFile(source.path) as file:
            if not source.rows:
                yield file.schema_arrow.empty_table().to_pandas(**options)
            for batch in file.iter_batches(batch_size=size):
                yield batch.to_pandas(**options)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.path}: not readable Parquet ({error})") from None
