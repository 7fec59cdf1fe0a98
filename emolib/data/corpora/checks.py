"""What all corpus readers share: finding a file, decoding it, checking a field."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emolib import DataError, delimited
from emolib.files import name_some

Rows = Iterator[tuple[str, str, str | None, str, str]]  # file:line, id, emotion, text, gold

_ORIGINAL = "take the publisher's original file"


@dataclass
class Folder:
    """A folder that holds a corpus, and the files that were found in it."""

    root: Path
    paths: list[Path] = field(default_factory=list)

    def find(self, *names: str, part: str = "") -> Path:
        """The one file under `root` that has one of these names.

        With `part`, only files with that word somewhere in their path (in any case), for names as
        common as test.tsv. DataError if there is none, or two that differ.
        """
        above, under = self.root.parent, (p for name in names for p in self.root.rglob(name))
        found = sorted(p for p in under if part in str(p.relative_to(above)).lower())
        if not found:
            others = f" (or {', '.join(names[1:])})" if names[1:] else ""
            inside = f" whose path holds {part!r}" if part else ""
            raise DataError(f"{self.root}: no file {names[0]}{others} in any folder of it{inside}")
        if len({path.read_bytes() for path in found}) > 1:
            raise DataError(f"{self.root}: these differ, keep one: {', '.join(map(str, found))}")
        self.paths.append(found[0])
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
        return raw.decode("utf-8").lstrip("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        problem = f"byte {raw[error.start]:#04x} is not UTF-8, which this file must be"
        raise DataError(f"{path}:{line}: {problem}: {_ORIGINAL}") from None


def read_lines(path: Path) -> list[str]:
    """A UTF-8 file's lines, cut at line feeds alone (splitlines also cuts at U+2028)."""
    lines = read_text(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def read_csv(
    path: Path, delimiter: str = ",", header: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """(file:line, fields) of each row, as `delimited.read_rows` cuts it."""
    lines = io.StringIO(read_text(path), newline="")
    how = {"advice": f"broken CSV: {_ORIGINAL}", "header": header}
    for number, fields in delimited.read_rows(lines, path, delimiter, **how):
        yield f"{path}:{number}", fields


def read_table(path: Path, *wanted: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(file:line, row by column) of a CSV; DataError unless its header has the columns wanted."""
    found = read_csv(path)
    _, header = next(found, ("", []))
    check_columns(wanted, header, path)
    for where, fields in found:
        if not fields:  # a blank line is no row
            continue
        if len(fields) != len(header):
            raise DataError(f"{where}: expected {len(header)} comma-separated fields")
        yield where, dict(zip(header, fields, strict=True))


def name_fields(fields: list[str], names: list[str], where: str) -> dict[str, str]:
    """Name -> field of a tab-separated line; DataError if their number is another."""
    if len(fields) != len(names):
        wanted = f"{len(names)} ({', '.join(names)})"
        raise DataError(f"{where}: {len(fields)} tab-separated fields, expected {wanted}")
    return dict(zip(names, fields, strict=True))


def check_columns(wanted: tuple[str, ...], header: list[str], path: Path) -> None:
    """DataError unless all wanted names stand in the header."""
    if missing := [name for name in wanted if name not in header]:
        raise DataError(f"{path}:1: no column {', '.join(missing)} (found: {name_some(header)})")


def check_rows(rows: Rows) -> Iterator[tuple]:
    """(id, emotion, stripped text, gold) of each row.

    DataError if its text or id is empty, or the id stands in its file twice.
    """
    seen: dict[tuple, str] = {}
    for where, name, emotion, text, gold in rows:
        file, _, line = where.rpartition(":")
        if not text.strip():
            raise DataError(f"{where}: the text of {name!r} is empty")
        if not name.strip():
            raise DataError(f"{where}: the id is empty")
        if (first := seen.setdefault((file, name), line)) != line:
            once = f"first on line {first}; an id stands once in a split"
            raise DataError(f"{where}: id {name!r} again, {once}")
        yield name, emotion, text.strip(), gold


def check_score(text: str, allowed: tuple[float, float], where: str) -> str:
    """`text` itself if it is a number within the range, bounds included."""
    low, high = allowed
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise DataError(f"{where}: score {text!r} is not a number")
    if not low <= float(text) <= high:
        raise DataError(f"{where}: score {text} is outside [{low:g}, {high:g}]")
    return text
