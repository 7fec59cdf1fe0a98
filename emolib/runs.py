"""A run folder: settings and provenance in run.json, and a lock."""

import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from pathlib import Path
from typing import get_args, get_type_hints

from filelock import FileLock, Timeout

from emolib import DataError
from emolib.files import write_json

_PACKAGES = "emolib numpy pandas scipy scikit-learn datasets torch transformers trl peft"
_PACKAGES += " bitsandbytes accelerate"


def provenance() -> dict:
    """When, on what and with which versions and commit something is being made."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {_name_gpu()}"
    versions = {}
    for name in _PACKAGES.split():
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    about = {"made": made, "commit": _read_commit(), "machine": machine, "versions": versions}
    return about | {"python": platform.python_version()}


@contextmanager
def opened(folder: str | Path, kind: str, settings: dict):
    """The run folder, `locked`: made anew, or taken up again if its run.json `match`es."""
    with locked(folder):
        match(folder, kind, settings)
        yield Path(folder)


@contextmanager
def locked(folder: str | Path, empty: bool = False):
    """The folder, made if need be; DataError while another process works in it.

    What a killed process left half written is removed; with `empty` all that is there.
    """
    with ExitStack() as stack:
        with explaining(folder := Path(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / ".lock", timeout=0))
            for path in folder.glob("*") if empty else folder.rglob(".*.[0-9]*.tmp"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink(missing_ok=True)
        yield folder


def match(folder: str | Path, kind: str, settings: dict) -> None:
    """Writes a new run.json, or DataError names what differs in the one that is there."""
    path = Path(folder) / "run.json"
    settings = json.loads(json.dumps(settings))  # as it will be read back
    there = read(folder) if path.exists() else {}
    made = {p.name for p in path.parent.rglob("*") if p.is_file()} - {"run.json", ".lock"}
    if not there or not ("finished" in there or made):  # a run that made nothing is begun anew
        with explaining(folder):
            write_json(path, {"kind": kind, "settings": settings, **provenance()})
        return
    if there.get("kind") != kind:
        raise DataError(f"{path}: a {there.get('kind')} run, not a {kind} run")
    before = there["settings"]
    names = [key for key in sorted(before | settings) if before.get(key) != settings.get(key)]
    differs = "; ".join(f"{k} was {before.get(k)!r}, now {settings.get(k)!r}" for k in names)
    if differs:
        hint = "remove it or take another"
        raise DataError(f"{folder}: made with other settings ({differs}): {hint}")


def read(folder: str | Path) -> dict:
    """A run's run.json: kind, settings, provenance and results."""
    path, hint = Path(folder) / "run.json", f"remove {folder} to start anew"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no run.json, so not a run folder") from None
    except ValueError as error:
        raise DataError(f"{path}: not readable JSON ({error}): {hint}") from None
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise DataError(f"{path}: no record of a run: {hint}")
    return record


def finish(folder: str | Path, **results) -> None:
    """Marks the run finished and adds what it found to its run.json."""
    record = read(folder)
    write_json(Path(folder) / "run.json", record | {"finished": provenance()["made"]} | results)


def measure_peak_memory() -> int | None:
    """The process's largest memory so far, in MB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB; on macOS in bytes
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def read_settings(kind: type, given: dict, what: str, least=None, choices=None):
    """An instance of the settings dataclass `kind`, whose numbers are numbers.

    `least`: names to the least number allowed; `choices`: names to allowed values. None is always
    allowed. DataError names an unknown setting, or one that is not allowed.
    """
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise DataError(f"no {what} setting {', '.join(unknown)}: there are {', '.join(known)}")
    chosen = kind(**given)
    values = {name: value for name, value in vars(chosen).items() if value is not None}
    hints = get_type_hints(kind)
    for name, value in values.items():
        numbers = {int, float} & {hints[name], *get_args(hints[name])}
        wanted = Real if float in numbers else Integral
        if numbers and (isinstance(value, bool) or not isinstance(value, wanted)):
            whole = "whole " * (wanted is Integral)
            raise DataError(f"{name} is {value!r:.60}, expected a {whole}number")
    for name, limit in (least or {}).items():
        if name in values and not values[name] >= limit:  # NaN is not
            wanted = "above 0" if 0 < limit < 1 else f"{limit} or more"
            raise DataError(f"{name} is {values[name]}, expected {wanted}")
    for name, allowed in (choices or {}).items():
        if name in values and values[name] not in allowed:
            known = ", ".join(map(str, allowed))
            raise DataError(f"{name} {values[name]!r}: expected one of {known}")
    return chosen


@contextmanager
def explaining(folder: str | Path, hint: str = ""):
    """DataError where a run folder cannot be locked or written; `hint`: what to do."""
    try:
        yield
    except Timeout:  # of the lock, an OSError too
        raise DataError(f"{folder}: another process works in this run folder") from None
    except OSError as error:
        problem = f": {error}: {hint}" if hint else f" this run folder: {error}"
        raise DataError(f"{folder}: cannot write{problem}") from error


def _read_commit() -> str | None:
    """The checkout's commit, with + where files differ from it; None outside one."""
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():  # installed: a git above it is somebody else's
        return None
    ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(ask, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() or None


def _name_gpu() -> str:
    try:
        import torch
    except ImportError:
        return "no torch"
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
