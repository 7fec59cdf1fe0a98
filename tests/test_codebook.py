"""The codebook beside an annotated file."""

import json

import pandas as pd
import pytest
from test_annotate_file import annotate

from emolib.annotation import annotate_file
from emolib.annotation.columns import list_columns
from emolib.annotation.formats import codebook
from emolib.tasks import AAID

SETTINGS = {"tasks": list(AAID), "coverage": 0.9, "model": "smollm2-135m", "weights": "ab12"}
SETTINGS |= {"unit": "text", "aggregate": None, "output_columns": "wide", "text_column": "text"}
RECORD = {"made": "2026-01-02T03:04:05+00:00", "commit": None, "versions": {"emolib": "9"}}


def describe(**changes) -> pd.DataFrame:
    """The fields of a table with all columns, by name."""
    record = RECORD | {"settings": SETTINGS | changes}
    files = {name: record["settings"][name] for name in ("unit", "aggregate", "output_columns")}
    files = annotate_file.Settings(**files)
    values = list(list_columns(AAID, record["settings"]["coverage"]))
    names = ["id", *codebook.layouts.list_added(files, values)]
    table = pd.DataFrame({name: [1] for name in names})
    if "measure" in table:
        table["measure"] = "joy_intensity"
    return {field["name"]: field for field in codebook.list_fields(table, record)}


@pytest.mark.parametrize("unit", ["text", "sentence"])
@pytest.mark.parametrize("layout", ["wide", "long", "labels"])
@pytest.mark.parametrize("mean", [None, "mean"])
def test_every_column_of_every_layout_is_described(unit, layout, mean):
    found = describe(unit=unit, output_columns=layout, aggregate=mean and "mean", coverage=None)
    for name, field in found.items():
        assert {"name", "title", "type", "description", "made_by"} <= set(field), name
        assert field["description"] and field["made_by"]


@pytest.mark.parametrize(
    ("name", "kind", "limits"),
    [
        ("joy_intensity", "number", {"minimum": 0, "maximum": 1}),
        ("joy_intensity_low", "number", {"minimum": 0, "maximum": 1}),
        ("joy_class", "integer", {"enum": [0, 1, 2, 3]}),
        ("valence_class", "integer", {"enum": [-3, -2, -1, 0, 1, 2, 3]}),
        ("valence_confidence", "number", {"minimum": 0, "maximum": 1}),
        ("has_joy", "boolean", None),
        ("note", "string", None),
    ],
)
def test_column_has_its_type_and_range(name, kind, limits):
    field = describe()[name]
    assert (field["type"], field.get("constraints")) == (kind, limits)


def test_means_are_numbers_in_the_range_of_what_they_are_of():
    found = describe(unit="sentence", aggregate="mean", coverage=None)
    assert found["valence_class"]["constraints"] == {"minimum": -3, "maximum": 3}
    assert found["share_joy"]["type"] == "number"
    assert "share of the text's sentences" in found["share_joy"]["description"]


def test_maker_is_named_with_its_weights_version_and_date():
    found = describe()
    assert found["valence"]["made_by"] == "smollm2-135m, weights ab12, emolib 9, 2026-01-02"
    assert found["id"]["made_by"] == "the source" and found["id"]["type"] == "integer"


@pytest.mark.parametrize("wanted", ["csv", "parquet"])
def test_codebook_lies_beside_the_file_and_names_its_columns(tmp_path, wanted):
    (tmp_path / "in.csv").write_text("id,text\n1,good\n2,\n")
    target = annotate(tmp_path / "in.csv", tmp_path / f"out.{wanted}")
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[wanted]
    schema = json.loads((tmp_path / f"out.{wanted}.codebook.json").read_text())
    flat = pd.read_csv(f"{target}.codebook.csv")
    names = [field["name"] for field in schema["fields"]]
    assert names == flat["name"].tolist() == list(read(target))
    assert schema["missingValues"] == [""] and schema["made"]["settings"]["model"] == "vader"
    valence = flat.set_index("name").loc["valence"]
    assert (valence["minimum"], valence["maximum"], valence["type"]) == (0, 1, "number")


def test_equal_runs_give_equal_codebooks(tmp_path):
    (tmp_path / "in.csv").write_text("text\ngood\n")
    found = []
    for name in ("a.csv", "b.csv"):
        target = annotate(tmp_path / "in.csv", tmp_path / name)
        schema = json.loads((tmp_path / f"{target}.codebook.json").read_text())
        schema["made"].pop("made")
        found.append(schema)
    assert found[0] == found[1]


def test_file_without_rows_has_a_codebook(tmp_path):
    (tmp_path / "in.csv").write_text("text\n")
    for layout in ("wide", "long"):
        target = annotate(tmp_path / "in.csv", tmp_path / f"{layout}.csv", output_columns=layout)
        assert "text,string" in (tmp_path / f"{target}.codebook.csv").read_text()
