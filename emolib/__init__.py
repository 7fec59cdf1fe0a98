"""Instruction data, fine-tuning and evaluation for affect in text (EmoLLMs)."""

import warnings
from importlib.metadata import PackageNotFoundError, version

# Text progress bars are meant here: widget bars break notebooks on some viewers.
warnings.filterwarnings("ignore", message="IProgress not found")

try:
    __version__ = version("emolib")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


class DataError(ValueError):
    """Input that cannot be used; the message names the file and line, or the setting.

    Raised for files, rows, responses, run folders and parameters alike, so one
    `except emolib.DataError` catches everything a user can mend.
    """
