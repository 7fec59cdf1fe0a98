"""Runs the notebooks with a run file's parameters, which are checked first.

papermill only warns of a parameter that a notebook does not know, and passes any type. Here both
stop a run: before it starts (`run`, `train`), and in the notebook (`check`).
"""

import ast
import json
import os
import posixpath
import reprlib
import time
from collections.abc import Collection
from contextlib import suppress
from math import inf
from pathlib import Path

import yaml

from emolib import DataError, files

_WRITTEN = ("out", "figures", "name")  # parameters that say where things are written
_CHECKOUT = "start this in a checkout of the project"
_TYPES = {"int": int, "float": float | int, "str": str, "bool": bool}
_ABOVE_ZERO = ("epochs", "learning_rate", "max_length", "batch_size", "micro_batch_size")
_ABOVE_ZERO += ("lora_alpha", "eval_steps", "patience", "encoder_epochs", "encoder_learning_rate")
_NOT_NEGATIVE = ("seed", "train_rows", "validation_rows", "lora_rank", "lora_dropout", "shots")
_NOT_NEGATIVE += ("regression_weight", "items_per_group", "worst", "bars", "marks", "frames")
_NOT_NEGATIVE += ("held_out", "weight_average", "absence_weight")
LEFT_OUT = ("nbval-skip", "look", "solution")  # tags of cells that `train` leaves out


def find_notebooks(only: Collection[str] = ()) -> list[Path]:
    """The notebooks, in order, or those of some numbers ("02"); DataError if there are none."""
    folder = files.place("notebooks")
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    found = [path for path in found if not only or path.name[:2] in only]
    if not found:
        which = (
            f"no notebooks {' '.join(only)} in {folder}" if only else f"no notebooks in {folder}"
        )
        raise DataError(f"{which}: {_CHECKOUT}, with numbers of its notebooks")
    return found


def read_parameters(notebook: str | Path) -> dict[str, tuple[str, object]]:
    """Name -> (type's name, default) of a notebook's cell tagged `parameters`."""
    import papermill

    found = papermill.inspect_notebook(str(notebook))
    if not found:
        raise DataError(f"{notebook}: no cell tagged parameters")
    return {n: (x["inferred_type_name"], ast.literal_eval(x["default"])) for n, x in found.items()}


def read_run(file: str | Path, **changes) -> dict:
    """A run file's parameters, with `changes` in the place of some.

    DataError for one that no notebook has, or of another type.
    """
    file = Path(file)
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(sorted(p.stem for p in file.parent.glob("*.yaml")))
        there = f"there are: {known}" if known else f"there are none: {_CHECKOUT}"
        raise DataError(f"{file}: no such run file ({there})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable YAML: {error}") from None
    if not isinstance(given, dict):
        raise DataError(f"{file}: expected lines of the form parameter: value")
    given |= changes
    validate(given, _read_types(find_notebooks()), str(file))
    return given


def check(namespace: dict, **choices: tuple) -> None:
    """Stops a notebook that papermill gave a parameter it has not, or of another type.

    Call it with `globals()` after the parameters cell; `choices`: the values that a parameter may
    have. Those of the notebooks beside it are let through, as one run file serves them all.
    """
    for name, allowed in choices.items():
        if namespace[name] not in allowed:
            raise DataError(f"{name} {namespace[name]!r}: expected one of {str(allowed)[1:-1]}")
    cells = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters")]
    lines = [node for cell in cells for node in ast.parse(cell).body]
    given = {n.targets[0].id: _evaluate(n.value) for n in lines if isinstance(n, ast.Assign)}
    own = namespace.get("__annotations__", {})
    known = {name: getattr(kind, "__name__", str(kind)) for name, kind in own.items()}
    beside = {}
    if not given.keys() <= known.keys():
        with suppress(DataError):  # a copy of this notebook alone
            beside = _read_types(find_notebooks())
    validate(given, beside | known, "this notebook")


def validate(given: dict, known: dict[str, str], where: str) -> None:
    """DataError for a parameter not in `known` (name -> type), wrong, or leading elsewhere."""
    for name, value in given.items():
        if name not in known:
            raise DataError(f"{where}: no parameter {name!r}: there are {', '.join(sorted(known))}")
        kind, problem = known[name], ""
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
            problem = f"expected {kind}" + " (YAML wants a dot: 2.0e-4)" * (kind == "float")
        elif name in _ABOVE_ZERO and not 0 < value < inf:
            problem = "expected a number above 0"
        elif name in _NOT_NEGATIVE and not 0 <= value < inf:
            problem = "expected 0 or more"
        elif name == "name" and set(value) & {"/", "\\"}:
            problem = "expected no / or \\"
        elif name in _WRITTEN:
            place = posixpath.normpath(value.replace("\\", "/"))
            problem = "which leads out of the checkout" if f"{place}/".startswith("../") else ""
        if problem:
            raise DataError(f"{where}: parameter {name} is {reprlib.repr(value):.200}, {problem}")


def run(file: str | Path, only: Collection[str] = ()) -> list[Path]:
    """Executes the notebooks with the parameters in a YAML file; the executed copies.

    `only`: numbers of notebooks ("02"), else all. The copies lie under runs/NAME/, NAME being the
    file's. Prints the time of each. DataError as of `read_run`, before anything runs.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    file, given = Path(file), read_run(file)
    if os.environ.get("EMOLIB_DATA"):
        os.environ["EMOLIB_DATA"] = os.path.abspath(os.environ["EMOLIB_DATA"])
    target = files.place("runs") / file.stem / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    done = []
    options = {"kernel_name": "python3", "progress_bar": False, "cwd": str(files.place("."))}
    for path in find_notebooks(only):
        print(f"{path.name} ...", end=" ", flush=True)
        started = time.perf_counter()
        own = {name: given[name] for name in read_parameters(path) if name in given}
        try:
            _drop_solutions(path, target / path.name)
            papermill.execute_notebook(target / path.name, target / path.name, own, **options)
        except NoSuchKernel as error:
            hint = "python -m ipykernel install --user --name python3"
            raise DataError(f"Jupyter finds no kernel {error.name!r}: {hint}") from None
        print(f"{time.perf_counter() - started:.0f} s", flush=True)
        done.append(target / path.name)
    return done


def train(file: str | Path, **changes) -> Path:
    """The run folder of a run file's training: notebook 2's own cells, without Jupyter.

    For launchers that start several processes: `accelerate launch -m emolib train RUN.yaml`.
    `changes` are parameters in the place of the file's. Cells with the tag `look` are left out.
    """
    (notebook,) = find_notebooks(["02"])
    given = read_run(file, **changes)
    own = {name: given[name] for name in read_parameters(notebook) if name in given}
    return run_cells(notebook, own)["run"]


def run_cells(notebook: str | Path, given: dict, without: Collection[str] = LEFT_OUT) -> dict:
    """The namespace after a notebook's code cells were run in this process.

    `given` replaces names after the parameters cell; cells with a tag in `without` are left out.
    """
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    namespace: dict = {"__name__": "__main__", "__annotations__": {}}
    for number, cell in enumerate(cells):
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] != "code" or set(tags) & set(without):
            continue
        name = f"{Path(notebook).name}, cell {number}"
        exec(compile("".join(cell["source"]), name, "exec"), namespace)
        if "parameters" in tags:
            namespace |= given
    return namespace


def report(done: list[Path], file: str | Path) -> str:
    """Where a run's notebooks and figures are, and at most fifteen of its scores."""
    import pandas as pd

    given = read_run(file)
    figures = files.place(given.get("figures", "runs/sample/figures"))
    scores = figures / "data" / f"{given.get('name', 'sample')}_scores.csv"
    lines = [f"\nNotebooks, executed: {done[0].parent}", f"Figures: {figures}"]
    if scores.is_file():
        table = pd.read_csv(scores).loc[lambda t: ~t["metric"].str.contains(".", regex=False)]
        wide = table.pivot_table("value", ["task", "metric"], "model", sort=False)
        lines += [f"Scores ({scores}):", wide.head(13).round(2).to_string(na_rep="-")]
        if given.get("data") == "sample":
            lines.append("Bundled sample: they say nothing about a model's quality.")
    return "\n".join(lines)


def _drop_solutions(source: Path, target: Path) -> None:
    """A copy without the exercises' solutions, which hold for the committed parameters."""
    notebook = json.loads(source.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    notebook["cells"] = [c for c in cells if "solution" not in c["metadata"].get("tags", [])]
    with files.replacing(target) as temporary:
        temporary.write_text(json.dumps(notebook), encoding="utf-8")


def _read_types(notebooks: list[Path]) -> dict[str, str]:
    return {name: kind for path in notebooks for name, (kind, _) in read_parameters(path).items()}


def _evaluate(node: ast.expr):
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
