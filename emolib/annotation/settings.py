"""Settings of annotating; those with an `Option` are options of the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from typer import Option

DEFAULT_MODEL = "emo-smollm2-135m-profile"
Format = Literal["csv", "tsv", "jsonl", "parquet", "lines", "xlsx", "sav", "dta"]

Unit = Literal["text", "sentence"]
Layout = Literal["wide", "long", "labels"]

_TASKS = "EI-reg, EI-oc, V-reg, V-oc or E-c; repeat it for more, leave it out for all"
_DTYPE = "float32, bfloat16 (faster where the machine has it), float16; else the device decides"
_FORM = "of the prompts: paper, plain, chat, profile; else what the model was trained on, or paper"
_FITS = "a JSON file of `emolib validate --fit`: scales, cut points and thresholds of your own"
_FORMULAS = "for spreadsheets: an apostrophe before cells that begin like a formula (= + - @)"
_UNIT = "one row per text, or per English sentence with sentence, text_row and sentence_number"
_MEAN = "of sentences, back to a row per text: mean, as means of scores and shares of labels"
_LAYOUT = "wide: a column per value; long: a row per text and value; labels: one column of labels"
_LONGEST = "of a text (words, for a lexicon); the rest is not read, see `reason`"
_BYTES = "of the input: strict refuses bad bytes, replace makes them U+FFFD and says how many"
_QUOTES = "a CSV's quotation marks quote, also over lines, or are text; else doubt is refused"
_BACKSLASH = "in a CSV's quoted cells `\\\"` is a quotation mark, as Spark writes it"


def _explain(help: str, *names: str):
    """An option; " /--name" switches off what is on."""
    return Option(*names, help=help, show_default=not any("/" in name for name in names))


@dataclass(frozen=True)
class ModelSettings:
    """How texts are annotated. tokens_per_batch moves the last digits at most."""

    tasks: Annotated[list[str] | None, _explain(_TASKS, "--task")] = None
    max_tokens: Annotated[int, _explain(_LONGEST)] = 512
    coverage: Annotated[float | None, _explain("of scores' intervals: 0.8, 0.9 or 0.95")] = None
    calibration: Annotated[str | None, _explain(_FITS)] = None
    dtype: Annotated[str | None, _explain(_DTYPE)] = None
    quantization: Annotated[str | None, _explain("nf4 or int8")] = None
    adapter: str | None = None  # see models.load
    backend: Annotated[str, _explain("or llama.cpp, for quantized .gguf files")] = "transformers"
    device: Annotated[str, _explain("auto, cpu, cuda, cuda:1")] = "auto"
    form: Annotated[str | None, _explain(_FORM)] = None
    tokens_per_batch: int = 2048
    progress: bool = True


@dataclass(frozen=True)
class FileSettings:
    """How a file is read, worked through and written; `chunk` can move last digits."""

    resume: Annotated[bool, _explain("go on where a killed run stopped", "--resume")] = False
    overwrite: Annotated[bool, _explain("start anew over what is there", "--overwrite")] = False
    chunk: Annotated[int, _explain("rows between two savings: what a kill can cost")] = 512
    input_format: Annotated[Format | None, _explain("if the ending does not say it")] = None
    output_format: Annotated[Format | None, _explain("if the ending does not; csv for -")] = None
    sheet: Annotated[str | None, _explain("of an .xlsx to read; else its first")] = None
    encoding: Annotated[str, _explain("of the input, if no byte-order mark says it")] = "utf-8"
    encoding_errors: Annotated[Literal["strict", "replace"], _explain(_BYTES)] = "strict"
    delimiter: Annotated[str | None, _explain("of a CSV; else a comma, a tab for TSV")] = None
    quotes: Annotated[bool | None, _explain(_QUOTES, "--quotes/--plain-quotes")] = None
    backslash_quotes: Annotated[bool, _explain(_BACKSLASH, "--backslash-quotes")] = False
    unit: Annotated[Unit, _explain(_UNIT)] = "text"
    aggregate: Annotated[Literal["mean"] | None, _explain(_MEAN)] = None
    output_columns: Annotated[Layout, _explain(_LAYOUT)] = "wide"
    escape_formulas: Annotated[bool, _explain(_FORMULAS, "--escape-formulas")] = False
    progress: Annotated[bool, _explain("no progress bar", " /--quiet")] = True


# The settings that say how a file is read, for `read_files.inspect`.
READING = ("encoding", "encoding_errors", "delimiter", "quotes", "backslash_quotes", "sheet")
