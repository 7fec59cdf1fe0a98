"""Seconds and peak memory of building the whole benchmark and scoring 30,808 answers.

Needs the real corpora and the released responses (EMOLIB_DATA). No model is loaded.
"""

import resource
import time

import pandas as pd

from emolib import baselines
from emolib.data import aeb, corpora, release
from emolib.evaluation import item_errors, metrics


def report(what: str, start: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:42} {time.perf_counter() - start:7.1f} s   peak {peak:.2f} GiB")


def main() -> None:
    folder = corpora.locate() / "release"
    start = time.perf_counter()
    built = aeb.build()
    report(f"build: {len(built)} items", start)
    start = time.perf_counter()
    rows = release.read_release(folder / "AEB.jsonl")
    report("read the released benchmark", start)
    start = time.perf_counter()
    found = release.read_responses(folder / "responses-Emobloom-7b.jsonl", rows)
    table = item_errors.compare(rows, found)
    report("read and parse the responses", start)
    start = time.perf_counter()
    scores = metrics.tabulate(table, "EmoBLOOM")
    report("score, 1,000 bootstrap resamples", start)
    start = time.perf_counter()
    words = [baselines.lexicon(name, rows) for name in ("vader", "textblob")]
    words = [metrics.tabulate(item_errors.compare(rows, each), "lexicon") for each in words]
    report("both lexicons, scored as well", start)
    print(len(pd.concat([scores, *words])), "scores")


if __name__ == "__main__":
    main()
