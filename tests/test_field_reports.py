"""Faults that users of such tools reported: each is read right, or refused with what to do."""

import codecs
import gzip
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolib import DataError, annotate, delimited, files, notebooks
from emolib.annotation import annotate_file, notes
from emolib.annotation.formats import read_files
from emolib.baselines import api
from emolib.data import corpora, parsing
from emolib.evaluation import score_files
from emolib.report import text_plots

OPENED = [
    'id\ttext\n1\t"what a day\n2\tnothing much\n3\tgood night"\n4\tend\n',
    'id,text\n1,"what a day\n2,nothing much\n3,good night"\n4,end\n',
    'id,text\n1,"what a day, really\n2,nothing much\n3,good night"\n4,end\n',
    'text,id\n"what a day,1\nnothing much,2\ngood night",3\nend,4\n',
    'id\ttext\tx\n1\t"what a day\ta\n2\tgood night"\tb\n',
    'text\n"what a day\nnothing much\ngood night"\nend\n',
    'id\ttext\n1\t"what a day\n\n2\t good night"\n',
]
CELLS_OVER_LINES = [
    'id,text\n1,"dear diary\nit rained, again\nbye"\n2,end\n',
    'text,id\n"dear diary\nit rained",1\nend,2\n',
    'id,text,x\n1,"dear, diary\nit rained\n\nbye",a\n2,end,b\n',
    'text\n"dear, ""diary"""\n"it rained\nbye"\n',
    '"id","text"\n"1","dear diary\nit rained"\n"2","end"\n',
    'id\ttext\n1\t"dear diary\nit rained"\n',
    '"how do you\nfeel, today?",text\n1,fine\n',
]


def put(folder, content: str | bytes, name: str = "in.csv") -> Path:
    content = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(content)
    return folder / name


def load(path, **options) -> list[dict]:
    source = read_files.inspect(path, **options)
    frames = list(read_files.read(source, 3))
    return [row for frame in frames for row in frame.to_dict("records")]


def judge(source, target, text_column="text", **options) -> Path:
    files = annotate_file.Settings(**{"progress": False} | options)
    return annotate_file.annotate_file(source, target, text_column, "vader", files)


@pytest.mark.parametrize("content", OPENED)
def test_lone_quotation_mark_swallows_no_row(tmp_path, content):
    path = put(tmp_path, content, "in.tsv" if "\t" in content else "in.csv")
    with pytest.raises(DataError, match=r"in.[ct]sv:2: .*--plain-quotes .*--quotes"):
        read_files.inspect(path)
    plain = [line for line in content.splitlines()[1:] if line]
    with_quotes = read_files.inspect(path, quotes=True)
    assert with_quotes.rows < len(plain)
    if "day, really" not in content:
        assert len(load(path, quotes=False)) == len(plain)


@pytest.mark.parametrize("content", CELLS_OVER_LINES)
def test_cells_over_lines_are_still_read(tmp_path, content):
    path = put(tmp_path, content, "in.tsv" if "\t" in content else "in.csv")
    rows, source = load(path), read_files.inspect(path)
    assert rows == load(path, quotes=True)
    assert rows == pd.read_csv(path, sep=source.delimiter, dtype=str).to_dict("records")


def test_corpora_and_scores_lose_no_row_to_a_quotation_mark(tmp_path, monkeypatch, corpus):
    (path,) = corpus.rglob("goemotions/**/test.tsv")
    lines = path.read_text("utf-8").split("\n")
    lines[0], lines[2] = '"' + lines[0].replace('"', ""), 'x"\t1\tid'
    lines[1] = lines[1].replace('"', "")
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError, match=r"test.tsv:1: .*the publisher's original file"):
        corpora.read("GoEmotions", "test", corpus)
    table = put(tmp_path, 'a,b\n1,"x\n2,y\n3,z"\n')
    with pytest.raises(DataError, match=r"in.csv:2: a quotation mark"):
        score_files.read_csv(table, ["a"])


def test_quotation_marks_after_a_backslash_are_an_option(tmp_path):
    path = put(tmp_path, 'text,id\n"a \\" b",1\n"c",2\n')
    with pytest.raises(DataError, match=r"in.csv:2: .*--backslash-quotes"):
        read_files.inspect(path)
    assert load(path, backslash_quotes=True)[0] == {"text": 'a " b', "id": "1"}


TEXT = "id,text\r\n1,déjà vu 🙂\r\n"
MARKED = {
    "utf-8": codecs.BOM_UTF8 + TEXT.encode(),
    "twice": 2 * codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "gzip": gzip.compress(TEXT.encode(), mtime=0),
    "gzip in parts": gzip.compress(TEXT[:9].encode()) + gzip.compress(TEXT[9:].encode()),
    "gzip, utf-16": gzip.compress(TEXT.encode("utf-16")),
}


@pytest.mark.parametrize("kind", MARKED)
def test_marks_and_first_bytes_say_how_a_file_is_read(tmp_path, kind):
    assert load(put(tmp_path, MARKED[kind])) == [{"id": "1", "text": "déjà vu 🙂"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text\nfine\nit’s\n".encode("cp1252"), r"in.csv:3: .*for example cp1252 .*'it’s'"),
        ("text\nfine 🙂\nx\n".encode() + b"b\xe9\n", r"in.csv:4: .*while the rest is: go on past"),
        ("text\nfine\n".encode("utf-16-be"), r"in.csv:1: .*for example utf-16-be"),
        (b"text\n" + b"fine\r\n" * 9000 + b"\xff\n", r"in.csv:9002: not utf-8 .byte 0xff"),
        (gzip.compress(b"text\nfine\n", mtime=0)[:-9], r"in.csv: cannot be read .*[Tt]runcated"),
        (b"\x1f\x8b no gzip", r"in.csv: cannot be read"),
    ],
)
def test_bytes_that_are_no_text_name_the_line_and_what_fits(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason):
        read_files.inspect(put(tmp_path, content))


def test_single_bad_bytes_are_replaced_and_counted_when_asked(tmp_path):
    path = put(tmp_path, "text\nfine 🙂\n".encode() + b"caf\xe9 \x92\n")
    source = read_files.inspect(path, encoding_errors="replace")
    assert source.replaced == 2
    (frame,) = read_files.read(source, 9)
    assert frame["text"].tolist() == ["fine 🙂", "caf\ufffd \ufffd"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("sep=;\nid;text\n1;fine\n", [{"id": "1", "text": "fine"}]),
        ("a,text,,\nx,fine,,\n", [{"a": "x", "text": "fine", "column_3": "", "column_4": ""}]),
        ("a,text\nx,fine,,\n", [{"a": "x", "text": "fine"}]),
        ("text\nfine\n\n\nbad\n", [{"text": each} for each in ("fine", "", "", "bad")]),
    ],
)
def test_spreadsheets_oddities_are_read(tmp_path, content, rows):
    assert load(put(tmp_path, content)) == rows


@pytest.mark.parametrize("content", ["id;text\n1;fine, really\n", "id;text\n1;fine\n"])
def test_other_delimiter_is_named(tmp_path, content):
    with pytest.raises(DataError, match="--delimiter ';'"):
        read_files.inspect(put(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "column", "format"),
    [
        ("id,body\n1,fine\n", "body", "csv"),
        ("ID\tTweet\n1\tfine\n", "Tweet", "tsv"),
        ("ID\tTweet\n1\tfine\n", "tweet", "tsv"),
        ('{"body": "fine"}\n', "body", "jsonl"),
        ("id,text\n1,fine\n", "text", "csv"),
    ],
)
def test_column_asked_for_is_not_ignored_where_lines_are_read(
    tmp_path, monkeypatch, content, column, format
):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    for source in ("-", put(tmp_path, content, "in.txt")):
        with pytest.raises(DataError, match=f"input-format {format} reads the columns"):
            judge(source, tmp_path / "out.csv", column)
    lines = load(tmp_path / "in.txt", column=column, format="lines")
    assert len(lines) == content.count("\n")


def test_input_is_never_replaced_whatever_its_spelling(tmp_path):
    path = put(tmp_path, "text\nfine\n")
    (tmp_path / "d").symlink_to(".")
    os.link(path, tmp_path / "hard.csv")
    torso = put(tmp_path, "text\nfine\n", "out.partial.csv")
    pairs = [(path, tmp_path / "d" / "in.csv"), (path, tmp_path / "hard.csv")]
    for source, target in [*pairs, (torso, tmp_path / "out.csv")]:
        with pytest.raises(DataError, match="input and output in one"):
            judge(source, target, overwrite=True)
    assert path.read_text() == torso.read_text() == "text\nfine\n"


def test_links_pipes_and_devices_are_no_outputs(tmp_path):
    path = put(tmp_path, "text\nfine\n")
    (tmp_path / "link.csv").symlink_to("else.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"a link to .*else.csv: name that"):
        judge(path, tmp_path / "link.csv", overwrite=True)
    for target in (tmp_path / "pipe.csv", Path("/dev/null")):
        with pytest.raises(DataError, match="a pipe or a device: take - for"):
            judge(path, target, overwrite=True, output_format="csv")
    with pytest.raises(DataError, match="a pipe or a device: pass it as standard"):
        judge(tmp_path / "pipe.csv", tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["x" * 260 + ".csv", "é" * 120 + ".csv", "a\udcff.csv", "a\0.csv"])
def test_names_that_files_cannot_have_are_refused(tmp_path, name):
    path = put(tmp_path, "text\nfine\n")
    for source, target in ((path, tmp_path / name), (tmp_path / name, tmp_path / "out.csv")):
        with pytest.raises(DataError, match=r"a name of \d+ bytes|not UTF-8"):
            judge(source, target)


@pytest.mark.parametrize(
    "texts",
    [pd.DataFrame({"text": ["a"]}), {"a": "b"}, None, 7, np.array("a"), pa.table({"a": [1]})],
)
def test_what_is_no_list_of_texts_is_one_error(texts):
    with pytest.raises(DataError, match="give a list of texts"):
        annotate(texts, "vader", progress=False)


@pytest.mark.parametrize(
    "texts",
    [
        pd.Series(["good", "bad"]),
        pd.Series(["good", "bad"], dtype="category"),
        np.array(["good", "bad"]),
        pa.array(["good", "bad"]),
        pa.chunked_array([["good"], ["bad"]]),
        [pa.scalar("good"), np.str_("bad")],
    ],
)
def test_texts_come_in_any_series(texts):
    found = annotate(texts, "vader", progress=False)
    assert found["valence"].tolist() == [0.7202, 0.2288] and found["text"][0] == "good"


def test_what_is_no_text_has_a_reason():
    given = [
        np.array(["a", "b"]),
        pa.scalar(None, "string"),
        pd.NaT,
        "\u200b\ufeff\u2060",
        "\ufe0f",
    ]
    found = annotate(given, "vader", progress=False)["reason"].tolist()
    assert found == ["not a text but ndarray", "no text", "no text", "empty text", "empty text"]


def test_settings_of_another_type_are_named():
    assert annotate(["good"], "vader", tasks="V-reg", progress=False)["valence"][0] == 0.7202
    for name, value in (("max_tokens", "5"), ("max_tokens", 2.5), ("coverage", "0.9")):
        with pytest.raises(DataError, match=f"{name} is .*, expected a (whole )?number"):
            annotate(["good"], "vader", progress=False, **{name: value})


def test_lexicon_reads_the_first_words_and_says_so():
    texts = ["good day " * 20_000, "good day " * 512, " a good day "]
    found = annotate(texts, "vader", progress=False, max_tokens=1024)
    assert found["reason"][0] == "cut: about 4607 of 180000 characters were read"
    assert found["reason"][1:].isna().all()
    assert found["valence"][0] == found["valence"][1]


def test_json_keeps_its_types_in_parquet(tmp_path):
    lines = '{"text": "a", "n": 1234567890123456789, "x": 1, "yes": true, "mixed": 1}\n'
    lines += '{"text": "b", "x": 0.5, "yes": false, "mixed": "1", "large": 99999999999999999999}\n'
    target = judge(put(tmp_path, lines, "in.jsonl"), tmp_path / "out.parquet", chunk=1)
    table = pq.read_table(target)
    kinds = [str(table.schema.field(name).type) for name in ("n", "x", "yes", "mixed", "large")]
    assert kinds == ["int64", "double", "bool", "large_string", "large_string"]
    assert table["n"].to_pylist() == [1234567890123456789, None]
    assert table["large"].to_pylist() == [None, "99999999999999999999"]


def test_repeated_key_is_refused_and_nothing_becomes_infinity(tmp_path):
    path = put(tmp_path, '{"text": "a"}\n{"text": "b", "in": {"k": 1, "k": 2}}\n', "in.jsonl")
    with pytest.raises(DataError, match=r"in.jsonl:2: no JSON .the key 'k' stands there twice"):
        read_files.inspect(path)
    path = put(tmp_path, '{"text": "a", "x": 1e400, "y": [-Infinity]}\n', "in.jsonl")
    out = judge(path, tmp_path / "out.jsonl").read_text()
    assert '"x": "1e400", "y": ["-Infinity"]' in out
    pq.write_table(pa.table({"text": ["a"], "x": [float("inf")]}), tmp_path / "in.parquet")
    assert '"x": "inf"' in judge(tmp_path / "in.parquet", tmp_path / "b.jsonl").read_text()
    assert files.parse_json('{"a": NaN, "b": 0.5}')["b"] == 0.5


def test_message_names_a_few_of_many_columns(tmp_path):
    path = put(tmp_path, ",".join(f"c{n}" for n in range(3000)) + "\n")
    with pytest.raises(DataError, match=r"c19 and 2,980 more") as error:
        read_files.inspect(path)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("dates", "reason"),
    [
        (["2024-01-05", "2024-01-07", "07/03/2024"], r"row 3: '07/03/2024'"),
        (["soon"], "row 1: 'soon'"),
    ],
)
def test_dates_of_several_forms_are_named(dates, reason):
    with pytest.raises(DataError, match=reason):
        text_plots.read_times(dates)


def test_dates_of_one_form_are_read():
    twitter = ["Wed Oct 10 20:19:24 +0000 2018", None]
    assert text_plots.read_times(twitter)[0] == pd.Timestamp("2018-10-10 20:19:24")
    zones = ["2024-01-05T10:00:00+01:00", "2024-07-05T10:00:00+02:00"]
    assert text_plots.read_times(zones)[1] == pd.Timestamp("2024-07-05 08:00:00")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("learning_rate: -1.0", "learning_rate is -1.0, expected a number above 0"),
        ("batch_size: 0", "batch_size is 0, expected a number above 0"),
        ("train_rows: -5", "train_rows is -5, expected 0 or more"),
        ("epochs: .nan", "epochs is nan, expected a number above 0"),
    ],
)
def test_parameters_out_of_range_stop_a_run(tmp_path, line, reason):
    with pytest.raises(DataError, match=reason):
        notebooks.run(put(tmp_path, line, "run.yaml"))


def test_missing_kernel_and_checkout_are_named(tmp_path, monkeypatch):
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    def fail(*_, **__):
        raise NoSuchKernel("python3")

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    monkeypatch.setattr(notebooks.files, "place", lambda path: tmp_path / path)
    run = put(tmp_path, "seed: 0", "run.yaml")
    with pytest.raises(DataError, match="start this in a checkout"):
        notebooks.run(run)
    monkeypatch.setattr(notebooks, "find_notebooks", lambda only=(): NOTEBOOKS)
    with pytest.raises(DataError, match="no kernel 'python3': python -m ipykernel"):
        notebooks.run(run)
    with pytest.raises(DataError, match="there are none: start this in a checkout"):
        notebooks.run(tmp_path / "sub" / "none.yaml")


NOTEBOOKS = notebooks.find_notebooks(["00", "01"])


@pytest.mark.parametrize(
    ("content", "text", "value"),
    [
        ([{"type": "text", "text": "0."}, {"type": "text", "text": "5"}], "0.5", 0.5),
        ("<think>it is 0.9, or", "<think>it is 0.9, or", None),
        ("<think>it is\n0.9?</think>\n0.5", "<think>it is\n0.9?</think>\n0.5", 0.5),
        ("so 0.9?</think>0.5", "so 0.9?</think>0.5", 0.5),
        (None, "", None),
    ],
)
def test_answers_in_parts_and_after_a_thought_are_read(content, text, value):
    assert api._read_content(content) == text
    assert parsing.parse("V-reg", text) == value


def test_rows_begin_where_they_say():
    rows = list(delimited.read_rows(["a,b\n", "\n", '"x\n', 'y",1\n', "z,2\n"], "f.csv"))
    assert rows == [(1, ["a", "b"]), (2, []), (3, ["x\ny", "1"]), (5, ["z", "2"])]


@pytest.mark.parametrize(
    "lines",
    [
        ['1,"so happy,pos', "2,nothing here,", '3,bye now",', "4,last one,neg"],
        ['1,"so happy,', "2,nothing here,pos", '3,bye now",neg', "4,last one,neg"],
    ],
)
def test_lone_quotation_mark_is_found_beside_empty_cells(tmp_path, lines):
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["id,text,label", *lines]) + "\n")
    with pytest.raises(DataError, match=r"in\.csv:2: a quotation mark"):
        read_files.inspect(path)


def test_what_lies_beside_the_output_is_not_replaced(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\nfine\n")
    for name in ("out.csv.codebook.json", "out.partial.csv"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(DataError, match="there already"):
            annotate_file.annotate_file(source, target, model="vader")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_folder_of_somebody_else_is_not_emptied(tmp_path):
    folder = tmp_path / "out.csv.run"
    folder.mkdir()
    (folder / "in.csv").write_text("text\nfine\n")
    files = annotate_file.Settings(overwrite=True)
    with pytest.raises(DataError, match="no run folder"):
        annotate_file.annotate_file(
            folder / "in.csv", tmp_path / "out.csv", model="vader", files=files
        )
    assert (folder / "in.csv").exists()


def test_byte_order_mark_goes_before_the_encoding_that_was_named(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes("\ufefftext\ncafé 😀\n".encode())
    source = read_files.inspect(path, encoding="cp1252")
    assert next(read_files.read(source, 5))["text"].tolist() == ["café 😀"]


def test_texts_in_subfolders_are_read(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "A.TXT").write_text("one")
    (tmp_path / "b" / "c.txt").write_text("two")
    (frame,) = read_files.read(read_files.inspect(tmp_path), 5)
    assert dict(zip(frame["file"], frame["text"], strict=True)) == {
        "A.TXT": "one",
        "b/c.txt": "two",
    }


def test_long_numbers_beside_fractions_keep_their_digits(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a", "n": 9007199254740993}\n{"text": "b", "n": 1.5}\n')
    target = annotate_file.annotate_file(path, tmp_path / "out.parquet", model="vader")
    assert pd.read_parquet(target)["n"].tolist() == ["9007199254740993", "1.5"]


@pytest.mark.parametrize("text", ["Maria Gonzalez", "My assistant: amazing", "hahahahahahaha omg"])
def test_ordinary_short_texts_get_no_note(text):
    assert notes.describe(text) is None
