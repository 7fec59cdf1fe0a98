"""The command line beside `annotate`: plan, train, export, merge, convert, push."""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from emolib import DataError

Run = Annotated[
    str, Argument(metavar="RUN", help="a fine-tuning run, an adapter or its name")
]
_DTYPE = Option(help="float16, bfloat16 or float32")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the program."""
    for command in (plan, train, export, merge, convert, push):
        app.command()(command)


@contextmanager
def _explaining(name: str):
    """A DataError as one line on the error stream and exit code 1."""
    try:
        yield
    except DataError as error:
        typer.echo(f"emolib {name}: {error}", err=True)
        raise typer.Exit(1) from None


def train(
    file: Annotated[
        Path, Argument(metavar="RUN.yaml", help="a run file of notebook 2")
    ],
) -> None:
    """Fine-tunes as notebook 2 does with this run file, without its pictures.

    For several GPUs: accelerate launch --config_file
    notebooks/runs/accelerate/fsdp_qlora.yaml -m emolib train RUN.yaml
    """
    from emolib.training import launch

    with _explaining("train"):
        typer.echo(launch.train(file))


def export(
    run: Annotated[Path, Argument(metavar="RUN", help="a finished fine-tuning run")],
    folder: Annotated[Path, Argument(metavar="FOLDER", help="written anew")],
    mean_with: Annotated[
        list[str] | None,
        Option(help="another run: weights become the mean; may be given again"),
    ] = None,
) -> None:
    """Writes what is needed to use a run's adapter, its weights in float16."""
    from emolib.training import finetune

    with _explaining("export"):
        typer.echo(finetune.export(run, folder, mean_with or ()))


def merge(
    run: Run,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="to be made")],
    dtype: Annotated[str, _DTYPE] = "float16",
) -> None:
    """Writes an adapter and its base as one model, in 16 or 32 bits."""
    from emolib.publishing import gguf

    with _explaining("merge"):
        typer.echo(gguf.merge(run, folder, dtype))


def convert(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="a model, see merge")],
    target: Annotated[Path, Argument(metavar="FILE.gguf")],
    kind: Annotated[
        str, Option(help="f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, ...")
    ] = "q8_0",
    converter: Annotated[
        str | None,
        Option(
            help="llama.cpp's convert_hf_to_gguf.py, or its folder",
            show_default="the one that make llamacpp unpacked",
        ),
    ] = None,
) -> None:
    """Writes a model as a GGUF file for llama.cpp, in as few bits as wanted."""
    from emolib.publishing import gguf

    with _explaining("convert"):
        typer.echo(gguf.convert(folder, target, kind, converter))


def plan(
    model: Annotated[
        str, Option(help="a member of the series, a Hub id or a model folder")
    ],
    gpu: Annotated[str, Option(help="t4, l4, a100-40, a100-80, h100, ..., or its GiB")],
    gpus: Annotated[int, Option(help="how many of them")] = 1,
    method: Annotated[str, Option(help="qlora, lora or full")] = "qlora",
    rows: Annotated[
        int | None, Option(help="of training", show_default="all of AAID, 234,040")
    ] = None,
    epochs: Annotated[float, Option()] = 3.0,
    batch_size: Annotated[int, Option(help="rows per optimizer step")] = 16,
    rank: Annotated[int, Option(help="of the adapter")] = 16,
) -> None:
    """Says whether a fine-tuning fits on a GPU, with which settings, how long, and why.

    An estimate: the GPU is not asked. Exit code 2 if it does not fit.

    Example: emolib plan --model Emollama-chat-7b --gpu t4
    """
    from emolib import plan as planning

    sizes = {"epochs": epochs, "batch_size": batch_size, "rank": rank}
    if rows is not None:
        sizes["rows"] = rows
    with _explaining("plan"):
        found = planning.plan(model, gpu, gpus, method, **sizes)
    typer.echo(planning.describe(found))
    if not found.fits:
        raise typer.Exit(2)


class What(StrEnum):
    """What can be pushed."""

    adapter = "adapter"
    model = "model"
    builder = "builder"


def push(
    what: Annotated[What, Argument(help="builder: the code that builds AAID")],
    repo: Annotated[str, Argument(metavar="ORG/NAME")],
    folder: Annotated[
        Path, Argument(metavar="FOLDER", help="what would be sent is written there")
    ],
    run: Annotated[str | None, Option(help="of an adapter or model: its run")] = None,
    data: Annotated[
        str | None, Option(help="what it was trained on: official, sample or a Hub id")
    ] = None,
    data_license: Annotated[str | None, Option(help="of another corpus")] = None,
    base: Annotated[str | None, Option(help="the base model's Hub id")] = None,
    base_license: Annotated[str | None, Option(help="where emolib has none")] = None,
    scores: Annotated[
        Path | None, Option(help="a NAME_scores.csv of notebook 3, for the card")
    ] = None,
    scored: Annotated[str, Option(help="the row's name in that file")] = "tuned",
    dtype: Annotated[str, Option(help="of a model: bfloat16 or float16")] = "bfloat16",
    upload: Annotated[
        bool, Option("--upload", help="send it; without this nothing leaves here")
    ] = False,
    public: Annotated[bool, Option("--public", help="else private")] = False,
) -> None:
    """Writes what a Hub repository would hold, card and licences included; may send it.

    Example: emolib push adapter me/my-emo out/ --run runs/mine/finetune --data official
    """
    from emolib.publishing import hub

    sending = {"dry_run": not upload, "private": not public}
    with _explaining("push"):
        if what is What.builder:
            done = hub.push_builder(repo, folder, **sending)
        elif run is None:
            raise DataError(f"--run: name the run whose {what} is meant")
        else:
            write = hub.push_adapter
            if what is What.model:
                write = hub.push_model
            told = {"data": data, "data_license": data_license, "base": base}
            told |= {"base_license": base_license, "scores": scores, "scored": scored}
            done = write(run, repo, folder, dtype=dtype, **told, **sending)
    typer.echo(done)
