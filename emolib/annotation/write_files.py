"""Frames in chunks, written as one file: CSV, TSV, JSONL or Parquet."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import files

# A spreadsheet runs what begins so.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(
    frames: Iterable[pd.DataFrame], path: str | Path, format: str, escape: bool = False
) -> None:
    """Frames of the same columns as one file, whole or not at all.

    What CSV, TSV and Parquet have no type for (JSONL's mixed values, lists in a CSV) stands there
    as JSON. `escape`: in CSV and TSV an apostrophe stands before what a spreadsheet would run as a
    formula, in names of columns, too; off, because "@name" and "-5" are common and meant.
    """
    with files.replacing(path) as temporary:
        if format == "parquet":
            _write_parquet(frames, temporary)
            return
        # Half a character is written as its escape, which is what JSON has for it.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            for number, frame in enumerate(frames):
                if format == "jsonl":
                    file.writelines(_write_json(frame))
                else:
                    _write_cells(_spell(frame), file, format, escape, not number)


def _write_cells(frame: pd.DataFrame, file, format: str, escape: bool, header: bool) -> None:
    texts = [name for name in frame if frame[name].dtype == "str"]
    # Python 3.11 quotes no lone \r, where readers would break the line.
    returns = any("\r" in name for name in frame) or any(
        frame[name].str.contains("\r", regex=False, na=False).any() for name in texts
    )
    if escape:
        for name in texts:
            risky = frame[name].str.startswith(_FORMULA, na=False)
            frame[name] = frame[name].where(~risky, "'" + frame[name])
        frame.columns = ["'" * n.startswith(_FORMULA) + n for n in frame]
    frame.to_csv(
        file,
        sep="\t" if format == "tsv" else ",",
        header=header,
        index=False,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL,
    )


def _write_parquet(frames: Iterable[pd.DataFrame], path: Path) -> None:
    writer = None
    try:
        for frame in frames:
            frame = _spell(frame, keep=pd.ArrowDtype)
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
    columns = [frame[name].tolist() for name in frame]
    for values in zip(*columns, strict=True):
        plain = [None if _is_missing(value) else value for value in values]
        record = dict(zip(frame, plain, strict=True))
        yield json.dumps(record, ensure_ascii=False, default=str) + "\n"


def _spell(frame: pd.DataFrame, keep: type | tuple = ()) -> pd.DataFrame:
    """Numbers, dates and the types to keep as they are; anything else as strings."""
    spelled = {}
    for name, column in frame.reset_index(drop=True).items():
        plain = column.dtype.kind in "biufmM" or column.dtype == "str"
        if not plain and not isinstance(column.dtype, keep):
            values = [_spell_value(value) for value in column.tolist()]
            column = pd.Series(values, dtype="str")
        spelled[name] = column
    return pd.DataFrame(spelled)


def _spell_value(value) -> str | None:
    """A text as it is, what JSON has as JSON, anything else as Python writes it."""
    if _is_missing(value):
        return None
    if isinstance(value, dict | list | bool | int | float):
        value = json.dumps(value, ensure_ascii=False, default=str)
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return sanitize(str(value))


def _is_missing(value) -> bool:
    return pd.api.types.is_scalar(value) and pd.isna(value)


def sanitize(text: str) -> str:
    """A text that can be written as UTF-8; halves of a character become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")
