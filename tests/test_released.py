"""Ours beside the released models, on invented answers."""

import numpy as np
import pandas as pd
import pytest

from emolib import DataError
from emolib.report import released, standings
from emolib.tasks import AAID, get


def answer(task, noise, items=40, seed=0):
    """Gold and answers `noise` away from it, as `item_errors.compare` gives them."""
    draw, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    rows = []
    for emotion in get(task).emotions or (None,):
        for _ in range(items):
            if get(task).kind == "labels":
                held = draw.random(len(get(task).labels)) < 0.3
                said = held ^ (other.random(len(held)) < noise)
                names = np.array(get(task).labels)
                gold, found = tuple(names[held]), tuple(names[said])
            else:
                gold = draw.random()
                found = gold + noise * other.normal()
                if get(task).kind == "ordinal":
                    classes = sorted(get(task).classes)
                    gold = classes[int(gold * len(classes))]
                    found = int(
                        np.clip(
                            round(gold + noise * other.normal()),
                            *classes[:: len(classes) - 1],
                        )
                    )
                else:
                    found = float(np.clip(found, 0, 1))
            rows.append((task, emotion, gold, found))
    return pd.DataFrame(rows, columns=["task", "emotion", "gold", "predicted"])


@pytest.fixture(scope="module")
def sides():
    good = pd.concat([answer(task, 0.1) for task in AAID], ignore_index=True)
    poor = pd.concat([answer(task, 0.6) for task in AAID], ignore_index=True)
    return good, poor


def test_the_better_one_is_ahead_in_every_task(sides):
    found = released.compare(*sides, resamples=50)
    pairs = list(zip(found["task"], found["metric"], strict=True))
    assert pairs == standings.COLUMNS[5]
    assert (found["difference"] > 0).all() and (found["p"] < 0.05).all()
    turned = released.compare(*sides[::-1], resamples=50)
    np.testing.assert_allclose(turned["difference"], -found["difference"])


def test_unparsed_answers_count_as_the_official_script_counts_them(sides):
    good, _ = sides
    part = good[good["task"] == "V-reg"].reset_index(drop=True)
    lost = part.assign(predicted=part["predicted"].astype(object).where(part.index > 9))
    found = released.compare(lost.replace({np.nan: None}), part, resamples=20)
    assert found["difference"].item() < 0


def test_other_items_are_an_error(sides):
    good, poor = sides
    with pytest.raises(DataError, match="EI-reg"):
        released.compare(good.iloc[1:], poor)
    with pytest.raises(DataError, match="AEB-1"):
        released.compare(good.iloc[:0], poor)


def test_table_says_in_bold_what_is_no_chance(sides):
    good, poor = sides
    parts = {"A": (good, poor), "B": (good, good)}
    rows = [
        released.compare(*p, resamples=50).assign(ours="joined", model=n)
        for n, p in parts.items()
    ]
    lines = released.format_markdown(pd.concat(rows)).splitlines()
    assert lines[2].startswith("| joined | A | ")
    assert len(lines) == 4 and lines[2].count("**") == 14 and "**" not in lines[3]
    assert lines[3].count("+0.000<br>[+0.000, +0.000]") == 7
