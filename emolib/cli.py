"""The command line: every command of `emolib`."""

import inspect
import shutil
import sys
import tempfile
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_origin, get_type_hints

import typer
from typer import Argument, Option

from emolib import DataError, __version__
from emolib.annotation.settings import DEFAULT_MODEL, FileSettings, ModelSettings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
_INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C stopped
_INPUT = (
    "CSV, TSV, JSONL, Parquet or .txt (a text per line); - is standard input, a text"
    " per line unless --input-format says otherwise"
)
_OUTPUT = "CSV, TSV, JSONL or Parquet, by its ending; - is standard output"
_MODEL = (
    "a fine-tuning run, an adapter or model folder, a Hub id, a .gguf file; or vader or"
    " textblob, which predict valence alone and need no model"
)
_DTYPE = Option(help="float16, bfloat16 or float32")
RunFile = Annotated[Path, Argument(metavar="RUN.yaml", help="a run file")]
Run = Annotated[str, Argument(metavar="RUN", help="a run, an adapter or its name")]
Folder = Annotated[Path, Argument(metavar="FOLDER", help="what is made")]


@app.callback()
def _describe() -> None:
    """Reads affect from text: intensities, valence, emotions; and makes what does."""


@contextmanager
def _report_errors(command: str):
    """A DataError as one line on the error stream and exit code 1."""
    try:
        yield
    except DataError as error:
        typer.echo(f"emolib {command}: {error}", err=True)
        raise typer.Exit(1) from None


def _add_settings(*kinds: type):
    """Gives a command in the place of **settings all settings that are options."""
    option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)

    def add(command):
        found = list(inspect.signature(command).parameters.values())[:-1]
        for kind in kinds:
            types = get_type_hints(kind, include_extras=True)
            found += [
                option(field.name, default=field.default, annotation=types[field.name])
                for field in fields(kind)
                if get_origin(types[field.name]) is Annotated
            ]
        command.__signature__ = inspect.Signature(found)
        command.__annotations__ = {each.name: each.annotation for each in found}
        return command

    return add


@app.command()
def version() -> None:
    """Prints emolib's version."""
    print(__version__)


@app.command()
@_add_settings(FileSettings, ModelSettings)
def annotate(
    source: Annotated[str, Argument(metavar="INPUT", help=_INPUT)],
    target: Annotated[str, Argument(metavar="OUTPUT", help=_OUTPUT)],
    text_column: Annotated[str, Option(help="that holds the texts")] = "text",
    model: Annotated[str, Option(help=_MODEL)] = DEFAULT_MODEL,
    **settings,
) -> None:
    """Annotates every text of a file: four intensities, valence, eleven emotions.

    OUTPUT has INPUT's rows and columns in their order, and after them anger_intensity (0 to 1),
    anger_class (0 to 3) and so on, valence (0 to 1), valence_class (-3 to 3), has_anger and so on
    (true or false), each with a _confidence (0 to 1), and reason, which says why a text could not
    be annotated. Equal texts are computed once. Beside it OUTPUT.run holds the record of the run,
    and the finished rows until the end.

    Stop it at any moment (Ctrl-C leaves OUTPUT's finished rows under a name with .partial in it)
    and call it again with --resume.

    Example: emolib annotate tweets.csv judged.parquet --text-column body --resume
    """
    if target == "-":
        settings["output_format"] = settings["output_format"] or "csv"
    names = [field.name for field in fields(FileSettings)]
    files = FileSettings(**{name: settings.pop(name) for name in names})
    try:
        with _report_errors("annotate"):
            _annotate(source, target, text_column, model, files, **settings)
    except KeyboardInterrupt:
        kept = "finished rows kept: the same command with --resume goes on"
        if target == "-":
            kept = "nothing kept: that takes a file as OUTPUT"
        typer.echo(f"\nStopped, {kept}.", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _annotate(source: str, target: str, *given, **settings) -> None:
    """Standard output holds the table alone: all else goes to the error stream."""
    from emolib import runs
    from emolib.annotation import annotate_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stdout") if target == "-" else Path(target)
        with redirect_stdout(sys.stderr):
            annotate_file.annotate_file(source, path, *given, **settings)
        if target == "-":
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            return
    found = runs.read(f"{path}.run")
    typer.echo(
        f"{path}: {found['settings']['rows']} rows, {found['rows_judged']} of them"
        f" annotated in {found['seconds']:.0f} s"
        f" ({found['rows_per_second']:.1f} rows/s), peak memory"
        f" {found['peak_memory_mb']} MB",
        err=True,
    )


@app.command()
def train(file: RunFile) -> None:
    """Fine-tunes as notebook 2 does with this run file, without its pictures.

    For several GPUs: accelerate launch --config_file notebooks/runs/accelerate/fsdp_qlora.yaml -m
    emolib train RUN.yaml
    """
    from emolib import notebooks

    with _report_errors("train"):
        typer.echo(notebooks.train(file))


@app.command()
def run(
    file: RunFile, only: Annotated[list[str] | None, Option(help="a notebook's number, 02")] = None
) -> None:
    """Executes the notebooks with this run file's parameters.

    Example: emolib run notebooks/runs/sample.yaml --only 02 --only 03
    """
    from emolib import notebooks

    with _report_errors("run"):
        done = notebooks.run(file, only or ())
        typer.echo(notebooks.report(done, file))


@app.command()
def export(
    run: Run,
    folder: Folder,
    mean_with: Annotated[list[str] | None, Option(help="runs to average with")] = None,
) -> None:
    """Writes what is needed to use a run's adapter, its weights in float16."""
    from emolib.publishing import export as exporting

    with _report_errors("export"):
        typer.echo(exporting.export(run, folder, mean_with or ()))


@app.command()
def merge(run: Run, folder: Folder, dtype: Annotated[str, _DTYPE] = "float16") -> None:
    """Writes an adapter and its base as one model, in 16 or 32 bits."""
    from emolib.publishing import gguf

    with _report_errors("merge"):
        typer.echo(gguf.merge(run, folder, dtype))


@app.command()
def convert(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="a model, see merge")],
    target: Annotated[Path, Argument(metavar="FILE.gguf")],
    kind: Annotated[
        str, Option(help="f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, ...")
    ] = "q8_0",
    converter: Annotated[
        str | None, Option(help="convert_hf_to_gguf.py, if not from make llamacpp")
    ] = None,
) -> None:
    """Writes a model as a GGUF file for llama.cpp, in as few bits as wanted."""
    from emolib.publishing import gguf

    with _report_errors("convert"):
        typer.echo(gguf.convert(folder, target, kind, converter))


@app.command()
def push(
    what: Annotated[
        Literal["adapter", "model", "builder"], Argument(help="builder: the code that builds AAID")
    ],
    repo: Annotated[str, Argument(metavar="ORG/NAME")],
    folder: Folder,
    run: Annotated[str | None, Option(help="of an adapter or model: its run")] = None,
    data: Annotated[str | None, Option(help="official, sample or a Hub id")] = None,
    data_license: Annotated[str | None, Option(help="of another corpus")] = None,
    base: Annotated[str | None, Option(help="the base model's Hub id")] = None,
    base_license: Annotated[str | None, Option(help="where emolib has none")] = None,
    scores: Annotated[Path | None, Option(help="notebook 3's NAME_scores.csv")] = None,
    scored: Annotated[str, Option(help="the row's name in that file")] = "tuned",
    dtype: Annotated[str, Option(help="of a model: bfloat16 or float16")] = "bfloat16",
    upload: Annotated[bool, Option("--upload", help="else nothing is sent")] = False,
    public: Annotated[bool, Option("--public", help="else private")] = False,
) -> None:
    """Writes what a Hub repository would hold, card and licences included; may send it.

    Example: emolib push adapter me/my-emo out/ --run runs/mine/finetune --data official
    """
    from emolib.publishing import hub

    about = {"data": data, "data_license": data_license, "base": base, "dtype": dtype}
    about |= {"base_license": base_license, "scores": scores, "scored": scored}
    sending = {"dry_run": not upload, "private": not public}
    with _report_errors("push"):
        if what == "builder":
            typer.echo(hub.push_builder(repo, folder, **sending))
            return
        if run is None:
            raise DataError(f"--run: name the run whose {what} is meant")
        write = hub.push_model if what == "model" else hub.push_adapter
        typer.echo(write(run, repo, folder, **about, **sending))


def main() -> None:
    """The program `emolib`."""
    app()
