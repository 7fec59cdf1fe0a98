"""Builds AAID from SemEval-2018 Task 1 on your machine; do not pass its rows on."""

from argparse import ArgumentParser

from emolib.data import aaid

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="aaid", help="where rows are put")
    parser.add_argument("--data", default="official", help="official, sample, a folder")
    given = parser.parse_args()
    rows, free = aaid.build(given.data), given.data == "sample"
    source = "invented texts" if free else "SemEval-2018 Task 1: Affect in Tweets"
    print(aaid.export(rows, given.folder, source, free=free), rows.num_rows)
