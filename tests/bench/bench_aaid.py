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

from emolib.data import aaid, corpora
from emolib.data.prompts import instructions, render
from emolib.tasks import AAID

PAIRS = 3


def build_with_map(data: str, cache: str) -> int:
    """AAID the way one would write it with `datasets.map`; the number of its rows."""
    return sum(len(map_split(split, data, cache)) for split in ("train", "dev"))


def map_split(split: str, data: str, cache: str) -> datasets.Dataset:
    """One split's rows, shuffled and written out in that order, as aaid.build's are."""
    frame = pd.concat([corpora.read(task, split, data) for task in AAID])
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

    name = f"{cache}/{time.monotonic_ns()}"
    built = rows.map(
        multiply, batched=True, remove_columns=rows.column_names, cache_file_name=f"{name}.arrow"
    )
    order = f"{name}-order.arrow"
    shuffled = built.shuffle(seed=0, indices_cache_file_name=order)
    return shuffled.flatten_indices(cache_file_name=f"{name}-flat.arrow")


def measure(build) -> tuple[float, int]:
    """Rows per second and number of rows of one call of `build`, which counts them."""
    start = time.perf_counter()
    rows = build()
    return rows / (time.perf_counter() - start), rows


def main() -> None:
    data = "official" if os.environ.get("EMOLIB_DATA") else "sample"
    datasets.disable_progress_bars()
    print(f"Building AAID from {data} data, {PAIRS} pairs in turn, rows per second")
    ours, mapped = [], []
    with tempfile.TemporaryDirectory() as cache:
        for pair in range(1, PAIRS + 1):
            speed, rows = measure(lambda: sum(aaid.build(data).num_rows.values()))
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
