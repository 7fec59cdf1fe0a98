"""`annotate` on a Ray cluster, or on this machine: folders of Parquet in and out. Extra `scale`."""

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from emolib import DataError
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import check_free, list_columns
from emolib.annotation.settings import DEFAULT_MODEL
from emolib.files import name_some, replacing
from emolib.tasks import AAID

_ROWS_PER_FILE = 100_000


def annotate_folder(
    source: str | Path,
    target: str | Path,
    text_column: str = "text",
    model: str = DEFAULT_MODEL,
    workers: int = 2,
    cpus: float = 0.5,
    gpus: float = 0.0,
    chunk: int = 512,
    **settings,
) -> str:
    """The target: the source's rows, each with `annotate`'s columns (to the precision's rounding).

    `workers` processes hold one model each and take `chunk` rows at a time, with `cpus` cores and
    `gpus` of a GPU apiece; leave cores free for Ray's reading and writing, or it waits for ever.
    `settings` as of `annotate`. `source` and `target` may be addresses that Ray knows (s3://...); a
    local target appears whole or not at all. Ray 2.60 is asked to keep the rows' order and once did
    not: bring a column to sort by. Ray passes a worker's error on as its own.

    DataError for a missing package, a source without the column or with ours, and a target there.
    """
    try:
        import ray.data
    except ImportError as error:
        raise DataError(f"Ray is not installed ({error}): pip install 'emolib[scale]'") from None
    remote = "://" in str(target)
    if not remote and Path(target).exists():
        raise DataError(f"{target}: there already: take another name, or remove it")
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    rows = ray.data.read_parquet(str(source))
    present = rows.schema().names
    if text_column not in present:
        raise DataError(f"{source}: no column {text_column!r}: there are {name_some(present)}")
    tasks = settings.get("tasks") or AAID
    tasks = [tasks] if isinstance(tasks, str) else tasks
    added = list_columns(tasks, settings.get("coverage"))
    check_free(source, present, added)
    how = {"compute": ray.data.ActorPoolStrategy(size=workers), "num_cpus": cpus, "num_gpus": gpus}
    how |= {"fn_constructor_args": (model, text_column, settings | {"progress": False})}
    # Ray's own blocks are by size, and a million short texts would be one worker's.
    blocks = rows.repartition(target_num_rows_per_block=chunk)
    annotated = blocks.map_batches(_Worker, batch_size=chunk, batch_format="pyarrow", **how)
    with nullcontext(target) if remote else replacing(Path(target).absolute()) as place:
        annotated.write_parquet(str(place), min_rows_per_file=_ROWS_PER_FILE)
    return str(target)


class _Worker:
    def __init__(self, model: str, column: str, settings: dict):
        self.annotator, self.column = Annotator(model, **settings), column

    def __call__(self, rows: pa.Table) -> pa.Table:
        texts = rows.column(self.column).to_pylist()
        made = pa.Table.from_pandas(self.annotator(texts), preserve_index=False)
        for name in made.column_names[1:]:  # after the text
            rows = rows.append_column(name, made.column(name))
        return rows
