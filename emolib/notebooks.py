"""Runs the notebooks with a run file's parameters, through papermill.

papermill itself only warns of a parameter that a notebook does not know, and passes any
type. Here both stop a run: before it starts (`run`), and in the notebook (`check`) for
those who call papermill themselves.

    python -m emolib.notebooks notebooks/runs/sample.yaml
"""

import argparse
import ast
import json
import os
import posixpath
import reprlib
from pathlib import Path

import yaml

from emolib import DataError, files

_WRITTEN = ("out", "figures", "name")  # parameters that say where things are written
_TYPES = {"int": int, "float": float | int, "str": str, "bool": bool}


def read_parameters(notebook: str | Path) -> dict[str, tuple[str, object]]:
    """Name -> (type's name, default) of a notebook's cell tagged `parameters`."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if "parameters" in cell["metadata"].get("tags", []):
            body = ast.parse("".join(cell["source"])).body
            return {
                node.target.id: (ast.unparse(node.annotation), _evaluate(node.value))
                for node in body
                if isinstance(node, ast.AnnAssign)
            }
    raise DataError(f"{notebook}: no cell tagged parameters")


def check(namespace: dict) -> None:
    """Stops a notebook that papermill gave a parameter it has not, or of another type.

    Call it with `globals()` after the parameters cell. Parameters of the notebooks
    beside it are let through, as one run file serves them all.
    """
    given = {}
    for source in namespace.get("In", []):
        if source.startswith("# Parameters"):
            given |= {
                node.targets[0].id: _evaluate(node.value)
                for node in ast.parse(source).body
                if isinstance(node, ast.Assign)
            }
    own = namespace.get("__annotations__", {})
    known = {name: getattr(kind, "__name__", str(kind)) for name, kind in own.items()}
    beside = {} if given.keys() <= known.keys() else _read_all(find_notebooks())
    _validate(given, beside | known, "this notebook")


def find_notebooks(folder: str | Path = "notebooks") -> list[Path]:
    """The numbered notebooks, in order."""
    return sorted(files.place(folder).glob("[0-9][0-9]_*.ipynb"))


def run(file: str | Path, only: list[str] | None = None) -> list[Path]:
    """Executes the notebooks with the parameters in a YAML file; the executed copies.

    `only`: numbers of notebooks ("02"), else all. The copies lie under runs/NAME/, NAME
    being the file's. DataError, before anything runs, names a parameter that no
    notebook has or that is of another type.
    """
    import papermill

    file = Path(file)
    given = read_run(file)
    if os.environ.get("EMOLIB_DATA"):
        os.environ["EMOLIB_DATA"] = os.path.abspath(os.environ["EMOLIB_DATA"])
    notebooks = find_notebooks()
    chosen = [path for path in notebooks if not only or path.name[:2] in only]
    target = files.place("runs") / file.stem / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    done = []
    for path in chosen:
        print(f"{path.name} ...", flush=True)
        own = {key: given[key] for key in read_parameters(path) if key in given}
        papermill.execute_notebook(
            path, target / path.name, own, kernel_name="python3", progress_bar=False,
            cwd=str(files.place(".")),
        )  # fmt: skip
        done.append(target / path.name)
    return done


def refresh(only: list[str] | None = None) -> None:
    """Executes the committed notebooks in place, for committing them with outputs.

    What goes to the error stream (progress bars, kernel notices) is not kept.
    """
    import nbformat
    from nbclient import NotebookClient

    for path in find_notebooks():
        if only and path.name[:2] not in only:
            continue
        print(f"{path.name} ...", flush=True)
        notebook = nbformat.read(path, as_version=4)
        place = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, kernel_name="python3", resources=place).execute()
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                kept = [o for o in cell.outputs if o.get("name") != "stderr"]
                cell.outputs = kept
        with files.replacing(path) as temporary:
            nbformat.write(notebook, temporary)


def read_run(file: str | Path, **changes) -> dict:
    """A run file's parameters, but for `changes`.

    DataError for one that no notebook has, or of another type.
    """
    file = Path(file)
    given = _read_yaml(file) | changes
    _validate(given, _read_all(find_notebooks()), str(file))
    return given


def _read_yaml(file: Path) -> dict:
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        others = ", ".join(sorted(p.stem for p in file.parent.glob("*.yaml")))
        raise DataError(f"{file}: no such run file (there are: {others})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable YAML: {error}") from None
    if not isinstance(given, dict):
        raise DataError(f"{file}: expected lines of the form parameter: value")
    return given


def _read_all(notebooks: list[Path]) -> dict[str, str]:
    """Type's name of every parameter that any of the notebooks has."""
    return {
        name: kind
        for path in notebooks
        for name, (kind, _) in read_parameters(path).items()
    }


def _validate(given: dict, known: dict[str, str], where: str) -> None:
    for name, value in given.items():
        if name not in known:
            raise DataError(
                f"{where}: no parameter {name!r}: there are {', '.join(sorted(known))}"
            )
        kind = known[name]
        if not isinstance(value, _TYPES[kind]) or (
            isinstance(value, bool) and kind != "bool"
        ):
            hint = " (YAML wants a dot in it: 2.0e-4)" if kind == "float" else ""
            raise DataError(
                f"{where}: parameter {name} is {reprlib.repr(value):.200}, expected"
                f" {kind}{hint}"
            )
        if name in _WRITTEN:
            _check_place(name, value, where)


def _check_place(name: str, value: str, where: str) -> None:
    """A run file writes where it says, and a relative place lies in the checkout."""
    plain = value.replace("\\", "/")
    if name == "name" and "/" in plain:
        raise DataError(f"{where}: parameter name is {value!r}, expected no / or \\")
    if posixpath.normpath(plain).split("/")[0] == "..":
        raise DataError(
            f"{where}: parameter {name} is {value!r}, which leads out of the checkout"
        )


def _evaluate(node: ast.expr):
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def main() -> None:
    """The command line: `python -m emolib.notebooks RUN.yaml [--only 02 03]`."""
    parser = argparse.ArgumentParser(prog="emolib.notebooks", description=run.__doc__)
    parser.add_argument(
        "file",
        help="a run file, such as notebooks/runs/sample.yaml; or the word `refresh`:"
        " execute the committed notebooks in place",
    )
    parser.add_argument("--only", nargs="+", metavar="NN", help="only these notebooks")
    options = parser.parse_args()
    if options.file == "refresh":
        return refresh(options.only)
    try:
        done = run(options.file, options.only)
    except DataError as error:
        raise SystemExit(f"emolib.notebooks: {error}") from None
    _report(done, _read_yaml(Path(options.file)))


def _report(done: list[Path], given: dict) -> None:
    """Prints where the notebooks, the scores and the figures are."""
    import pandas as pd

    figures = files.place(given.get("figures", "runs/sample/figures"))
    print("\nNotebooks, executed:", *done, sep="\n  ")
    name = given.get("name", "sample")
    scores = figures / "data" / f"{name}_scores.csv"
    if scores.is_file():
        table = pd.read_csv(scores)
        table = table[~table["metric"].str.contains(r"\.")]
        columns = ["model", "task", "metric", "value", "low", "high", "n", "unparsed"]
        print(f"\nScores ({scores}):\n{table[columns].round(3).to_string(index=False)}")
        if given.get("data", "sample") == "sample":
            print("Bundled sample: these scores say nothing about a model's quality.")
    found = sorted(figures.glob(f"{name}_*.png"))
    print("\nFigures (each also as .svg):", *found, sep="\n  ")


if __name__ == "__main__":
    main()
