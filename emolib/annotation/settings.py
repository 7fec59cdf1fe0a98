"""Settings of annotating; those with an `Option` are options of the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from typer import Option

DEFAULT_MODEL = "emo-smollm2-135m"
Format = Literal["csv", "tsv", "jsonl", "parquet", "lines"]


def _off(name: str, help: str):
    """The option that switches off what is on."""
    return Option(f" /{name}", help=help, show_default=False)


@dataclass(frozen=True)
class ModelSettings:
    """How texts are annotated. tokens_per_batch moves the last digits at most."""

    tasks: Annotated[
        list[str] | None,
        Option(
            "--task",
            help="EI-reg, EI-oc, V-reg, V-oc or E-c; repeat it for more, leave it out"
            " for all that the model can predict",
        ),
    ] = None
    max_tokens: Annotated[
        int, Option(help="of a text; what comes after is not read, see `reason`")
    ] = 512
    coverage: Annotated[
        float | None, Option(help="of intervals around scores: 0.8, 0.9 or 0.95 of all texts")
    ] = None
    dtype: Annotated[
        str | None,
        Option(
            help="float32, bfloat16 (faster where the machine has it) or float16; if"
            " left out the device decides"
        ),
    ] = None
    quantization: Annotated[str | None, Option(help="nf4 or int8")] = None
    adapter: str | None = None  # see models.load
    backend: Annotated[str, Option(help="or llama.cpp, which keeps a .gguf file quantized")] = (
        "transformers"
    )
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1")] = "auto"
    form: Annotated[
        str | None,
        Option(
            help="of the prompts: paper, plain or chat; if left out the one that the"
            " adapter was trained on, else paper"
        ),
    ] = None
    tokens_per_batch: int = 2048
    progress: bool = True


@dataclass(frozen=True)
class FileSettings:
    """How a file is read, worked through and written; `chunk` can move last digits."""

    resume: Annotated[bool, Option("--resume", help="go on where a killed run stopped")] = False
    overwrite: Annotated[bool, Option("--overwrite", help="start anew over what is there")] = False
    chunk: Annotated[int, Option(help="rows between two savings: what a kill can cost")] = 512
    input_format: Annotated[Format | None, Option(help="if the ending does not say it")] = None
    output_format: Annotated[
        Format | None, Option(help="if the ending does not say it; else csv for -")
    ] = None
    encoding: Annotated[str, Option(help="of the input")] = "utf-8"
    delimiter: Annotated[
        str | None, Option(help="of a CSV; if left out a comma, a tab for TSV")
    ] = None
    quotes: Annotated[
        bool, _off("--plain-quotes", "quotation marks in a CSV are part of the text")
    ] = True
    escape_formulas: Annotated[
        bool,
        Option(
            "--escape-formulas",
            help="for CSVs that a spreadsheet opens: an apostrophe before cells that"
            " begin like a formula (= + - @)",
        ),
    ] = False
    progress: Annotated[bool, _off("--quiet", "no progress bar")] = True
