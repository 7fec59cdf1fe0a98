"""What is written, and what a failing write leaves. Round trips: test_read_files."""

import csv
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolib.annotation.formats import write_files


def load(path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def write(frame, path, **options):
    write_files.write([frame], path, path.suffix[1:], **options)
    return path


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")']
HARMLESS = ["a=1", "1-1", "", "'", " =1"]


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_formulas_are_escaped_where_asked_and_only_there(tmp_path, format):
    frame = pd.DataFrame({"text": FORMULAS + HARMLESS, "n": -1.5}).astype({"text": "str"})
    plain = write(frame, tmp_path / f"plain.{format}")
    safe = write(frame, tmp_path / f"safe.{format}", escape=True)
    assert [row["text"] for row in load(plain)] == FORMULAS + HARMLESS
    assert [row["text"] for row in load(safe)] == ["'" + x for x in FORMULAS] + HARMLESS
    assert {row["n"] for row in load(safe)} == {"-1.5"}


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_formulas_are_left_alone_where_no_spreadsheet_runs_them(tmp_path, format):
    frame = pd.DataFrame({"text": FORMULAS}, dtype="str")
    path = write(frame, tmp_path / f"a.{format}", escape=True)
    assert [row["text"] for row in load(path)] == FORMULAS


@pytest.mark.parametrize("kind", ["string", "string_view", "dictionary", "object"])
def test_formulas_from_other_formats_are_escaped_too(tmp_path, kind):
    values = pa.array(["=1", "a"])
    if kind == "dictionary":
        values = values.dictionary_encode()
    elif kind != "object":
        values = values.cast(getattr(pa, kind)())
    mapper = None if kind == "object" else pd.ArrowDtype
    frame = (
        pa.table({"text": values})
        .to_pandas(types_mapper=mapper)
        .astype({"text": object} if kind == "object" else {})
    )
    path = write(frame, tmp_path / "a.csv", escape=True)
    assert [row["text"] for row in load(path)] == ["'=1", "a"]


def test_formula_in_a_header_is_escaped(tmp_path):
    frame = pd.DataFrame({"text": ["a"], "=1+1": ["b"]}, dtype="str")
    path = write(frame, tmp_path / "a.csv", escape=True)
    assert load(path) == [{"text": "a", "'=1+1": "b"}]


def break_off():
    yield pd.DataFrame({"text": ["a"]}, dtype="str")
    raise OSError("no room")


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_failing_write_leaves_what_was_there(tmp_path, format):
    path = tmp_path / f"a.{format}"
    with pytest.raises(OSError, match="no room"):
        write_files.write(break_off(), path, format)
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(OSError, match="no room"):
        write_files.write(break_off(), path, format)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
