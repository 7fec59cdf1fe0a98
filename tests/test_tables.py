"""Excel, SPSS and Stata files, compressed files and folders of texts, in and out."""

import gzip
import sys
from datetime import date, datetime
from types import SimpleNamespace

import openpyxl
import pandas as pd
import pyreadstat
import pytest

from emolib import DataError
from emolib.annotation import annotate_file
from emolib.annotation.formats import read_files, tables

LONG = "123456789012345678"
ROWS = {"id": [LONG, "0012"], "text": ["I love it", "so bad, é"], "mood": [1.0, 99.0]}
DATES = {"day": [date(2020, 1, 2), date(2021, 1, 3)]}
DATES["time"] = pd.to_datetime(["2020-01-02 10:11:12", None])
LABELS = {"column_labels": {"mood": "Your mood", "text": "Your answer"}}
LABELS["variable_value_labels"] = {"mood": {1: "good", 99: "no answer"}}
READ = {"sav": pyreadstat.read_sav, "dta": pyreadstat.read_dta}


def judge(source, target, **options):
    files = annotate_file.Settings(**{"progress": False, "chunk": 1} | options)
    return annotate_file.annotate_file(source, target, "text", "vader", files)


@pytest.fixture
def labelled(tmp_path):
    """A function: sav or dta -> a file with labels, dates and missing values."""
    frame = pd.DataFrame(ROWS | DATES)

    def make(format: str):
        path = tmp_path / f"in.{format}"
        if format == "sav":
            more = {"missing_ranges": {"mood": [99]}, "variable_measure": {"mood": "nominal"}}
            pyreadstat.write_sav(frame, path, file_label="Diaries", **LABELS, **more)
        else:
            pyreadstat.write_dta(frame, path, file_label="Diaries", **LABELS)
        return path

    return make


@pytest.mark.parametrize("given", READ)
@pytest.mark.parametrize("wanted", READ)
def test_labels_and_values_are_unchanged_between_spss_and_stata(labelled, tmp_path, given, wanted):
    target = judge(labelled(given), tmp_path / f"out.{wanted}")
    found, about = READ[wanted](target)
    assert found["id"].tolist() == ROWS["id"] and found["text"].tolist() == ROWS["text"]
    assert found["day"].tolist() == DATES["day"]
    assert found["time"][0] == DATES["time"][0] and pd.isna(found["time"][1])
    assert about.column_names_to_labels["mood"] == "Your mood"
    assert about.variable_value_labels == LABELS["variable_value_labels"]
    assert about.file_label == "Diaries"
    assert found["valence"].tolist() == [0.8184, 0.2076]


def test_missing_ranges_and_formats_of_spss_are_unchanged(labelled, tmp_path):
    path = labelled("sav")
    target = judge(path, tmp_path / "out.sav")
    _, before = pyreadstat.read_sav(path, user_missing=True)
    found, after = pyreadstat.read_sav(target, user_missing=True)
    assert found["mood"].tolist() == [1.0, 99.0] and after.missing_ranges == before.missing_ranges
    kept = {name: after.original_variable_types[name] for name in before.original_variable_types}
    assert kept == before.original_variable_types
    assert after.variable_measure["mood"] == "nominal"


@pytest.mark.parametrize("given", READ)
def test_labelled_values_come_as_stored_in_other_formats(labelled, tmp_path, given):
    judge(labelled(given), tmp_path / "out.csv")
    first = (tmp_path / "out.csv").read_text().splitlines()[1]
    assert first == f"{LONG},I love it,1.0,2020-01-02,2020-01-02 10:11:12,0.8184,,,"


@pytest.fixture
def workbook(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["nothing here"])
    sheet = book.create_sheet("Answers")
    sheet.append(["id", "text", "day", "n", "yes"])
    sheet.append([LONG, "I love it", datetime(2020, 1, 2), 5, True])
    sheet.append(["007", "=1+1 is bad", datetime(2020, 1, 3), None, False])
    sheet["B3"].data_type = "s"
    sheet.append([None] * 5)
    sheet.append(["9", "#N/A", None, 0.5, None])
    sheet["D9"].number_format = "0.00"  # formatted, and empty
    book.save(tmp_path / "in.xlsx")
    return tmp_path / "in.xlsx"


def read_workbook(path) -> list[list]:
    return [[cell.value for cell in row] for row in openpyxl.load_workbook(path).active]


def test_excel_stays_as_it_is(workbook, tmp_path):
    header, *rows = read_workbook(judge(workbook, tmp_path / "out.xlsx", sheet="Answers"))
    assert header[:7] == ["id", "text", "day", "n", "yes", "valence", "valence_confidence"]
    assert header[7:] == ["reason", "note"]
    assert rows[0] == [LONG, "I love it", datetime(2020, 1, 2), 5, True, 0.8184, None, None, None]
    assert rows[1][:5] == ["007", "=1+1 is bad", datetime(2020, 1, 3), None, False]
    assert rows[2] == [None] * 7 + ["no text", None] and rows[3][:4] == ["9", "#N/A", None, 0.5]
    assert len(rows) == 4


def test_excel_text_is_never_a_formula_and_can_be_escaped(workbook, tmp_path):
    target = judge(workbook, tmp_path / "out.xlsx", sheet="Answers")
    cells = openpyxl.load_workbook(target).active["B"]
    assert [cell.data_type for cell in cells] == ["s", "s", "s", "n", "s"]
    escaped = judge(workbook, tmp_path / "b.xlsx", sheet="Answers", escape_formulas=True)
    assert read_workbook(escaped)[2][1] == "'=1+1 is bad"


def test_excel_names_its_sheets_and_reads_the_first(workbook):
    with pytest.raises(DataError, match="no column 'text': there are nothing here"):
        read_files.inspect(workbook)
    with pytest.raises(DataError, match="no sheet 'Answer': there are Sheet, Answers"):
        read_files.inspect(workbook, sheet="Answer")


def test_excel_is_read_from_standard_input_too(workbook, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=workbook.open("rb")))
    target = judge("-", tmp_path / "out.csv", sheet="Answers", input_format="xlsx")
    assert len(pd.read_csv(target)) == 4
    with pytest.raises(DataError, match=r"a sheet of .xlsx was named, and this is csv"):
        read_files.inspect(target, sheet="Answers")


def test_formula_without_its_value_is_no_empty_text(tmp_path):
    book = openpyxl.Workbook()
    for row in (["text"], ["fine"], ['="a"&"b"']):
        book.active.append(row)
    book.save(tmp_path / "in.xlsx")
    with pytest.raises(DataError, match="row 3: a formula without its value: open the file"):
        read_files.inspect(tmp_path / "in.xlsx")


@pytest.mark.parametrize("wanted", ["xlsx", "sav", "dta"])
def test_whole_numbers_that_a_format_would_round_are_texts(tmp_path, wanted):
    (tmp_path / "in.jsonl").write_text(f'{{"text": "fine", "id": {LONG}, "n": 5}}\n')
    target = judge(tmp_path / "in.jsonl", tmp_path / f"out.{wanted}")
    if wanted == "xlsx":
        assert read_workbook(target)[1][:3] == ["fine", LONG, 5]
    else:
        assert READ[wanted](target)[0].values.tolist()[0][:3] == ["fine", LONG, 5]


NOT_HELD = {
    "space": ("Intensity Score", "a", "sav dta", "no name for a column"),
    "long name": ("v" * 33, "a", "dta", "no name for a column"),
    "word of SPSS": ("with", "a", "sav dta", "no name for a column"),
    "alike": ("Text", "a", "sav", "no name for a column"),
    "long text": ("x", "b" * 32_768, "sav xlsx", "row 2 .* column 'x': a text of 32,768"),
    "control": ("x", "a\x08b", "xlsx", r"row 2 .* column 'x': .*x08' does not fit"),
    "null": ("x", "a\x00b", "sav dta xlsx", r"column 'x': .*x00' does not fit"),
}


@pytest.mark.parametrize("case", NOT_HELD)
def test_what_a_format_cannot_hold_is_refused_before_any_work(tmp_path, monkeypatch, case):
    name, value, formats, reason = NOT_HELD[case]
    (tmp_path / "in.csv").write_text(f"text,{name}\ngood,a\ngood,{value}\n")
    monkeypatch.setattr(annotate_file._Job, "_annotate", None)
    for format in formats.split():
        with pytest.raises(DataError, match=reason):
            judge(tmp_path / "in.csv", tmp_path / f"out.{format}")
        assert not (tmp_path / f"out.{format}").exists()


def test_rows_beyond_excel_are_refused(monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 3)
    frames = [pd.DataFrame({"text": ["a"]})] * 3
    with pytest.raises(DataError, match=r"4 rows with the header .* Excel takes 3"):
        tables.check("out.xlsx", "xlsx", ["text"], frames)


@pytest.mark.parametrize("format", ["xlsx", "sav", "dta"])
def test_what_is_no_table_is_one_error(tmp_path, format):
    for content in (b"", b"PK\x03\x04 torn", b"text\nfine\n"):
        (tmp_path / f"in.{format}").write_bytes(content)
        with pytest.raises(DataError, match=rf"in.{format}: not readable as .{format}"):
            read_files.inspect(tmp_path / f"in.{format}")


@pytest.mark.parametrize("format", ["xlsx", "sav"])
def test_missing_package_is_named(workbook, labelled, monkeypatch, format):
    def refuse(name, *given):
        raise ImportError(f"No module named {name}")

    path = workbook if format == "xlsx" else labelled("sav")
    monkeypatch.setattr(tables, "import_module", refuse)
    with pytest.raises(DataError, match=r"not installed .*pip install 'emolib\[tables\]'"):
        read_files.inspect(path)


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_compressed_files_come_and_go(tmp_path, format, ending):
    (tmp_path / "in.csv").write_text("text,id\nI love it,007\nso bad,8\n")
    straight = judge(tmp_path / "in.csv", tmp_path / f"out.{format}")
    packed = judge(tmp_path / "in.csv", tmp_path / f"packed.{format}.{ending}")
    assert packed.read_bytes()[:2] in (b"\x1f\x8b", b"\x28\xb5")
    again = [f.to_dict("records") for f in read_files.read(read_files.inspect(packed), 9)]
    assert again == [f.to_dict("records") for f in read_files.read(read_files.inspect(straight), 9)]
    if ending == "gz":
        assert gzip.decompress(packed.read_bytes()) == straight.read_bytes()


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.xlsx.zst"])
def test_what_is_compressed_in_itself_is_not_packed_again(tmp_path, name):
    (tmp_path / "in.csv").write_text("text\nfine\n")
    with pytest.raises(DataError, match=r"takes no \.(gz|zst)"):
        judge(tmp_path / "in.csv", tmp_path / name)


def test_folder_of_texts_is_a_row_per_file(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("so bad\n")
    (folder / "a.txt").write_bytes("I love it\n\nindeed, é".encode("utf-16"))
    (folder / "notes.md").write_text("no text")
    target = judge(folder, tmp_path / "out.csv")
    found = pd.read_csv(target)
    assert found["file"].tolist() == ["a.txt", "b.txt"]
    assert found["text"].tolist() == ["I love it\n\nindeed, é", "so bad"]
    (folder / "b.txt").write_text("so sad\n")
    with pytest.raises(DataError, match="input was"):
        judge(folder, target, resume=True)


@pytest.mark.parametrize("format", ["xlsx", "sav", "dta", "csv.gz"])
def test_file_without_rows_gives_one_without_rows(tmp_path, format):
    (tmp_path / "in.csv").write_text("id,text\n")
    source = read_files.inspect(judge(tmp_path / "in.csv", tmp_path / f"out.{format}"))
    assert source.rows == 0
    assert source.columns == ("id", "text", "valence", "valence_confidence", "reason", "note")
