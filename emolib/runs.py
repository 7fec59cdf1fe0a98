"""A run folder: settings and provenance in run.json, and a lock."""

import json
import os
import platform
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from emolib import DataError
from emolib.files import write_json

_PACKAGES = (
    "emolib numpy pandas scipy scikit-learn datasets torch transformers trl peft"
    " bitsandbytes accelerate"
)


def provenance() -> dict:
    """When, on what and with which versions and commit something is being made."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _read_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_name_gpu()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES.split() if (found := _find(name))},
    }


@contextmanager
def opened(folder: str | Path, kind: str, settings: dict):
    """The run folder, locked: made anew, or taken up again if run.json agrees.

    Raises DataError if another process works in the folder, or if run.json there was made with
    other settings: the message names each setting that differs.
    """
    with locked(folder):
        match(folder, kind, settings)
        yield Path(folder)


@contextmanager
def locked(folder: str | Path, empty: bool = False):
    """The folder, made if need be, while no other process may work in it.

    What a killed process left half written is removed; with `empty` all that is there.
    """
    folder = Path(folder)
    with _explaining(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{folder}: another process works in this run folder") from None
    try:
        with _explaining(folder):
            for path in folder.glob("*") if empty else folder.rglob(".*.[0-9]*.tmp"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink(missing_ok=True)
        yield folder
    finally:
        lock.release()


def match(folder: str | Path, kind: str, settings: dict) -> None:
    """Writes a new run.json, or compares the one that is there with `settings`."""
    path = Path(folder) / "run.json"
    settings = json.loads(json.dumps(settings))  # as it will be read back
    # A run that made nothing is begun anew.
    if not path.exists() or not ("finished" in (there := read(folder)) or _has_output(path.parent)):
        with _explaining(folder):
            write_json(path, {"kind": kind, "settings": settings, **provenance()})
        return
    if there.get("kind") != kind:
        raise DataError(f"{path}: a {there.get('kind')} run, not a {kind} run")
    before = there["settings"]
    differs = [
        f"{key} was {before.get(key)!r}, now {settings.get(key)!r}"
        for key in sorted(before.keys() | settings.keys())
        if before.get(key) != settings.get(key)
    ]
    if differs:
        raise DataError(
            f"{folder}: made with other settings ({'; '.join(differs)}):"
            " take another run folder, or remove this one"
        )


def read(folder: str | Path) -> dict:
    """A run's run.json: kind, settings, provenance and results."""
    path = Path(folder) / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no run.json, so not a run folder") from None
    except ValueError as error:
        raise DataError(
            f"{path}: not readable JSON ({error}): remove {folder} to start anew"
        ) from None
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise DataError(f"{path}: no record of a run: remove {folder} to start anew")
    return record


def finish(folder: str | Path, **results) -> None:
    """Marks the run finished and adds what it found to its run.json."""
    record = read(folder)
    write_json(Path(folder) / "run.json", record | {"finished": provenance()["made"]} | results)


def read_settings(kind: type, given: dict, what: str, least=None, choices=None):
    """An instance of the settings dataclass `kind`.

    `least`: names to the least number allowed; `choices`: names to allowed values. None is always
    allowed. DataError names an unknown setting, or one that is not allowed.
    """
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise DataError(f"no {what} setting {', '.join(unknown)}: there are {', '.join(known)}")
    chosen = kind(**given)
    for name, limit in (least or {}).items():
        value = getattr(chosen, name)
        if value is not None and not value >= limit:  # NaN is not
            wanted = "above 0" if 0 < limit < 1 else f"{limit} or more"
            raise DataError(f"{name} is {value}, expected {wanted}")
    for name, allowed in (choices or {}).items():
        value = getattr(chosen, name)
        if value is not None and value not in allowed:
            known = ", ".join(map(str, allowed))
            raise DataError(f"{name} {value!r}: expected one of {known}")
    return chosen


@contextmanager
def _explaining(folder: str | Path):
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder}: cannot write this run folder: {error}") from error


def _has_output(folder: Path) -> bool:
    own = ("run.json", ".lock")
    return any(p.is_file() and p.name not in own for p in folder.rglob("*"))


def _find(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read_commit() -> str | None:
    """The checkout's commit, with + where files differ from it; None outside one."""
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():  # installed: a git above it is somebody else's
        return None
    ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _name_gpu() -> str:
    try:
        import torch
    except ImportError:
        return "no torch"
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
