"""A static gate on the notebooks and run files; nbval executes them apart from this."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from emolib import DataError, notebooks
from emolib.data import aaid

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNS = sorted((ROOT / "notebooks" / "runs").glob("*.yaml"))
RUNS += sorted((ROOT / "notebooks" / "runs" / "ablation").glob("*.yaml"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_run = pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)


def read_cells(path: Path, kind: str | None = None) -> list[dict]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def get_source(cell: dict) -> str:
    return "".join(cell["source"])


def test_notebooks_are_numbered_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(12)]


@each_notebook
def test_notebook_begins_with_title_badge_and_facts(path):
    first = get_source(read_cells(path)[0])
    assert first.startswith(f"# {int(path.name[:2])}. ")
    assert "colab-badge.svg" in first
    facts = ("**Question.**", "**Reads.**", "**Writes.**", "**Time and hardware.**")
    assert [fact for fact in facts if fact not in first] == []


@each_notebook
def test_notebook_has_one_parameters_cell_with_typed_literals(path):
    cells = read_cells(path, "code")
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = get_source(tagged[0]).splitlines()
    assert all(": " in line and " = " in line and "  # " in line for line in lines)
    known = notebooks.read_parameters(path)
    assert len(known) == len(lines)
    assert all(isinstance(v, str | int | float | bool) for _, v in known.values())


@each_notebook
def test_notebook_checks_its_parameters_and_skips_colab(path):
    cells = read_cells(path, "code")
    skipped = [c for c in cells if "nbval-skip" in c["metadata"].get("tags", [])]
    assert [c for c in skipped if '"google.colab" in sys.modules' in get_source(c)]
    assert any("notebooks.check(globals()" in get_source(cell) for cell in cells)


@each_notebook
def test_notebook_stays_readable(path):
    cells, code = read_cells(path), read_cells(path, "code")
    assert len(cells) <= 60
    long = [c for c in code if get_source(c).count("\n") >= 20]
    # The parameters are a table, a line each.
    assert [c["id"] for c in long if "parameters" not in c["metadata"].get("tags", [])] == []
    told = sum(
        before["cell_type"] == "markdown"
        for before, cell in itertools.pairwise(cells)
        if cell["cell_type"] == "code"
    )
    assert told >= 0.8 * len(code)


@each_notebook
def test_notebook_has_three_exercises_with_folded_solutions(path):
    solutions = [c for c in read_cells(path, "code") if "solution" in c["metadata"].get("tags", [])]
    assert len(solutions) == 3
    assert all(cell["metadata"]["jupyter"]["source_hidden"] for cell in solutions)
    (asked,) = [
        get_source(c) for c in read_cells(path, "markdown") if "## Exercises" in get_source(c)
    ]
    assert [line[:3] for line in asked.splitlines() if line[:2] in ("1.", "2.", "3.")] == [
        "1. ",
        "2. ",
        "3. ",
    ]


@each_notebook
def test_install_cell_can_be_run_again_and_asks_for_a_gpu_where_one_helps(path):
    (cell,) = [c for c in read_cells(path) if "nbval-skip" in c["metadata"].get("tags", [])]
    source = get_source(cell)
    assert "os.path.isdir" in source and "os.chdir" in source and "%cd" not in source
    assert ("torchao" in source) == ("[train" in source)
    kept = json.loads(path.read_text())["metadata"]
    assert ("accelerator" in kept) == (path.name[:2] in ("02", "09"))


def read_outputs(cell: dict) -> str:
    """All that a cell shows as text, tables without their styles."""
    shown = []
    for out in cell.get("outputs", []):
        data = out.get("data", {})
        shown += [out.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
        shown += [data.get("text/markdown", "")]
    text = " ".join(part if isinstance(part, str) else "".join(part) for part in shown)
    return re.sub(r"<[^>]*>", " ", re.sub(r"<style.*?</style>", "", text, flags=re.S))


NO_PROSE = r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+"


def find_numbers(text: str) -> list[str]:
    """Decimals, and whole numbers from 1,000 on that are no years."""
    found = re.findall(r"(?<![\w.,/-])\d{1,3}(?:,\d{3})+(?![\d,])|\d+\.\d+|\d{4,}", text)
    plain = [number.replace(",", "") for number in found]
    return [n for n in plain if "." in n or not 1900 <= int(n) <= 2100]


@each_notebook
def test_numbers_in_the_text_stand_in_an_output_above_it(path):
    """Or in its code; a cell's metadata says where numbers from elsewhere come from.

    The first cell says what is read and how long it takes; exercises ask for numbers.
    """
    above, missing = set(), []
    for cell in read_cells(path)[1:]:
        if cell["cell_type"] == "code":
            above |= set(find_numbers(get_source(cell) + " " + read_outputs(cell)))
            continue
        told = get_source(cell).partition("## Exercises")[0]
        text = re.sub(NO_PROSE, "", told, flags=re.S)
        elsewhere = cell["metadata"].get("elsewhere", {})
        assert all(elsewhere.values()), "a number from elsewhere without its source"
        for number in find_numbers(text):
            digits = len(number.partition(".")[2])
            near = {f"{float(each):.{digits}f}" for each in above}
            if number not in near and number not in elsewhere:
                missing.append((cell["id"], number))
    assert missing == []


@each_notebook
def test_tables_fit_on_a_screen(path):
    for cell in read_cells(path, "code"):
        for out in cell["outputs"]:
            html = "".join(out.get("data", {}).get("text/html", ""))
            rows = html.partition("<tbody>")[2].count("<tr")
            assert rows <= 20, f"{cell['id']}: {rows} rows"
        text = read_outputs(cell)
        if "solution" not in cell["metadata"].get("tags", []):
            assert not re.search(r"(?<![\d.])-0\.0+(?!\d)", text), f"{cell['id']}: -0.00"


@each_notebook
def test_notebook_is_committed_with_clean_outputs(path):
    code = read_cells(path, "code")
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    kinds = {out["output_type"] for cell in code for out in cell["outputs"]}
    assert "error" not in kinds and len(kinds) > 1
    assert "widgets" not in json.loads(path.read_text())["metadata"]
    text = path.read_text()
    assert "/root/" not in text and "/work/" not in text and "/home/" not in text


@each_notebook
def test_defaults_are_the_small_run(path):
    known = notebooks.read_parameters(path)
    sample = yaml.safe_load((ROOT / "notebooks/runs/sample.yaml").read_text())
    same = {name: known[name][1] for name in sample if name in known}
    assert same == {name: sample[name] for name in same}


@each_run
def test_run_file_keys_and_types_exist(path):
    known = notebooks._read_types(NOTEBOOKS)
    notebooks.validate(yaml.safe_load(path.read_text()), known, str(path))


@each_run
def test_run_file_names_passes_that_exist(path):
    given = yaml.safe_load(path.read_text())
    aaid.read_passes(given.get("passes", ""))


def test_parameters_shared_by_notebooks_have_one_type():
    kinds: dict[str, set] = {}
    for path in NOTEBOOKS:
        for name, (kind, _) in notebooks.read_parameters(path).items():
            kinds.setdefault(name, set()).add(kind)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no_such: 1", "no parameter 'no_such'"),
        ("train_rows: many", "train_rows is 'many', expected int"),
        ("learning_rate: 2e-4", "YAML wants a dot"),
        ("activation_checkpointing: 1", "expected bool"),
        ("train_rows: true", "expected int"),
        ("- a list", "expected lines of the form"),
    ],
)
def test_run_stops_before_it_starts(tmp_path, line, message):
    (tmp_path / "bad.yaml").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        notebooks.run(tmp_path / "bad.yaml")


def test_run_names_the_run_files_there_are():
    with pytest.raises(DataError, match="semeval_cpu"):
        notebooks.run(ROOT / "notebooks" / "runs" / "nothing.yaml")


@pytest.mark.parametrize(
    ("line", "message"), [("seeed = 1", "no parameter 'seeed'"), ("seed = '1'", "int")]
)
def test_notebook_stops_on_what_papermill_injects(line, message):
    namespace = {"__annotations__": {"seed": int}, "In": ["", f"# Parameters\n{line}\n"]}
    with pytest.raises(DataError, match=message):
        notebooks.check(namespace)


def test_notebook_lets_parameters_of_its_neighbours_through():
    source = "# Parameters\nseed = 1\nlora_rank = 8\n"
    notebooks.check({"__annotations__": {"seed": int}, "In": ["", source]})


def test_solutions_are_left_out_of_a_run(tmp_path):
    notebooks._drop_solutions(NOTEBOOKS[3], tmp_path / "copy.ipynb")
    tags = [cell["metadata"].get("tags", []) for cell in read_cells(tmp_path / "copy.ipynb")]
    assert ["parameters"] in tags and ["solution"] not in tags
    assert len(read_cells(NOTEBOOKS[3])) == len(tags) + 3


@pytest.mark.slow
def test_papermill_stops_at_an_unknown_parameter(tmp_path):
    import papermill

    with pytest.raises(papermill.PapermillExecutionError, match="seeed"):
        papermill.execute_notebook(
            NOTEBOOKS[0], tmp_path / "out.ipynb", {"seeed": 1}, kernel_name="python3",
            progress_bar=False,
        )  # fmt: skip
