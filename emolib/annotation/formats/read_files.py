"""Files of texts, read in chunks of rows: CSV, TSV, JSONL, Parquet, lines.

CSV cells stay strings ("007" stays "007"); JSONL and Parquet keep types. Nothing is evaluated.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError
from emolib.annotation.formats.write_files import sanitize
from emolib.annotation.settings import Format

FORMATS = get_args(Format)
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.null())


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
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: no format {format!r}: name one of {known}, or end the name in it")
    return format


def inspect(path: str | Path, column: str = "text", format: str | None = None, **options) -> Source:
    """The file's `Source`, after all of it was read once: nothing fails hours later.

    `options`: `Source`'s encoding, delimiter (None: a comma, a tab for TSV), quotes. DataError
    names the file and line of what cannot be read, or the columns that there are.
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
    rows, columns = 0, {}
    for names, chunk in _read_chunks(source, 4096):
        rows += len(chunk)
        columns |= Counter(names)
    for name, times in columns.items():
        if times > 1:
            raise DataError(f"{path}: two columns are called {name!r}")
        if name != sanitize(name):  # only JSON can spell such a thing
            raise DataError(f"{path}: the column name {name!r} holds half a character")
    if column not in columns:
        there = ", ".join(columns) or "none"
        if len(columns) == 1 and format in ("csv", "tsv"):
            there += " (or the delimiter is another)"
        raise DataError(f"{path}: no column {column!r}: there are {there}")
    return replace(source, rows=rows, columns=tuple(columns))


def read(source: Source, size: int) -> Iterator[pd.DataFrame]:
    """The file's rows in order, `size` at a time; an empty frame if there are none."""
    kind = object if source.format == "jsonl" else "str"
    for _, rows in islice(_read_chunks(source, size), 1 if source.rows else 0, None):
        if source.format == "parquet":  # what pandas noted down would make an index of columns
            yield rows.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
        else:
            yield pd.DataFrame(rows, columns=list(source.columns), dtype=kind)


def _read_chunks(source: Source, size: int) -> Iterator[tuple]:
    """(names of columns, rows) of every chunk, after one without rows."""
    if source.format == "parquet":
        yield from _read_parquet(source, size)
        return
    rows = _READERS[source.format](source)
    names = next(rows)
    yield names, []
    for chunk in iter(lambda: list(islice(rows, size)), []):
        yield names or list(dict.fromkeys(chain.from_iterable(chunk))), chunk


def _read_parquet(source: Source, size: int) -> Iterator[tuple]:
    try:
        with pq.ParquetFile(source.path) as file:
            schema = file.schema_arrow
            yield schema.names, schema.empty_table()
            for batch in file.iter_batches(batch_size=size):
                batch.validate(full=True)  # texts are UTF-8, for one
                yield schema.names, batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.path}: not readable Parquet ({error})") from None
    for kind in (field.type for field in schema if field.name == source.column):
        if (kind.value_type if pa.types.is_dictionary(kind) else kind) not in _TEXTS:
            raise DataError(f"{source.path}: column {source.column!r} holds {kind}, not texts")


def _read_text(source: Source) -> Iterator[str]:
    """Lines with their ends, whatever they are; DataError where they are no text."""
    number = 0
    try:
        with source.path.open(encoding=source.encoding, newline="") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007
                yield line
    except OSError as error:
        raise DataError(f"{source.path}: cannot be read ({error})") from None
    except (ValueError, LookupError) as error:  # no such encoding, or another one
        problem = f"not {source.encoding.removesuffix('-sig')} ({error})"
        hint = "name the file's encoding, for example latin-1"
        raise DataError(f"{source.path}: after line {number}: {problem}: {hint}") from None


def _read_lines(source: Source) -> Iterator[list[str]]:
    yield [source.column]
    yield from ([line.rstrip("\r\n")] for line in _read_text(source))


def _read_cells(source: Source) -> Iterator[list[str]]:
    # Not by pandas, which fills short rows up and names no line of a quotation mark never closed.
    csv.field_size_limit(2**31 - 1)
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
        hint = "where quotation marks are ordinary characters, say so: quotes=False"
        raise DataError(f"{source.path}:{begins}: {error} ({hint})") from None
    if not width:
        raise DataError(f"{source.path}: empty, without even a header")


def _read_json(source: Source) -> Iterator[dict]:
    yield {}  # no header
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


_READERS = {"csv": _read_cells, "tsv": _read_cells, "jsonl": _read_json, "lines": _read_lines}
