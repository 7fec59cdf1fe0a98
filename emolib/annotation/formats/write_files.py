"""Frames in chunks, written as one file: CSV, TSV, JSONL, Parquet, Excel, SPSS or Stata."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolib import files
from emolib.annotation.formats import tables
from emolib.annotation.formats.decoding import open_output

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet runs what begins so


def write(
    frames: Iterable,
    path: str | Path,
    format: str,
    escape: bool = False,
    compression: str | None = None,
    about: dict | None = None,
) -> None:
    """Frames of the same columns as one file, whole or not at all.

    What a format has no type for (JSONL's mixed values, lists in a CSV) stands there as JSON.
    `escape`: in CSV, TSV and Excel an apostrophe stands before what a spreadsheet would run as a
    formula; off, because "@name" and "-5" are common and meant. `compression`: gzip or zstd, of a
    text format. `about`: labels for SPSS and Stata, as of `tables.read_labelled`.
    """
    with files.replacing(path) as temporary:
        if format == "parquet":
            _write_parquet((_spell(frame, pd.ArrowDtype) for frame in frames), temporary)
            return
        if format in tables.FORMATS:
            risky = escape and format == "xlsx"
            parts = [_escape(_spell(frame)) if risky else _spell(frame) for frame in frames]
            tables.write(pd.concat(parts, ignore_index=True), temporary, format, about or {})
            return
        # Half a character is written as its escape, which is what JSON has for it.
        layout = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
        with open_output(temporary, compression) as raw, io.TextIOWrapper(raw, **layout) as file:
            for number, frame in enumerate(frames):
                if format == "jsonl":
                    file.writelines(_write_json(frame))
                else:
                    _write_cells(_spell(frame), file, format, escape, not number)


def _write_cells(frame: pd.DataFrame, file, format: str, escape: bool, header: bool) -> None:
    texts = [name for name in frame if frame[name].dtype == "str"]
    # Python 3.11 quotes no lone \r, where readers would break the line.
    whole = [frame.columns.to_series(), *(frame[name] for name in texts)]
    returns = any(column.str.contains("\r", regex=False, na=False).any() for column in whole)
    frame = _escape(frame) if escape else frame
    layout = {"sep": "\t" if format == "tsv" else ",", "lineterminator": "\n"}
    layout["quoting"] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    frame.to_csv(file, index=False, header=header, **layout)


def _escape(frame: pd.DataFrame) -> pd.DataFrame:
    for name in (name for name in frame if frame[name].dtype == "str"):
        risky = frame[name].str.startswith(_FORMULA, na=False)
        frame[name] = frame[name].where(~risky, "'" + frame[name])
    return frame.set_axis(["'" * n.startswith(_FORMULA) + n for n in frame], axis=1)


def _write_parquet(frames: Iterator[pd.DataFrame], path: Path) -> None:
    """With the first frame's types; without pandas' notes."""
    first = pa.Table.from_pandas(next(frames), preserve_index=False).replace_schema_metadata()
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for frame in frames:
            table = pa.Table.from_pandas(frame, first.schema, preserve_index=False)
            writer.write_table(table.cast(first.schema))


def _write_json(frame: pd.DataFrame) -> Iterator[str]:
    for values in zip(*(frame[name].tolist() for name in frame), strict=True):
        pairs = zip(frame, values, strict=True)
        record = {name: None if _is_missing(value) else value for name, value in pairs}
        try:
            yield json.dumps(record, ensure_ascii=False, default=str, allow_nan=False) + "\n"
        except ValueError:  # JSON has no Infinity
            yield json.dumps(_name_infinity(record), ensure_ascii=False, default=str) + "\n"


def _name_infinity(value):
    if isinstance(value, dict):
        return {key: _name_infinity(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_name_infinity(each) for each in value]
    odd = isinstance(value, float) and not isfinite(value)
    return (None if value != value else str(value)) if odd else value


def _spell(frame: pd.DataFrame, keep: type | tuple = ()) -> pd.DataFrame:
    """Numbers, dates and the types to keep as they are; anything else as strings."""
    spelled = dict(frame.reset_index(drop=True).items())
    for name, column in spelled.items():
        plain = column.dtype.kind in "biufmM" or column.dtype == "str"
        if not plain and not isinstance(column.dtype, keep):
            spelled[name] = pd.Series([_spell_value(v) for v in column.tolist()], dtype="str")
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
