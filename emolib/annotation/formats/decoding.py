"""A file's text line by line, whatever its compression, byte-order mark and bad bytes."""

import codecs
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from emolib import DataError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ESCAPED = re.compile("[\udc80-\udcff]")  # how Python's surrogateescape spells a bad byte
_REPLACING = "go on past single bad bytes: --encoding-errors replace (encoding_errors='replace')"


def find_encoding(path: Path, given: str) -> str:
    """The encoding that a byte-order mark names, or else the one given."""
    try:
        plain = codecs.lookup(given).name in ("utf-8", "utf-8-sig")
    except (LookupError, ValueError) as error:
        raise DataError(f"{path}: {error}: name one, for example utf-8 or cp1252") from None
    try:
        with _open(path) as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if not plain:
        return given
    for name, rest in (("utf-16-le", 1), ("utf-16-be", 0)):
        if head and head[rest::2].count(0) > len(head) / 4:
            hint = f"name the file's encoding, for example {name}: --encoding {name}"
            raise DataError(f"{path}:1: not utf-8 (every second byte is 0): {hint}")
    return "utf-8-sig"  # without its mark it is the same


def read_lines(path: Path, encoding: str, errors: str, counts: Counter) -> Iterator[str]:
    """Lines with their ends, whatever they are; DataError names the line that is no text.

    `errors` "replace" makes bad bytes U+FFFD and counts them in `counts["replaced"]`.
    """
    number, foreign = 0, False  # foreign: characters that only this encoding spells so
    try:
        layout = {"encoding": encoding, "errors": "surrogateescape", "newline": ""}
        with _open(path) as raw, io.TextIOWrapper(raw, **layout) as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.lstrip("\ufeff")  # a mark that was written twice
                if not line.isascii():
                    clean, bad = _ESCAPED.subn("\ufffd", line)
                    if bad and errors != "replace":
                        raise DataError(f"{path}:{number}: {_explain(line, encoding, foreign)}")
                    foreign = foreign or not bad
                    line, counts["replaced"] = clean, counts["replaced"] + bad
                yield line
    except OSError as error:
        raise DataError(f"{path}: cannot be read after line {number} ({error})") from None
    except DataError:
        raise
    except (ValueError, LookupError) as error:  # no such encoding, or another one
        problem = f"not {encoding.removesuffix('-sig')} ({error}): name the file's encoding"
        raise DataError(f"{path}: after line {number}: {problem}") from None


def open_output(path: Path, compression: str | None):
    """A binary file to write to, compressed with gzip or zstd."""
    return pa.output_stream(str(path), compression=compression)


def _open(path: Path):
    """The file's bytes; gzip and zstd are known by their first ones, whatever the ending."""
    with path.open("rb") as file:
        head = file.read(4)
    found = [name for magic, name in _MAGIC.items() if head.startswith(magic)]
    return pa.input_stream(str(path), compression=found[0]) if found else path.open("rb")


def _explain(line: str, encoding: str, foreign: bool) -> str:
    """What is wrong with a line, and the encoding in which it would read well."""
    encoding = encoding.removesuffix("-sig")
    raw, bad = line.encode(encoding, "surrogateescape"), _ESCAPED.search(line)
    problem = f"not {encoding} (byte {ord(bad.group()) - 0xDC00:#04x})"
    if foreign and encoding == "utf-8":
        return f"{problem}, while the rest is: {_REPLACING}"
    for name in ("utf-8", "cp1252"):
        try:
            text = raw.decode(name)
        except UnicodeDecodeError:
            continue
        if any(unicodedata.category(x) in ("Cc", "So") for x in text.strip() if not x.isspace()):
            continue
        shown = text.strip()[max(0, bad.start() - 20) :][:40]
        hint = f"for example {name} (--encoding {name}), in which it reads {shown!r}"
        return f"{problem}: name the file's encoding, {hint}; or {_REPLACING}"
    return f"{problem}: name the file's encoding (--encoding); or {_REPLACING}"
