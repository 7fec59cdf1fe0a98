"""The rooms of emolib: who may import whom, how large they are, and their picture."""

import ast
import json
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "emolib"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
# Who may import whom; the modules at the top are free to all but `cli` and `notebooks`.
ALLOWED = {
    "data": "",
    "models": "data",
    "evaluation": "data",
    "inference": "models data",
    "training": "inference models evaluation data",
    "publishing": "models evaluation data",
    "baselines": "training inference models evaluation data",
    "annotation": "baselines inference models evaluation data",
    "report": "evaluation data",
    "app": "annotation report baselines inference models evaluation data",
}


def read_imports(path: Path) -> set[str]:
    """Rooms and top-level modules of emolib that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "emolib":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "")[:7] == "emolib.":
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {n.split(".")[1] for n in names if n.startswith("emolib.")}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_room_imports_only_the_rooms_it_may(room):
    wrong = {}
    for path in (PACKAGE / room).rglob("*.py"):
        rooms = read_imports(path) & set(ALLOWED) - {room, *ALLOWED[room].split()}
        if rooms | (read_imports(path) & {"cli", "notebooks"}):
            wrong[path.name] = rooms
    assert wrong == {}


@pytest.mark.parametrize("name", ["tasks", "files", "runs"])
def test_top_modules_import_no_room(name):
    assert not read_imports(PACKAGE / f"{name}.py") & {*ALLOWED, "cli", "notebooks"}


def test_every_room_is_in_the_list():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ALLOWED)


def test_no_room_has_more_than_ten_modules():
    folders = {path.parent for path in MODULES}
    sizes = {
        str(folder.relative_to(ROOT)): len(
            [p for p in folder.glob("*.py") if p.name not in ("__init__.py",)]
        )
        for folder in folders
    }
    assert {name: size for name, size in sizes.items() if size > 10} == {}


def test_library_is_thin():
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in MODULES)
    # 9,000 until issue 20: ratings, estimates, formats, sentences, codebooks, a page. 12,300 until
    # issue 18: profiles, their trainer, two benchmarks, readings. Stacked regression is to go.
    assert lines <= 13_150


def test_picture_names_every_module():
    picture = (PACKAGE / "README.md").read_text(encoding="utf-8")
    tree = picture.split("```")[1]
    names = [p.name for p in MODULES if p.name not in ("__init__.py", "__main__.py")]
    assert [name for name in names if name not in tree] == []
    shown = {word for word in tree.split() if word.endswith(".py")}
    assert shown <= {path.name for path in MODULES}


def test_readme_is_short_and_begins_with_its_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:20])
    assert all(command in first for command in ("git clone", "make demo", "emolib annotate"))


def test_readme_keeps_a_short_tree():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## What is where")[1].split("```")[1].strip()
    assert len(tree.splitlines()) <= 12 and "emolib/README.md" in text


def test_training_run_stands_in_the_cells_of_notebook_two():
    cells = json.loads((ROOT / "notebooks" / "02_finetune_qlora.ipynb").read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    names = ("BitsAndBytesConfig", "AutoModelForCausalLM", ".from_pretrained(", "LoraConfig(")
    names += ("print_trainable_parameters", "SFTConfig(", "SFTTrainer", "record.train(")
    assert [name for name in names if name not in code] == []
