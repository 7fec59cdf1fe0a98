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


def list_texts(folder: Path) -> list[Path]:
    """The text files in a folder and the folders in it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".txt" and p.is_file())


def check_beside(source: str | Path, target: Path, folder: Path, allowed: bool) -> None:
    """DataError where what is written beside `target` would take the place of something else.

    `folder`: the run's; `allowed`: what an earlier run left may be overwritten.
    """
    own = {".lock", "input", "parts", "target"}
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_symlink() or (there - own and "run.json" not in there):
        raise DataError(f"{folder}: there already, and no run folder: rename it, or the output")
    standard = os.fstat(0) if str(source) == "-" else None
    if standard and target.exists() and os.path.samestat(standard, target.stat()):
        raise DataError(f"{target}: input and output in one: give the output a name")
    if not standard and folder.resolve() in Path(source).resolve().parents:
        raise DataError(f"{source}: lies in {folder}: move it, or rename the output")
    books = [Path(f"{target}.codebook.{ending}") for ending in ("csv", "json")]
    for path in (*books, name_torso(target)):
        if not standard and is_same(source, path):
            raise DataError(f"{path}: input and output in one: rename the output")
        if os.path.lexists(path) and (path.is_symlink() or not allowed):
            raise DataError(f"{path}: there already: overwrite it, or rename the output")


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
    texts = list_texts(path) if path.is_dir() else []
    if not texts:
        return pooch.file_hash(path)
    lines = [f"{sanitize(str(text.relative_to(path)))} {pooch.file_hash(text)}\n" for text in texts]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
