"""What all corpus readers share: finding a file, decoding it, checking a field."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from emolib import DataError

Rows = list[tuple[str, str | None, str, str]]  # id, emotion, text, gold


def find(root: Path, *names: str, folder: str = "") -> Path:
    """The one file under `root` that has one of these names.

    With `folder`, only files with that word somewhere in their path (in any case), for names as
    common as test.tsv. DataError if there is none, or two that differ.
    """
    found = sorted(
        path
        for name in names
        for path in root.rglob(name)
        if folder in str(path.relative_to(root.parent)).lower()
    )
    if not found:
        others = f" (or {', '.join(names[1:])})" if names[1:] else ""
        inside = f" whose path holds {folder!r}" if folder else ""
        raise DataError(f"{root}: no file {names[0]}{others} in any folder of it{inside}")
    if len({path.read_bytes() for path in found}) > 1:
        raise DataError(f"{root}: these differ, keep one: {', '.join(map(str, found))}")
    return found[0]


def read_bytes(path: Path) -> bytes:
    """A file's bytes; DataError for a web page saved in its place."""
    raw = path.read_bytes()
    if raw.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(f"{path}:1: an HTML page, not the corpus: download it again")
    return raw


def read_text(path: Path) -> str:
    """A UTF-8 file's text; DataError for a web page and bytes that are not UTF-8."""
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8, which this file must be:"
            " take the publisher's original file"
        ) from None


def read_lines(path: Path) -> list[str]:
    """A UTF-8 file's lines, cut at line feeds alone (splitlines also cuts at U+2028)."""
    lines = read_text(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def read_csv(path: Path, **options) -> Iterator[tuple[str, list[str]]]:
    """(file:line, fields) of each row, as csv.reader cuts it; DataError where it cannot."""
    lines = csv.reader(io.StringIO(read_text(path)), **options)
    try:
        for fields in lines:
            yield f"{path}:{lines.line_num}", fields
    except csv.Error as error:
        raise DataError(f"{path}:{lines.line_num}: broken CSV: {error}") from None


def split_fields(line: str, names: list[str], where: str) -> dict[str, str]:
    """A tab-separated line as name -> field; DataError if their number is another."""
    fields = line.split("\t")
    if len(fields) != len(names):
        raise DataError(
            f"{where}: {len(fields)} tab-separated fields, expected"
            f" {len(names)} ({', '.join(names)})"
        )
    return dict(zip(names, fields, strict=True))


def check_columns(wanted: tuple[str, ...], header: list[str], path: Path) -> None:
    """DataError unless all wanted names stand in the header."""
    if missing := [name for name in wanted if name not in header]:
        raise DataError(f"{path}:1: no column {', '.join(missing)} (found: {', '.join(header)})")


def check_row(name: str, text: str, seen: dict, where: str) -> str:
    """The text, stripped; DataError if it or the id is empty, or the id stands there twice."""
    if not text.strip():
        raise DataError(f"{where}: the text of {name!r} is empty")
    if not name.strip():
        raise DataError(f"{where}: the id is empty")
    if (first := seen.setdefault(name, where)) != where:
        line = first.rpartition(":")[2]
        raise DataError(
            f"{where}: id {name!r} again, first on line {line}; an id stands once in a split"
        )
    return text.strip()


def check_score(text: str, allowed: tuple[float, float], where: str) -> str:
    """`text` itself if it is a number within the range, bounds included."""
    low, high = allowed
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise DataError(f"{where}: score {text!r} is not a number")
    if not low <= float(text) <= high:
        raise DataError(f"{where}: score {text} is outside [{low:g}, {high:g}]")
    return text
