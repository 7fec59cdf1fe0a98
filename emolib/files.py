"""Files written whole or not at all, hashes, strict JSON, and where a relative path begins."""

import hashlib
import json
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from math import isfinite
from pathlib import Path


def place(path: str | Path) -> Path:
    """A relative path taken from the top of the checkout, wherever the kernel started.

    Outside a checkout (nothing above holds a pyproject.toml) from the current folder.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file():
            return folder / path
    return here / path


@contextmanager
def replacing(path: str | Path):
    """A temporary path beside `path`, renamed onto it when the block ends well."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)  # a folder is not renamed onto one with files in it
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value) -> None:
    """Writes JSON, readable, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, table, float_format: str | None = "%.6f") -> None:
    """Writes a data frame without its index, whole or not at all; makes the folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format)


def hash_rows(rows) -> str:
    """SHA-256 over a Dataset's rows, all columns by name, in order."""
    digest = hashlib.sha256()
    whole, names = rows[:], sorted(rows.column_names)  # lists, far faster to walk
    for values in zip(*(whole[name] for name in names), strict=True):
        digest.update(json.dumps(values, ensure_ascii=False).encode())
    return digest.hexdigest()


def name_some(names, most: int = 20) -> str:
    """Names for a message, of many only the first.

    >>> name_some(["a", "b", "c"], most=1)
    'a and 2 more'
    """
    names = [f"{name:.60}" for name in names]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def parse_json(text: str):
    """JSON as Python reads it, but ValueError for a key that stands in an object twice.

    A number too large for a float stays the string it was: Infinity is no JSON.
    """

    def collect(pairs: list) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"the key {twice!r:.60} stands there twice")
        return found

    def read_float(digits: str) -> float | str:
        return value if isfinite(value := float(digits)) else digits

    def read_constant(name: str) -> float | str:
        return float("nan") if name == "NaN" else name

    how = {"parse_float": read_float, "parse_constant": read_constant}
    return json.loads(text, object_pairs_hook=collect, **how)
