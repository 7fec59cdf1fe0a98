"""Files of texts, read and written in chunks of rows: CSV, TSV, JSONL, Parquet, lines.

A CSV's cells stay the strings they are ("007" stays "007"); JSONL's and Parquet's
values keep their types where the target has them. Nothing in a file is evaluated.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import DataError, runs

FORMATS = ("csv", "tsv", "jsonl", "parquet", "lines")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs what begins so


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
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"  # as spreadsheets write it; without its mark the same
    source = Source(path, column, format, encoding, delimiter, quotes)
    if format == "parquet":
        found = _inspect_parquet(source)
    elif format == "jsonl":
        names: dict[str, None] = {}
        count = 0
        for record in _read_json(source):
            names |= dict.fromkeys(record)
            count += 1
        found = replace(source, rows=count, columns=tuple(names))
    elif format == "lines":
        found = replace(source, rows=sum(1 for _ in _read_lines(source)))
        found = replace(found, columns=(column,))
    else:
        cells = _read_cells(source)
        header = next(cells)
        found = replace(source, rows=sum(1 for _ in cells), columns=tuple(header))
    if column not in found.columns:
        hint = ""
        if len(found.columns) == 1 and format in ("csv", "tsv"):
            hint = " (or the delimiter is another)"
        raise DataError(
            f"{path}: no column {column!r}: there are"
            f" {', '.join(found.columns) or 'none'}{hint}"
        )
    return found


def read(source: Source, size: int) -> Iterator[pd.DataFrame]:
    """The file's rows in order, `size` at a time; an empty frame if there are none."""
    if not source.rows:
        yield pd.DataFrame(columns=list(source.columns), dtype="str")
        return
    if source.format == "parquet":
        yield from _read_parquet(source, size)
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
    try:
        with source.path.open(encoding=source.encoding, newline="") as file:
            number = 0
            for line in file:
                number += 1
                yield line
    except (UnicodeError, LookupError) as error:
        raise DataError(
            f"{source.path}: after line {number}: not {source.encoding} ({error}): name"
            " the file's encoding, for example latin-1"
        ) from None


def _read_cells(source: Source) -> Iterator[list[str]]:
    """A CSV's header, then its rows, all of the header's length."""
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    quoting = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    rows = csv.reader(
        _read_text(source), delimiter=source.delimiter, strict=True, quoting=quoting
    )
    header = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(
                f"{source.path}:{rows.line_num}: {error} (where quotation marks are"
                " ordinary characters, say so: quotes=False)"
            ) from None
        if not row:
            continue
        if header is None:
            header = row
            twice = sorted({name for name in row if row.count(name) > 1})
            if twice:
                raise DataError(f"{source.path}: two columns are called {twice[0]!r}")
        if len(row) != len(header):
            raise DataError(
                f"{source.path}:{rows.line_num}: {len(row)} cells, the header has"
                f" {len(header)}"
            )
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


def _inspect_parquet(source: Source) -> Source:
    try:
        with pq.ParquetFile(source.path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path}: not readable Parquet ({error})") from None
    if source.column in schema.names:
        kind = schema.field(source.column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
        if not any(is_text(kind) for is_text in (*texts, pa.types.is_string_view)):
            raise DataError(
                f"{source.path}: column {source.column!r} holds {kind}, not texts"
            )
    return replace(source, rows=rows, columns=tuple(schema.names))


def _read_parquet(source: Source, size: int) -> Iterator[pd.DataFrame]:
    try:
        with pq.ParquetFile(source.path) as file:
            for batch in file.iter_batches(batch_size=size):
                yield batch.to_pandas(types_mapper=pd.ArrowDtype)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path}: not readable Parquet ({error})") from None


def write(
    frames: Iterable[pd.DataFrame], path: str | Path, format: str, escape: bool = False
) -> None:
    """Frames of the same columns as one file, whole or not at all.

    What CSV, TSV and Parquet have no type for (JSONL's mixed values) stands there as
    JSON. `escape`: in CSV and TSV an apostrophe stands before what a spreadsheet would
    run as a formula; off, because "@name" and "-5" are common and meant.
    """
    with runs.replacing(path) as temporary:
        if format == "parquet":
            _write_parquet(frames, temporary)
            return
        # Half a character is written as its escape, which is what JSON has for it.
        with temporary.open(
            "w", encoding="utf-8", errors="backslashreplace", newline=""
        ) as file:
            for number, frame in enumerate(frames):
                if format == "jsonl":
                    file.writelines(_write_json(frame))
                    continue
                frame = _spell(frame)
                frame = _escape(frame) if escape else frame
                frame.to_csv(
                    file,
                    sep="\t" if format == "tsv" else ",",
                    header=not number,
                    index=False,
                    lineterminator="\n",
                )


def _write_parquet(frames: Iterable[pd.DataFrame], path: Path) -> None:
    writer = None
    try:
        for frame in frames:
            frame = _spell(frame)
            schema = writer.schema if writer else None
            table = pa.Table.from_pandas(frame, schema, preserve_index=False)
            if writer is None:
                table = table.replace_schema_metadata()
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer:
            writer.close()


def _write_json(frame: pd.DataFrame) -> Iterator[str]:
    for record in frame.astype(object).to_dict("records"):
        plain = {
            key: None if pd.api.types.is_scalar(value) and pd.isna(value) else value
            for key, value in record.items()
        }
        yield json.dumps(plain, ensure_ascii=False, default=str) + "\n"


def _spell(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed values as strings: texts as they are, the rest as JSON."""
    mixed = frame.select_dtypes(object, exclude=["str", "string"])
    spelled = {name: frame[name].map(_spell_value).astype("str") for name in mixed}
    return frame.assign(**spelled)


def _spell_value(value) -> str | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    missing = pd.api.types.is_scalar(value) and pd.isna(value)
    return None if missing else json.dumps(value, ensure_ascii=False, default=str)


def _escape(frame: pd.DataFrame) -> pd.DataFrame:
    texts = frame.select_dtypes(["str", "string"])
    risky = {
        name: texts[name].where(
            ~texts[name].str.startswith(_FORMULA, na=False), "'" + texts[name]
        )
        for name in texts
    }
    return frame.assign(**risky)
