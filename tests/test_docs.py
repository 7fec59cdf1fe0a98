"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest

NAMES = "data.leakage annotation.columns data.parsing annotation.formats.read_files tasks"
NAMES += " annotation.notes annotation.sentences evaluation.conformal baselines.api"
NAMES += " publishing.cards models.catalog"


@pytest.mark.parametrize("name", NAMES.split())
def test_docstring_examples_hold(name):
    found = doctest.testmod(importlib.import_module(f"emolib.{name}"))
    assert found.attempted > 0 and found.failed == 0
