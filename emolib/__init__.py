"""Instruction data, fine-tuning and evaluation for affect in text (EmoLLMs).

    import emolib emolib.annotate(["I got the job!!!"])  # a table: intensities, valence, emotions

`annotate` and `Annotator` are loaded on first use: importing emolib stays quick.
"""

import warnings
from importlib.metadata import PackageNotFoundError, version

# Text progress bars are meant here: widget bars break notebooks on some viewers.
warnings.filterwarnings("ignore", message="IProgress not found")

try:
    __version__ = version("emolib")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

_FRONT_DOOR = ("Annotator", "annotate")


class DataError(ValueError):
    """Input that cannot be used; the message names the file and line, or the setting.

    Raised for files, rows, responses, run folders and parameters alike, so one `except
    emolib.DataError` catches everything a user can mend.
    """


def __getattr__(name: str):
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module 'emolib' has no attribute {name!r}")
    from emolib.annotation import annotate as module

    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FRONT_DOOR])
