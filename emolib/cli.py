"""The command line: `emolib annotate`, and what `commands` adds."""

import sys
import tempfile
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from emolib import DataError, __version__, commands

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
_INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C stopped


class Format(StrEnum):
    """`read_files.FORMATS`, as choices."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"
    lines = "lines"


@app.callback()
def _describe() -> None:
    """Reads affect from text: intensities, valence, emotions; and makes what does."""


@app.command()
def version() -> None:
    """Prints emolib's version."""
    print(__version__)


@app.command()
def annotate(
    source: Annotated[
        str,
        Argument(
            metavar="INPUT",
            help="CSV, TSV, JSONL, Parquet or .txt (a text per line); - is standard"
            " input, a text per line unless --input-format says otherwise",
        ),
    ],
    target: Annotated[
        str,
        Argument(
            metavar="OUTPUT",
            help="CSV, TSV, JSONL or Parquet, by its ending; - is standard output",
        ),
    ],
    text_column: Annotated[
        str, Option(help="the column that holds the texts")
    ] = "text",
    model: Annotated[
        str | None,
        Option(
            help="a fine-tuning run, an adapter or model folder, a Hub id, a .gguf"
            " file; or vader or textblob, which judge valence alone and need no model",
            show_default="the one that emolib brings",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        Option(
            help="EI-reg, EI-oc, V-reg, V-oc or E-c; repeat it for more",
            show_default="all that the model can judge",
        ),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="go on where a killed run stopped")
    ] = False,
    overwrite: Annotated[
        bool, Option("--overwrite", help="start anew over what is there")
    ] = False,
    chunk: Annotated[
        int, Option(help="rows between two savings: what a kill can cost")
    ] = 512,
    max_tokens: Annotated[
        int,
        Option(help="of a text; what comes after is not read, and `reason` says so"),
    ] = 512,
    coverage: Annotated[
        float | None,
        Option(
            help="adds an interval to every score, for this share of texts:"
            " 0.8, 0.9 or 0.95",
            show_default="no intervals",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        Option(
            help="float32, bfloat16 (faster where the machine has it) or float16",
            show_default="as the device likes it",
        ),
    ] = None,
    quantization: Annotated[str | None, Option(help="nf4 or int8")] = None,
    backend: Annotated[
        str,
        Option(help="transformers; or llama.cpp, which keeps a .gguf file quantized"),
    ] = "transformers",
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1")] = "auto",
    form: Annotated[
        str | None,
        Option(
            help="of the prompts: paper, plain or chat",
            show_default="the one that the adapter was trained on, else paper",
        ),
    ] = None,
    input_format: Annotated[
        Format | None, Option(help="if the ending does not say it")
    ] = None,
    output_format: Annotated[
        Format | None, Option(help="if the ending does not say it", show_default="csv")
    ] = None,
    encoding: Annotated[str, Option(help="of the input")] = "utf-8",
    delimiter: Annotated[
        str | None, Option(help="of a CSV", show_default="comma, tab for TSV")
    ] = None,
    plain_quotes: Annotated[
        bool,
        Option("--plain-quotes", help="quotation marks in a CSV are part of the text"),
    ] = False,
    escape_formulas: Annotated[
        bool,
        Option(
            "--escape-formulas",
            help="for CSVs that a spreadsheet opens: an apostrophe before cells that"
            " begin like a formula (= + - @)",
        ),
    ] = False,
    quiet: Annotated[bool, Option("--quiet", help="no progress bar")] = False,
) -> None:
    """Judges every text of a file: four intensities, valence, eleven emotions.

    OUTPUT has INPUT's rows and columns in their order, and after them anger_intensity
    (0 to 1), anger_class (0 to 3) and so on, valence (0 to 1), valence_class (-3 to 3),
    has_anger and so on (true or false), each with a _confidence (0 to 1), and reason,
    which says why a text could not be judged. Equal texts are judged once. OUTPUT.run
    beside it holds the record of the run, and the finished rows until the end.

    Stop it at any moment (Ctrl-C leaves OUTPUT's finished rows under a name with
    .partial in it) and call it again with --resume.

    Example: emolib annotate tweets.csv judged.parquet --text-column body --resume
    """
    from emolib.annotation import annotate as judging
    from emolib.annotation import annotate_file

    files = annotate_file.Settings(
        chunk=chunk,
        resume=resume,
        overwrite=overwrite,
        input_format=input_format,
        output_format=output_format or ("csv" if target == "-" else None),
        encoding=encoding,
        delimiter=delimiter,
        quotes=not plain_quotes,
        escape_formulas=escape_formulas,
        progress=not quiet,
    )
    options = {
        "tasks": tuple(task) if task else None,
        "max_tokens": max_tokens,
        "coverage": coverage,
        "dtype": dtype,
        "quantization": quantization,
        "backend": backend,
        "device": device,
        "form": form,
    }
    asked = (source, target, text_column, model or judging.DEFAULT, files)
    try:
        _run(asked, options)
    except DataError as error:
        typer.echo(f"emolib annotate: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        kept = "finished rows kept: the same command with --resume goes on"
        if target == "-":
            kept = "nothing kept: that takes a file as OUTPUT"
        typer.echo(f"\nStopped, {kept}.", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _run(asked: tuple, options: dict) -> None:
    """Runs it; what is said on the way goes to the error stream."""
    from emolib import runs
    from emolib.annotation import annotate_file

    source, target, *rest = asked
    if target != "-":
        with redirect_stdout(sys.stderr):
            path = annotate_file.annotate_file(source, target, *rest, **options)
        found = runs.read(path.with_name(f"{path.name}.run"))
        typer.echo(
            f"{path}: {found['settings']['rows']} rows, {found['rows_judged']} of them"
            f" judged in {found['seconds']:.0f} s"
            f" ({found['rows_per_second']:.1f} rows/s), peak memory"
            f" {found['peak_memory_mb']} MB",
            err=True,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "stdout")
        with redirect_stdout(sys.stderr):
            annotate_file.annotate_file(source, inside, *rest, **options)
        with inside.open("rb") as file:
            while block := file.read(2**20):
                sys.stdout.buffer.write(block)


commands.add_to(app)


def main() -> None:
    """The program `emolib`."""
    app()


if __name__ == "__main__":
    main()
