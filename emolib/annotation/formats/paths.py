"""Where files lie: their names, and whether two are one."""

import hashlib
import os
from pathlib import Path

import pooch

from emolib import DataError
from emolib.annotation.formats.decoding import COMPRESSIONS
from emolib.annotation.formats.write_files import sanitize

_LONGEST = 220  # bytes of a name, to which endings are added; 255 are allowed


def check_name(path: str | Path) -> None:
    """DataError for a file's name that is too long for a run folder beside it, or not UTF-8."""
    name = Path(path).name
    if (length := len(os.fsencode(name))) > _LONGEST:
        raise DataError(f"{name[:40]}...: a name of {length} bytes: take {_LONGEST} at most")
    if name != sanitize(name) or "\0" in name:
        raise DataError(f"{name!r}: a name that is not UTF-8: rename the file")


def is_same(source: str | Path, path: Path) -> bool:
    """Whether both are one file that is there, whatever the spelling, by links too."""
    return path.exists() and Path(source).exists() and os.path.samefile(source, path)


def name_torso(target: Path) -> Path:
    """The name for finished rows of an interrupted run.

    >>> name_torso(Path("out.csv.gz")).name
    'out.partial.csv.gz'
    """
    packed = target.suffix.lower() in COMPRESSIONS
    ending = "".join(target.suffixes[-2:]) if packed else target.suffix
    return target.with_name(f"{target.name.removesuffix(ending)}.partial{ending}")


def hash_input(path: Path) -> str:
    """The hash of a file, or of a folder's texts with their names."""
    texts = sorted(path.glob("*.txt")) if path.is_dir() else []
    if not texts:
        return pooch.file_hash(path)
    lines = [f"{sanitize(text.name)} {pooch.file_hash(text)}\n" for text in texts]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
