"""Files of texts, read in chunks of rows: CSV, TSV, JSONL, Parquet, lines, tables, folders.

CSV cells stay strings ("007" stays "007"); JSONL, Parquet, Excel, SPSS and Stata keep types.
Nothing is evaluated.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError
from emolib.annotation.formats import read_rows, tables
from emolib.annotation.formats.decoding import COMPRESSIONS, find_encoding
from emolib.annotation.formats.paths import list_texts
from emolib.annotation.formats.read_rows import Source
from emolib.annotation.formats.write_files import sanitize
from emolib.annotation.settings import Format
from emolib.files import name_some

FORMATS = get_args(Format)
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
_KINDS = {("int",): "Int64", ("float",): "Float64", ("float", "int"): "Float64"}
_KINDS |= {("int", "long"): "Int64"}  # beside fractions, long ones would lose digits
_KINDS |= {("bool",): "boolean", ("datetime",): "datetime64[us]"}


def find_format(path: str | Path, given: str | None = None) -> str:
    """The format given, or the one that the file's ending names, compressed or not.

    >>> find_format("tweets.TSV"), find_format("tweets.csv.gz")
    ('tsv', 'csv')
    """
    path = Path(path)
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    ending = inner.suffix.lower().removeprefix(".")
    format = given or {"txt": "lines", "ndjson": "jsonl"}.get(ending, ending)
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: no format {format!r}: name one of {known}, or end the name in it")
    return format


def inspect(
    path: str | Path, column: str | None = "text", format: str | None = None, **options
) -> Source:
    """The file's `Source`, after all of it was read once: nothing fails hours later.

    `column`: that of the texts; None looks for none.
    `options`: `Source`'s encoding, delimiter (None: a comma, a tab for TSV), quotes and so on.
    DataError names the file and line of what cannot be read, or the columns that there are.
    """
    path = Path(path)
    found = _find_kind(path) or find_format(path, format)
    delimiter = options.pop("delimiter", None) or ("\t" if found == "tsv" else "")
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"delimiter {delimiter!r}: expected one character")
    source = Source(path, column, found, delimiter=delimiter, **options)
    if source.sheet and found != "xlsx":
        raise DataError(f"{path}: a sheet of .xlsx was named, and this is {found}")
    if found in ("csv", "tsv", "jsonl", "lines"):
        source = replace(source, encoding=find_encoding(path, source.encoding))
        delimiter = delimiter or (read_rows.find_separator(source) if found == "csv" else None)
        source = replace(source, delimiter=delimiter or ",")
    if found == "lines" and format is None:
        read_rows.refuse_header(source)
    rows, columns, kinds = 0, {}, {}
    for names, chunk in _read_chunks(source, 4096):
        rows += len(chunk)
        columns |= Counter(names)
        if found in ("jsonl", "xlsx"):
            _collect_kinds(chunk, kinds)
    _check_columns(source, columns)
    types = {name: _KINDS[key] for name in kinds if (key := tuple(sorted(kinds[name]))) in _KINDS}
    known = {"rows": rows, "columns": tuple(columns), "types": types}
    quotes = True if source.quotes is None else source.quotes  # what was in doubt is refused by now
    return replace(source, quotes=quotes, replaced=source.counts["replaced"], **known)


def read(source: Source, size: int, typed: bool = False) -> Iterator[pd.DataFrame]:
    """The file's rows in order, `size` at a time; an empty frame if there are none.

    `typed`: JSON's and Excel's columns of one type have it, and do not hold objects.
    """
    kind = object if source.format in ("jsonl", "xlsx") else "str"
    for _, rows in islice(_read_chunks(source, size), 1 if source.rows else 0, None):
        if source.format == "parquet":  # what pandas noted down would make an index of columns
            yield rows.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
        elif isinstance(rows, pd.DataFrame):
            yield rows
        else:
            frame = pd.DataFrame(rows, columns=list(source.columns), dtype=kind)
            yield frame.astype(source.types) if typed else frame


def _find_kind(path: Path) -> str | None:
    """ "folder" for a folder of texts; DataError for what is neither that nor a file."""
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null
        raise DataError(f"{path}: {error}") from None
    if folder and list_texts(path):
        return "folder"
    if folder or not there:
        raise DataError(f"{path}: no such file{': a folder without .txt files' * folder}")
    if not path.is_file():
        raise DataError(f"{path}: a pipe or a device: pass it as standard input (-)")
    return None


def _check_columns(source: Source, columns: dict[str, int]) -> None:
    for name, times in columns.items():
        if times > 1:
            raise DataError(f"{source.path}: two columns are called {name!r:.60}")
        if name != sanitize(name):  # only JSON can spell such a thing
            hint = "holds half a character"
            raise DataError(f"{source.path}: the column name {name!r:.60} {hint}")
    if source.column is not None and source.column not in columns:
        there = (name_some(columns) or "none") + read_rows.suggest_delimiter(source, list(columns))
        raise DataError(f"{source.path}: no column {source.column!r}: there are {there}")


def _collect_kinds(rows: list[dict], kinds: dict[str, set]) -> None:
    """Adds the types of a chunk's values to those of their columns."""
    for row in rows:
        for name, value in row.items():
            kind = type(value).__name__
            if kind == "int" and not -(2**53) <= value <= 2**53:
                found = kinds.setdefault(name, set())
                kind = "long" if -(2**63) <= value < 2**63 else "large"
                found.add("int")
            if value is not None:
                kinds.setdefault(name, set()).add(kind)


def _read_chunks(source: Source, size: int) -> Iterator[tuple]:
    """(names of columns, rows) of every chunk, after one without rows."""
    if source.format == "parquet":
        yield from _read_parquet(source, size)
        return
    if source.format in ("sav", "dta"):
        table, _ = tables.read_labelled(source.path, source.format)
        starts = range(0, len(table), size)
        parts = (table.iloc[n : n + size].reset_index(drop=True) for n in starts)
        yield from ((list(table), part) for part in chain([table.iloc[:0]], parts))
        return
    rows = read_rows.READERS[source.format](source)
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
