"""The command line: every command of `emolib`."""

import inspect
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Literal, get_origin

import typer
from typer import Argument, Option

from emolib import DataError, __version__, notebooks, runs
from emolib.annotation.settings import DEFAULT_MODEL, FileSettings, ModelSettings

_ABOUT = "Reads affect from text: intensities, valence, emotions; and makes what does."
_LOOKS = {"pretty_exceptions_enable": False, "rich_markup_mode": "markdown", "help": _ABOUT}
app = typer.Typer(no_args_is_help=True, add_completion=False, **_LOOKS)
_INPUT = (
    "CSV, TSV, JSONL, Parquet, Excel, SPSS (.sav), Stata (.dta) or .txt (a text per line), .gz or"
)
_INPUT += " .zst too; or a folder of .txt files; - is standard input, by default lines"
_OUTPUT = "any of these with columns, by its ending; - is standard output"
_MODEL = "a run, an adapter or model folder, a Hub id, a .gguf; or vader, textblob: valence alone"
_RANGE = "the scale of ratings: anger=1:7, or words from the lowest: anger=none,some,much"
_FIT = "fits scales, cut points and thresholds to the ratings; keeps them in calibration.json"
_DONE = "{rows_judged} of them annotated in {seconds:.0f} s ({rows_per_second:.1f} rows/s), peak"
_DONE += " memory {peak_memory_mb} MB"
_WHAT = Argument(help="builder: the code that builds AAID")
RunFile = Annotated[Path, Argument(metavar="RUN.yaml", help="a run file")]
Numbers = Annotated[list[str] | None, Option(help="a notebook's number, 02")]
Run = Annotated[str, Argument(metavar="RUN", help="a run, an adapter or its name")]
Folder = Annotated[Path, Argument(metavar="FOLDER", help="what is made")]
Merged = Annotated[Path, Argument(metavar="FOLDER", help="a model, see merge")]
Gguf = Annotated[Path, Argument(metavar="FILE.gguf")]
Kind = Annotated[str, Option(help="f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, ...")]
Converter = Annotated[str | None, Option(help="convert_hf_to_gguf.py, if not make llamacpp's")]
Dtype = Annotated[str, Option(help="float16, bfloat16 or float32")]


def _command(function):
    """A command: prints what it returns; a DataError is one line of error and exit code 1."""

    @wraps(function)
    def call(*given, **named):
        try:
            result = function(*given, **named)
        except DataError as error:
            typer.echo(f"emolib {function.__name__.strip('_')}: {error}", err=True)
            raise typer.Exit(1) from None
        if result is not None:
            typer.echo(result)

    return app.command(function.__name__.strip("_"))(call)


def _add_settings(command):
    """Gives a command in the place of **settings all settings that are options."""
    option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    found = list(inspect.signature(command).parameters.values())[:-1]
    for each in fields(FileSettings) + fields(ModelSettings):
        if get_origin(each.type) is Annotated:
            found.append(option(each.name, default=each.default, annotation=each.type))
    command.__signature__ = inspect.Signature(found)
    command.__annotations__ = {each.name: each.annotation for each in found}
    return command


@_command
def version():
    """Prints emolib's version."""
    return __version__


@_command
@_add_settings
def annotate(
    source: Annotated[str, Argument(metavar="INPUT", help=_INPUT)],
    target: Annotated[str, Argument(metavar="OUTPUT", help=_OUTPUT)],
    text_column: Annotated[str, Option(help="that holds the texts")] = "text",
    model: Annotated[str, Option(help=_MODEL)] = DEFAULT_MODEL,
    **settings,
):
    """Annotates every text of a file: four intensities, valence, eleven emotions.

    OUTPUT has INPUT's rows and columns in their order, and after them anger_intensity (0 to 1),
    anger_class (0 to 3) and so on, valence (0 to 1), valence_class (-3 to 3), has_anger and so on
    (true or false), each with a _confidence (0 to 1), then reason, which says why a text could not
    be annotated, and note, which says what the model was not made for: a text that does not look
    English, a URL alone, and so on. Equal texts are computed once. Beside it OUTPUT.codebook.csv
    and .json say what each column is; OUTPUT.run holds the record of the run, and the finished
    rows until the end.

    Long texts are read whole with --unit sentence --aggregate mean.

    Stop it at any moment (Ctrl-C leaves OUTPUT's finished rows under a name with .partial in it)
    and call it again with --resume.

    Example: emolib annotate tweets.csv judged.parquet --text-column body --resume
    """
    if target == "-":
        settings["output_format"] = settings["output_format"] or "csv"
    files = FileSettings(**{each.name: settings.pop(each.name) for each in fields(FileSettings)})
    try:
        _annotate(source, target, text_column, model, files, **settings)
    except KeyboardInterrupt:
        kept = "finished rows kept: the same command with --resume goes on"
        lost = "nothing kept: that takes a file as OUTPUT"
        typer.echo(f"\nStopped, {lost if target == '-' else kept}.", err=True)
        raise typer.Exit(130) from None  # what a shell expects after Ctrl-C


def _annotate(source: str, target: str, *given, **settings) -> None:
    """Standard output holds the table alone: all else goes to the error stream."""
    from emolib.annotation import annotate_file
    from emolib.annotation.notes import summarize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stdout") if target == "-" else Path(target)
        with redirect_stdout(sys.stderr):
            annotate_file.annotate_file(source, path, *given, **settings)
        found = runs.read(f"{path}.run")
        if replaced := found["settings"].get("replaced"):
            typer.echo(f"{source}: {replaced} bad bytes are now U+FFFD", err=True)
        if target == "-":
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            return
    typer.echo(f"{path}: {found['settings']['rows']} rows, {_DONE.format(**found)}", err=True)
    unit = "text" if found["settings"]["aggregate"] else found["settings"]["unit"]
    if notes := summarize(found["notes"], found["units"], unit):
        typer.echo(notes, err=True)


@_command
@_add_settings
def validate(
    source: Annotated[str, Argument(metavar="INPUT", help="a file of texts and ratings of them")],
    folder: Annotated[str, Argument(metavar="FOLDER", help="for the report")],
    gold: Annotated[list[str], Option(help="anger=my_anger; several raters: anger=r1,r2")],
    range: Annotated[list[str] | None, Option(help=_RANGE)] = None,
    text_column: Annotated[str, Option(help="that holds the texts")] = "text",
    model: Annotated[str, Option(help=_MODEL)] = DEFAULT_MODEL,
    fit: Annotated[
        bool, Option("--fit", help="and keep what was fitted as calibration.json")
    ] = False,
    **settings,
):
    """Compares annotations with people's ratings, and writes a report: HTML, Markdown, CSV.

    Texts that are not annotated yet are annotated first. --gold names a column of the annotations,
    or an emotion or valence, and the column of INPUT that holds the ratings; repeat it for more.
    Each figure has a 95 % interval; a paragraph for the methods section stands in the report. With
    --fit scales, cut points and thresholds are fitted to the ratings, and measured on texts that
    they were not fitted to: emolib annotate --calibration FOLDER/calibration.json takes them.

    Example: emolib validate coded.csv report/ --text-column body --gold anger=my_anger --range
    anger=1:7 --gold joy=has_joy
    """
    from emolib.annotation import validate as validating
    from emolib.annotation.validation import fitting, ratings
    from emolib.report import style, validation_report

    files = FileSettings(**{each.name: settings.pop(each.name) for each in fields(FileSettings)})
    pairs = ratings.read_options(gold, "--gold"), ratings.read_options(range or [], "--range")
    about = {"text_column": text_column, "model": model, "fit": fit, "files": files}
    found = validating.validate_file(source, folder, *pairs, **about, **settings)
    style.set_style()
    path = validation_report.write(found, folder)
    kept = Path(folder, "calibration.json")
    kept.unlink(missing_ok=True)  # of an earlier call
    if fit:
        fitting.write(kept, found.fits, **found.about)
    return "\n".join([*found.notes, validation_report.describe(found), f"Report: {path}"])


@_command
def sample(
    source: Annotated[str, Argument(metavar="INPUT", help="a file of texts")],
    target: Annotated[str, Argument(metavar="OUTPUT", help="the rows to rate")],
    n: Annotated[int, Option(help="how many rows")] = 300,
    strata: Annotated[str | None, Option(help="a column: as many rows of each value")] = None,
    text_column: Annotated[str, Option(help="that holds the texts")] = "text",
    seed: Annotated[int, Option(help="another one draws other rows")] = 0,
):
    """Draws rows at random for people to rate, and keeps their probabilities.

    Fill in a column of ratings, and give the file to emolib validate; or correct estimates with it,
    see notebook 10 (emolib.annotation.estimate). Do not choose rows by hand instead.

    Example: emolib sample tweets.csv to_rate.csv --n 300 --strata party
    """
    import pandas as pd

    from emolib.annotation.formats import read_files, write_files
    from emolib.annotation.validation import sampling

    if Path(target).exists():
        raise DataError(f"{target}: there already: take another name, or remove it")
    format = read_files.find_format(target)
    rows = read_files.read(read_files.inspect(source, text_column), 10_000)
    drawn = sampling.sample(pd.concat(rows, ignore_index=True), n, strata, seed)
    write_files.write([drawn], target, format)
    return f"{target}: {len(drawn)} rows to rate"


@_command
def _app(
    model: Annotated[str, Option(help=_MODEL)] = DEFAULT_MODEL,
    port: Annotated[int, Option(help="0: one that is free")] = 0,
    browser: Annotated[bool, Option(" /--no-browser", help="only print the address")] = True,
):
    """Opens a page in the browser: annotate a sentence or a file without programming.

    It runs on this machine, for this machine alone; nothing leaves it.
    """
    from emolib.app import serve

    serve.serve(model, port, browser)


@_command
def train(file: RunFile):
    """Fine-tunes as notebook 2 does with this run file, without its pictures.

    For several GPUs: accelerate launch --config_file notebooks/runs/accelerate/fsdp_qlora.yaml -m
    emolib train RUN.yaml
    """
    return notebooks.train(file)


@_command
def run(file: RunFile, only: Numbers = None):
    """Executes the notebooks with this run file's parameters.

    Example: emolib run notebooks/runs/sample.yaml --only 02 --only 03
    """
    return notebooks.report(notebooks.run(file, only or ()), file)


@_command
def export(run: Run, folder: Folder):
    """Writes what is needed to use a run's adapter, its weights in float16."""
    from emolib.publishing import export as exporting

    return exporting.export(run, folder)


@_command
def merge(run: Run, folder: Folder, dtype: Dtype = "float16"):
    """Writes an adapter and its base as one model, in 16 or 32 bits."""
    from emolib.publishing import gguf

    return gguf.merge(run, folder, dtype)


@_command
def convert(folder: Merged, target: Gguf, kind: Kind = "q8_0", converter: Converter = None):
    """Writes a model as a GGUF file for llama.cpp, in as few bits as wanted."""
    from emolib.publishing import gguf

    return gguf.convert(folder, target, kind, converter)


@_command
def push(
    what: Annotated[Literal["adapter", "model", "builder"], _WHAT],
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
):
    """Writes what a Hub repository would hold, card and licences included; may send it.

    Example: emolib push adapter me/my-emo out/ --run runs/mine/finetune --data official
    """
    from emolib.publishing import hub

    about = {"data": data, "data_license": data_license, "base": base, "dtype": dtype}
    about |= {"base_license": base_license, "scores": scores, "scored": scored}
    sending = {"dry_run": not upload, "private": not public}
    if what == "builder":
        return hub.push_builder(repo, folder, **sending)
    if run is None:
        raise DataError(f"--run: name the run whose {what} is meant")
    write = hub.push_model if what == "model" else hub.push_adapter
    return write(run, repo, folder, **about, **sending)


main = app  # the program `emolib`
