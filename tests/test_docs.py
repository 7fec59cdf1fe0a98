"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["aaid", "annotate", "answers", "chunks", "tasks"])
def test_docstring_examples_hold(name):
    found = doctest.testmod(importlib.import_module(f"emolib.{name}"))
    assert found.attempted > 0 and found.failed == 0
