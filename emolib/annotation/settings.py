"""Settings of annotating; those with a help text are options of the command line.

Nothing heavy is imported here: the command line reads this file for its help.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

DEFAULT_MODEL = "emo-smollm2-135m"
Format = Literal["csv", "tsv", "jsonl", "parquet", "lines"]
_ENDING = "if the ending does not say it"


@dataclass(frozen=True)
class ModelSettings:
    """How texts are annotated. tokens_per_batch moves the last digits at most."""

    tasks: Annotated[
        tuple[str, ...] | None,
        "EI-reg, EI-oc, V-reg, V-oc or E-c; repeat it for more, leave it out for all"
        " that the model can predict",
    ] = None
    max_tokens: Annotated[
        int, "of a text; what comes after is not read, and `reason` says so"
    ] = 512
    coverage: Annotated[
        float | None,
        "adds an interval to every score, for this share of texts: 0.8, 0.9 or 0.95",
    ] = None
    dtype: Annotated[
        str | None,
        "float32, bfloat16 (faster where the machine has it) or float16; if left out"
        " the device decides",
    ] = None
    quantization: Annotated[str | None, "nf4 or int8"] = None
    adapter: str | None = None  # see models.load
    backend: Annotated[
        str, "transformers; or llama.cpp, which keeps a .gguf file quantized"
    ] = "transformers"
    device: Annotated[str, "auto, cpu, cuda, cuda:1"] = "auto"
    form: Annotated[
        str | None,
        "of the prompts: paper, plain or chat; if left out the one that the adapter was"
        " trained on, else paper",
    ] = None
    tokens_per_batch: int = 2048
    progress: bool = True


@dataclass(frozen=True)
class FileSettings:
    """How a file is read, worked through and written; `chunk` can move last digits."""

    resume: Annotated[bool, "go on where a killed run stopped"] = False
    overwrite: Annotated[bool, "start anew over what is there"] = False
    chunk: Annotated[int, "rows between two savings: what a kill can cost"] = 512
    input_format: Annotated[Format | None, _ENDING] = None
    output_format: Annotated[Format | None, f"{_ENDING}; to standard output csv"] = None
    encoding: Annotated[str, "of the input"] = "utf-8"
    delimiter: Annotated[str | None, "of a CSV; if left out a comma, a tab for TSV"] = (
        None
    )
    quotes: Annotated[bool, "quotation marks in a CSV are part of the text"] = True
    escape_formulas: Annotated[
        bool,
        "for CSVs that a spreadsheet opens: an apostrophe before cells that begin like"
        " a formula (= + - @)",
    ] = False
    progress: Annotated[bool, "no progress bar"] = True
