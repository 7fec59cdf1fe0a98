"""Builds AAID from SemEval-2018 Task 1: instruction rows for affect, on your machine.

Keep the result to yourself: the corpus's terms forbid passing the tweets on.
"""

import argparse

from emolib.data import aaid

SOURCE = "SemEval-2018 Task 1: Affect in Tweets, English"


def main() -> None:
    """Writes AAID's rows and their card into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="aaid", help="where it goes")
    parser.add_argument(
        "--data",
        default="official",
        help="official (EMOLIB_DATA, else a download), sample, or a folder with the"
        " publisher's files",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the rows' order")
    parser.add_argument(
        "--form", default="paper", help="of the prompts: paper, published or plain"
    )
    chosen = parser.parse_args()
    rows = aaid.build(chosen.data, seed=chosen.seed, form=chosen.form)
    free = chosen.data == "sample"
    source = "emolib's bundled sample, invented texts" if free else SOURCE
    aaid.export(rows, chosen.folder, source, free=free)
    counts = ", ".join(f"{len(part):,} {name}" for name, part in rows.items())
    print(f"{chosen.folder}: {counts} rows")


if __name__ == "__main__":
    main()
