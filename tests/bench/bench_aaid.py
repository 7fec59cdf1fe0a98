"""Rows per second of building AAID, beside the same build through datasets.map.

One run, the two in turn; prints each pair, the medians and their ratio. `make bench`.
Data: the official corpora if EMOLIB_DATA is set, else the bundled sample.
"""

import os
import statistics
import tempfile
import time

import datasets
import pandas as pd

from emolib import aaid, corpora
from emolib.prompts import instructions, render
from emolib.tasks import TASKS

PAIRS = 3


def build_with_map(data: str, cache: str) -> datasets.Dataset:
    """AAID's training rows the way one would write them with `datasets.map`."""
    frame = pd.concat([corpora.read(task, "train", data) for task in TASKS])
    rows = datasets.Dataset.from_pandas(frame, preserve_index=False)

    def multiply(batch):
        columns = {name: [] for name in aaid.COLUMNS}
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            for text in instructions(row["task"]):
                whole = row | {"instruction": text}
                whole |= render(whole)
                for name in columns:
                    columns[name].append(whole[name])
        return columns

    return rows.map(
        multiply,
        batched=True,
        remove_columns=rows.column_names,
        cache_file_name=f"{cache}/{time.monotonic_ns()}.arrow",
    ).shuffle(seed=0)


def measure(build) -> tuple[float, int]:
    """Rows per second and number of rows of one call."""
    start = time.perf_counter()
    rows = len(build())
    return rows / (time.perf_counter() - start), rows


def main() -> None:
    data = "official" if os.environ.get("EMOLIB_DATA") else "sample"
    datasets.disable_progress_bars()
    print(f"Building AAID from {data} data, {PAIRS} pairs in turn, rows per second")
    ours, mapped = [], []
    with tempfile.TemporaryDirectory() as cache:
        for pair in range(1, PAIRS + 1):
            speed, rows = measure(lambda: sum(aaid.build(data).num_rows.values()) * [0])
            ours.append(speed)
            speed, mapped_rows = measure(lambda: build_with_map(data, cache))
            mapped.append(speed)
            print(
                f"  pair {pair}: aaid.build {ours[-1]:,.0f} ({rows:,} rows),"
                f" datasets.map {mapped[-1]:,.0f} ({mapped_rows:,} rows)"
            )
    first, second = statistics.median(ours), statistics.median(mapped)
    print(f"  median: aaid.build {first:,.0f}, datasets.map {second:,.0f}")
    print(f"  ratio aaid.build / datasets.map: {first / second:.2f}")


if __name__ == "__main__":
    main()
