"""Answers' probabilities, as `predict` gives them, as tables; one value out of each.

A record says how probable the model finds every answer that its task allows. What is
made of that, a class, a number or a set of labels, is decided elsewhere (`decisions`).
"""

from collections.abc import Mapping

from emolib.tasks import get


def expect(task: str, record: Mapping) -> float:
    """The mean of a score's or a class's distribution, in the corpus's range."""
    if get(task).kind == "score":
        return float(record["mean"])
    return sum(int(name) * p for name, p in record["probabilities"].items())
