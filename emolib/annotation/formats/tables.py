"""Excel, SPSS and Stata tables, read and written whole. Extra `tables`."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from emolib import DataError
from emolib.files import name_some

FORMATS = ("xlsx", "sav", "dta")
_EXACT = {"xlsx": 10**15, "sav": 2**53, "dta": 2**53}  # larger whole numbers are kept as texts
_LONGEST = {"xlsx": 32_767, "sav": 32_767, "dta": 2**31}  # Excel's characters, the others' bytes
_NAMES = {"xlsx": r"(?s).{1,32767}", "sav": r"[^\W\d_][\w.@#$]{0,62}[^\W.]|[^\W\d_]"}
_NAMES["dta"] = r"[^\W\d]\w{0,31}"
_RESERVED = "all and by eq ge gt le lt ne not or to with "  # SPSS's, and Stata's:
_RESERVED += "_all byte double float if in int long str strl using"
_CONTROLS = {"xlsx": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]"), "sav": re.compile("\x00")}
_ROWS, _COLUMNS = 1_048_576, 16_384  # of Excel, the header among them


def read_sheet(path: Path, sheet: str | None, column: str) -> Iterator[list]:
    """Names of columns, and the values of each row; texts stay texts, formulas are their values."""
    names, rows = _load_sheet(path, path.stat().st_mtime_ns, sheet)
    yield names
    place = names.index(column) if column in names else None
    lacking = [n for n, row in enumerate(rows, 2) if place is not None and row[place] is None]
    if lacking and (found := _find_formulas(path, sheet, place).intersection(lacking)):
        hint = "open the file in Excel or LibreOffice and save it"
        raise DataError(f"{path}, row {min(found)}: a formula without its value: {hint}")
    filled = [n for n, row in enumerate(rows, 1) if any(cell is not None for cell in row)]
    yield from rows[: max(filled, default=0)]


def read_labelled(path: Path, format: str) -> tuple[pd.DataFrame, dict]:
    """An SPSS or Stata table, values as stored, and what its writer takes: labels and so on."""
    return _load_labelled(path, path.stat().st_mtime_ns, format)


def check(path, format: str, names: Iterable[str], frames: Iterable[pd.DataFrame]) -> None:
    """DataError for what the format cannot hold: names, too many rows or columns, long texts."""
    names, rows = list(names), 1
    _import(format)
    small = [name.lower() if format == "sav" else name for name in names]
    for name in names:
        taken = format != "xlsx" and (
            name.lower() in _RESERVED.split() or small.count(name.lower()) > 1
        )
        if taken or not re.fullmatch(_NAMES[format], name):
            hint = "rename it (letters, digits and _, at most 32, no two alike)"
            raise DataError(f"{path}: no name for a column of .{format}: {name!r:.60}: {hint}")
    for frame in frames:
        for name in (name for name in frame if frame[name].dtype.kind == "O"):
            _check_texts(path, format, name, frame[name], rows)
        rows += len(frame)
    if format == "xlsx" and (rows > _ROWS or len(names) > _COLUMNS):
        problem = f"{rows:,} rows with the header and {len(names):,} columns"
        raise DataError(f"{path}: {problem}, Excel takes {_ROWS:,} and {_COLUMNS:,}: take .csv")


def write(table: pd.DataFrame, path: Path, format: str, about: dict) -> None:
    """A table of numbers, dates and strings; `about` as of `read_labelled`."""
    columns = {name: _convert(table[name], format, about) for name in table}
    if format == "xlsx":
        _write_sheet(columns, path)
        return
    pyreadstat, table = _import(format), pd.DataFrame(columns)
    kept = {key: value for key, value in about.items() if key != "format"}
    if about.get("format") != format:  # labels are common to both, all else is not
        kept = {key: kept[key] for key in _COMMON if key in kept}
        labels = kept.get("variable_value_labels", {}).items()
        numeric = {k: v for k, v in labels if all(isinstance(x, int | float) for x in v)}
        kept["variable_value_labels"] = numeric
    if format == "dta":
        labels = kept.get("variable_value_labels", {}).items()
        kept["variable_value_labels"] = {k: {int(x): t for x, t in v.items()} for k, v in labels}
    try:
        (pyreadstat.write_sav if format == "sav" else pyreadstat.write_dta)(table, path, **kept)
    except (ValueError, pyreadstat.PyreadstatError, pyreadstat.ReadstatError) as error:
        raise DataError(f"cannot be written as .{format}: {error}") from None


_COMMON = ("column_labels", "variable_value_labels", "file_label")


def _import(format: str):
    name = "openpyxl" if format == "xlsx" else "pyreadstat"
    try:
        return import_module(name)
    except ImportError as error:
        hint = "pip install 'emolib[tables]'"
        raise DataError(f".{format} needs {name}, not installed ({error}): {hint}") from None


def _open_sheet(path: Path, sheet: str | None, values: bool):
    openpyxl = _import("xlsx")
    try:
        content = BytesIO(path.read_bytes())  # by name it takes no file that ends otherwise
        book = openpyxl.load_workbook(content, read_only=True, data_only=values)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: not readable as .xlsx ({error})") from None
    names = [each.title for each in book.worksheets]
    if sheet not in (None, *names) or not names:
        raise DataError(f"{path}: no sheet {sheet!r}: there are {name_some(names)}")
    found = book[sheet or names[0]]
    found.reset_dimensions()  # some writers state them wrongly
    return found


@lru_cache(maxsize=1)
def _load_sheet(path: Path, changed: int, sheet: str | None) -> tuple[list[str], list[list]]:
    rows = [list(row) for row in _open_sheet(path, sheet, True).iter_rows(values_only=True)]
    widths = [n for row in rows for n, cell in enumerate(row, 1) if cell is not None]
    if not (width := max(widths, default=0)):
        raise DataError(f"{path}: empty, without even a header")
    rows = [(row + [None] * width)[:width] for row in rows]
    return ["" if cell is None else str(cell) for cell in rows[0]], rows[1:]


def _find_formulas(path: Path, sheet: str | None, place: int) -> set[int]:
    """The rows whose cell in a column holds a formula, header included in the count."""
    rows = enumerate(_open_sheet(path, sheet, False).iter_rows(), start=1)
    return {n for n, row in rows if len(row) > place and row[place].data_type == "f"}


@lru_cache(maxsize=1)
def _load_labelled(path: Path, changed: int, format: str) -> tuple[pd.DataFrame, dict]:
    pyreadstat = _import(format)
    try:
        if format == "sav":
            table, found = pyreadstat.read_sav(path, user_missing=True)
        else:
            table, found = pyreadstat.read_dta(path)
    except (OSError, ValueError, pyreadstat.PyreadstatError, pyreadstat.ReadstatError) as error:
        raise DataError(f"{path}: not readable as .{format} ({error})") from None
    about = {"format": format, "column_labels": found.column_names_to_labels}
    about["variable_value_labels"] = found.variable_value_labels
    about |= {"variable_format": found.original_variable_types}
    about["file_label"] = found.file_label or ""
    if format == "sav":
        about |= {"missing_ranges": found.missing_ranges, "note": found.notes}
        about["variable_measure"] = found.variable_measure
        about["variable_display_width"] = found.variable_display_width
    for name in table:
        if pd.api.types.infer_dtype(table[name], skipna=True) == "date":
            table[name] = pd.to_datetime(table[name]).astype("datetime64[us]")
    return table, about


def _check_texts(path, format: str, name: str, texts: pd.Series, rows: int) -> None:
    for number, text in enumerate(texts, start=rows):
        if not isinstance(text, str):
            continue
        length = len(text) if format == "xlsx" else len(text.encode("utf-8", "replace"))
        where = f"{path}: row {number} of the input, column {name!r:.60}"
        if length > _LONGEST[format]:
            most = f".{format} takes {_LONGEST[format]:,}"
            raise DataError(f"{where}: a text of {length:,}, {most}: take .csv or .parquet")
        if (found := _CONTROLS.get(format, _CONTROLS["sav"]).search(text)) is not None:
            problem = f"the control character {found.group()!r}"
            raise DataError(
                f"{where}: {problem} does not fit into .{format}: take .csv or .parquet"
            )


def _convert(column: pd.Series, format: str, about: dict) -> pd.Series:
    """A column as the format holds it; nothing is rounded."""
    kind = column.dtype.kind
    if kind in "iu" and (column.abs() > _EXACT[format]).any():
        return column.astype("str").where(column.notna(), "")
    if kind == "M" and column.dt.tz is None:
        layout = about.get("variable_format", {}).get(column.name, "")
        clock = layout.startswith(("%tc", "%tC", "DATETIME"))
        whole = not clock and (column.dropna().dt.normalize() == column.dropna()).all()
        return column.dt.date if whole else column.astype("datetime64[us]")
    if format == "xlsx":
        return column.astype("str") if kind in "mM" else column
    if kind in "biu":
        return column.astype("float64" if column.hasnans else "int64")
    if kind == "f":
        return column.astype("float64")
    return column.astype("str").where(column.notna(), "")


def _write_sheet(columns: dict[str, pd.Series], path: Path) -> None:
    openpyxl = _import("xlsx")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")

    def fill(value):
        if isinstance(value, str):  # also what begins with =, which is no formula
            cell = openpyxl.cell.WriteOnlyCell(sheet, value)
            cell.data_type = "s"
            return cell
        return None if pd.isna(value) else value

    sheet.append([fill(str(name)) for name in columns])
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        sheet.append([fill(value) for value in row])
    book.save(path)
