import json
from datetime import datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolib import DataError
from emolib.annotation.formats import read_files, write_files

TEXTS = ["007", 'say "so"', "one\ntwo\r\nthree", "a\rb", "", "NA", "1.0", "怒り, 😀\u2028"]
ODD = ["-5", "@name", " lead and trail ", "\t", "'", "None", "true", "\x00", "\\n"]
SIZES = [1, 2, 1000]
CELLS = [*TEXTS, *ODD]
FORMATS = ["csv", "tsv", "jsonl", "parquet"]
every_format = pytest.mark.parametrize("format", FORMATS)


def put(tmp_path, content: str | bytes, name: str = "in.csv"):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def load(path, size: int = 2, **options) -> list[dict]:
    """All rows of a file, chunk by chunk, missing values as None."""
    source = read_files.inspect(path, **options)
    frames = list(read_files.read(source, size))
    assert all(len(frame) <= size for frame in frames)
    records = [row for frame in frames for row in json_rows(frame)]
    assert len(records) == source.rows
    return records


def json_rows(frame: pd.DataFrame) -> list[dict]:
    assert isinstance(frame.index, pd.RangeIndex)  # what is put beside it, fits
    rows = zip(*[frame[name].tolist() for name in frame], strict=True)
    return [
        {k: None if pd.api.types.is_scalar(v) and pd.isna(v) else v for k, v in pairs}
        for pairs in (zip(frame, row, strict=True) for row in rows)
    ]


def write(frame, path, format=None, **options):
    write_files.write([frame], path, format or path.suffix[1:], **options)
    return path


@every_format
@pytest.mark.parametrize("size", SIZES)
def test_texts_come_back_in_every_format_and_chunk_size(tmp_path, format, size):
    rows = [{"text": text, "id": f"{n:03}"} for n, text in enumerate(CELLS)]
    path = tmp_path / f"a.{format}"
    frames = [pd.DataFrame(rows[:5], dtype="str"), pd.DataFrame(rows[5:], dtype="str")]
    write_files.write(frames, path, format)
    assert load(path, size) == rows


@every_format
def test_one_column_with_empty_texts_loses_no_row(tmp_path, format):
    rows = [{"text": text} for text in ("", "a", "", "")]
    path = write(pd.DataFrame(rows, dtype="str"), tmp_path / f"a.{format}")
    assert load(path) == rows


@pytest.mark.parametrize("size", SIZES)
def test_lines_are_texts_and_no_line_is_lost(tmp_path, size):
    path = put(tmp_path, '007\r\n\n a, "b\n怒り\u2028x\x85y', "in.txt")
    texts = [row["body"] for row in load(path, size, column="body")]
    assert texts == ["007", "", ' a, "b', "怒り\u2028x\x85y"]


MIXED = [
    {"text": "a", "n": 1, "big": 2**60 + 1, "x": 1.5, "yes": True, "no": None},
    {"text": "b", "n": "1", "big": 10**30, "x": [1, {"y": None}], "yes": {}},
    {"text": None, "no": [], "self": "s"},
]


def test_values_keep_their_types_from_jsonl_to_jsonl(tmp_path):
    content = "".join(json.dumps(row) + "\n" for row in MIXED)
    path = put(tmp_path, content, "in.jsonl")
    source = read_files.inspect(path)
    assert source.columns == ("text", "n", "big", "x", "yes", "no", "self")
    full = [dict.fromkeys(source.columns) | row for row in MIXED]
    assert load(path, 1) == load(path, 5) == full
    write_files.write(read_files.read(source, 2), tmp_path / "out.jsonl", "jsonl")
    assert load(tmp_path / "out.jsonl") == full


TYPED = {
    "text": ["a", None, "c"],
    "n": [1, None, 2**60 + 1],
    "yes": [True, None, False],
    "x": [0.5, None, -1.0],
    "words": [["p", "q"], None, []],
    "inner": [{"k": 1}, None, {"k": 2}],
    "when": [datetime(2020, 1, 2), None, datetime(2021, 1, 2)],
    "exact": [Decimal("1.50"), None, Decimal("2.25")],
    "kind": pa.array(["u", None, "v"]).dictionary_encode(),
}


@pytest.fixture
def typed(tmp_path):
    pq.write_table(pa.table(TYPED), tmp_path / "typed.parquet")
    return read_files.inspect(tmp_path / "typed.parquet")


@pytest.mark.parametrize("size", SIZES)
def test_parquet_keeps_every_type_in_parquet(typed, tmp_path, size):
    write_files.write(read_files.read(typed, size), tmp_path / "out.parquet", "parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.to_pydict() == pa.table(TYPED).to_pydict()
    assert found.schema.types == pq.read_table(typed.path).schema.types


def test_parquet_keeps_lists_and_numbers_in_jsonl(typed, tmp_path):
    write_files.write(read_files.read(typed, 2), tmp_path / "out.jsonl", "jsonl")
    first, second, third = load(tmp_path / "out.jsonl")
    assert first["words"] == ["p", "q"] and first["inner"] == {"k": 1}
    assert set(second.values()) == {None} and third["n"] == 2**60 + 1
    assert first["yes"] is True and first["exact"] == "1.50" and third["kind"] == "v"


def test_nested_values_are_json_in_a_csv_and_scalars_plain(typed, tmp_path):
    write_files.write(read_files.read(typed, 1), tmp_path / "out.csv", "csv")
    first, second, third = load(tmp_path / "out.csv")
    assert first["words"] == '["p", "q"]' and first["inner"] == '{"k": 1}'
    assert set(second.values()) == {""} and third["n"] == str(2**60 + 1)
    assert first["exact"] == "1.50" and third["words"] == "[]"


def test_mixed_values_are_strings_in_parquet(tmp_path):
    path = put(tmp_path, '{"text": "a", "v": 1}\n{"v": "x"}\n{"v": [1]}\n', "a.jsonl")
    frames = read_files.read(read_files.inspect(path), 1)
    write_files.write(frames, tmp_path / "out.parquet", "parquet")
    assert [row["v"] for row in load(tmp_path / "out.parquet")] == ["1", "x", "[1]"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_line_ends_change_nothing(tmp_path, mark, end):
    content = end.join(["text,id", '"a, ""b""",007', "c,", ""])
    rows = [{"text": 'a, "b"', "id": "007"}, {"text": "c", "id": ""}]
    assert load(put(tmp_path, mark + content)) == rows


def test_byte_order_mark_before_jsonl_and_lines_is_no_text(tmp_path):
    assert load(put(tmp_path, '\ufeff{"text": "a"}\n', "a.jsonl")) == [{"text": "a"}]
    assert load(put(tmp_path, "\ufeffa\n", "a.txt")) == [{"text": "a"}]


def test_line_breaks_inside_a_cell_stay_as_they_are(tmp_path):
    path = put(tmp_path, 'id,text\r\n1,"a\r\nb\nc\rd"\r\n')
    assert load(path) == [{"id": "1", "text": "a\r\nb\nc\rd"}]


@every_format
def test_header_alone_is_a_file_of_no_rows(tmp_path, format):
    empty = pd.DataFrame({"text": [], "id": []}, dtype="str")
    path = write(empty, tmp_path / f"a.{format}")
    if format == "jsonl":  # which has no header
        with pytest.raises(DataError, match="no column 'text': there are none"):
            read_files.inspect(path)
        return
    (frame,) = read_files.read(read_files.inspect(path), 2)
    assert list(frame) == ["text", "id"] and len(frame) == 0


def test_parquet_of_no_rows_keeps_its_types(tmp_path):
    table = pa.table({"text": pa.array([], "string"), "n": pa.array([], "int64")})
    pq.write_table(table, tmp_path / "in.parquet")
    source = read_files.inspect(tmp_path / "in.parquet")
    write_files.write(read_files.read(source, 2), tmp_path / "out.parquet", "parquet")
    assert pq.read_table(tmp_path / "out.parquet").schema.types == table.schema.types


def test_blank_lines_are_no_rows_in_csv_and_jsonl(tmp_path):
    assert load(put(tmp_path, "\ntext,id\n\na,1\n\n")) == [{"text": "a", "id": "1"}]
    path = put(tmp_path, '\n{"text": "a"}\n \n\n{"text": "b"}\n', "a.jsonl")
    assert [row["text"] for row in load(path)] == ["a", "b"]


DEEP = '{"text": "a", "x": ' + "[" * 100_000 + "}\n"
HUGE = '{"text": "a", "x": ' + "9" * 5000 + "}\n"
BAD = {
    "empty": ("in.csv", "", "in.csv: empty, without even a header"),
    "blank lines alone": ("in.csv", "\n\n", "empty, without even a header"),
    "mark alone": ("in.csv", "\ufeff", "empty, without even a header"),
    "too few cells": ("in.csv", "text,b\n1,2\n3\n", r"in.csv:3: 1 cells, .* has 2"),
    "too many cells": ("in.csv", 'text,b\n"1\n1",2\n3,4,5\n', r":4: 3 cells, .* 2"),
    "two of a name": ("in.csv", "text,text\na,b\n", "two columns are called 'text'"),
    "quote not closed": ("in.csv", 'text\n"a\nb\nc\n', r":2: unexpected end.*quotes=F"),
    "text after a quote": ("in.csv", 'text\nx\n"a"b\n', r":3: ',' expected after"),
    "quote in a TSV": ("in.tsv", 'id\ttext\n1\t"a\n', r":2: unexpected.*quotes=False"),
    "wrong delimiter": ("in.csv", "text;b\n1;2\n", "are text;b .or the delimiter is"),
    "other columns": ("in.csv", "body,b\n1,2\n", "no column 'text': there are body, b"),
    "Latin letters": ("in.csv", b"text\ncaf\xe9\n", ":2: not utf-8.*for example cp1252"),
    "UTF-16": ("in.csv", "text\na\n".encode("utf-16-le"), "not utf-8.*for example utf-16"),
    "list in JSONL": ("a.jsonl", '{"text": "a"}\n[1]\n', "a.jsonl:2: expected a JSON o"),
    "half a line": ("a.jsonl", '{"text": "a"}\n\n{"text"\n', r"a.jsonl:3: no JSON \("),
    "nested too deep": ("a.jsonl", DEEP, r"a.jsonl:1: no JSON \(.*recursion"),
    "too long a number": ("a.jsonl", HUGE, r"a.jsonl:1: no JSON \(.*digits"),
    "half a letter": ("a.jsonl", '{"text": 1, "\\ud83d": 2}\n', "name .* half a char"),
    "no lines in JSONL": ("a.jsonl", "", "no column 'text': there are none"),
    "unknown ending": ("a.docx", "", "no format 'docx': name one of csv, tsv, jsonl"),
    "no ending": ("a", "", "no format '': name one of csv"),
    "no Parquet": ("a.parquet", "text\na\n", "not readable Parquet"),
    "empty Parquet": ("a.parquet", "", "a.parquet: not readable Parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_an_error_before_anything_is_read(tmp_path, case):
    name, content, reason = BAD[case]
    with pytest.raises(DataError, match=reason):
        read_files.inspect(put(tmp_path, content, name))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoding": "utf-9"}, "unknown encoding: utf-9"),
        ({"encoding": "base64"}, "not a text encoding"),
        ({"encoding": "a\0b"}, "in.csv: .*null"),
        ({"encoding": "ascii"}, "not ascii.*for example utf-8"),
        ({"delimiter": ";;"}, "delimiter ';;': expected one character"),
        ({"delimiter": '"'}, "expected one character"),
        ({"format": "xls"}, "no format 'xls'"),
        ({"column": "Text"}, "no column 'Text': there are text, id"),
    ],
)
def test_bad_option_is_an_error(tmp_path, options, reason):
    with pytest.raises(DataError, match=reason):
        read_files.inspect(put(tmp_path, "text,id\nä,1\n"), **options)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: no such file"):
        read_files.inspect(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no such file"):
        read_files.inspect(tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings_are_read_when_named(tmp_path, encoding):
    path = put(tmp_path, "text;id\r\ncafé;1\r\n".encode(encoding))
    rows = load(path, encoding=encoding, delimiter=";")
    assert rows == [{"text": "café", "id": "1"}]


def test_quotation_marks_can_be_ordinary(tmp_path):
    path = put(tmp_path, 'id\ttext\n1\t"a\n2\tb"c"\n', "in.tsv")
    assert [row["text"] for row in load(path, quotes=False)] == ['"a', 'b"c"']


@pytest.mark.parametrize("size", SIZES)
def test_jsonl_keys_that_are_missing_are_missing_values(tmp_path, size):
    lines = ['{"id": 1}', '{"text": "b"}', "{}", '{"text": null, "id": {"x": [1]}}']
    path = put(tmp_path, "\n".join(lines), "a.jsonl")
    rows = load(path, size)
    assert [row["text"] for row in rows] == [None, "b", None, None]
    assert [row["id"] for row in rows] == [1, None, None, {"x": [1]}]


@every_format
def test_half_a_character_is_written_without_an_error(tmp_path, format):
    content = '{"text": "a\\ud83d", "in": ["\\ud83d"]}\n{"text": "\\ud83d\\ude00"}\n'
    path = put(tmp_path, content, "in.jsonl")
    frames = read_files.read(read_files.inspect(path), 1)
    write_files.write(frames, tmp_path / f"out.{format}", format)
    first, second = load(tmp_path / f"out.{format}")
    inner = first["in"] if format == "jsonl" else json.loads(first["in"])
    assert inner == ["\ud83d"] and second["text"] == "😀"
    assert first["text"] == ("a\ud83d" if format == "jsonl" else "a?")


@pytest.mark.parametrize("index", ["text", "id", None])
def test_index_that_pandas_noted_in_a_parquet_file_is_a_column(tmp_path, index):
    frame = pd.DataFrame({"text": list("abcd"), "id": [7, 3, 9, 1], "n": 0})
    frame = frame.set_index(index) if index else frame.iloc[[3, 0, 2]]
    frame.to_parquet(tmp_path / "a.parquet")
    rows = load(tmp_path / "a.parquet", 2)
    assert [row["text"] for row in rows] == list("abcd" if index else "dac")
    assert all({"text", "id", "n"} <= row.keys() for row in rows)


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "null"])
def test_parquet_texts_of_every_string_type_are_read(tmp_path, kind):
    kind = getattr(pa, kind)()
    values = [None, None] if kind == pa.null() else ["a", None]
    pq.write_table(pa.table({"text": pa.array(values, kind)}), tmp_path / "a.parquet")
    assert [row["text"] for row in load(tmp_path / "a.parquet")] == values


def test_parquet_dictionary_of_texts_is_read(tmp_path):
    table = pa.table({"text": pa.array(["b", "a", "b"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row["text"] for row in load(tmp_path / "a.parquet", 2)] == ["b", "a", "b"]


@pytest.mark.parametrize("values", [[1, 2], [["a"], []], [b"a", b"b"], [True, False]])
def test_parquet_column_of_no_texts_is_an_error(tmp_path, values):
    pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'text' holds .*, not texts"):
        read_files.inspect(tmp_path / "a.parquet")


def test_two_parquet_columns_of_one_name_are_an_error(tmp_path):
    table = pa.table([["a"], ["b"]], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="two columns are called 'text'"):
        read_files.inspect(tmp_path / "a.parquet")


def damage_parquet(path, how: str) -> None:
    table = pa.table({"text": [f"text number {n}" for n in range(5000)]})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    broken = {
        "truncated": content[:-50],
        "half": content[: len(content) // 2],
        "hole": content[:100] + bytes(2000) + content[2100:],
        "not UTF-8": content.replace(b"text number 4321", b"\xff" * 16),
    }
    path.write_bytes(broken[how])


@pytest.mark.parametrize("how", ["truncated", "half", "hole", "not UTF-8"])
def test_damaged_parquet_is_an_error_before_anything_is_read(tmp_path, how):
    damage_parquet(tmp_path / "a.parquet", how)
    with pytest.raises(DataError, match=r"a.parquet: not readable Parquet"):
        read_files.inspect(tmp_path / "a.parquet")
