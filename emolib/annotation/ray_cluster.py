"""`annotate` on a Ray cluster: a folder of Parquet in, a folder of Parquet out.

Needs the extra `scale`. Ray brings the rows to the workers, restarts what dies, and runs on the
machines it was started on, or on this one.
"""

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from emolib import DataError
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import check_free, list_columns
from emolib.annotation.settings import DEFAULT_MODEL
from emolib.files import replacing
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
    """The target: the source's rows, each with `annotate`'s columns.

    Ray 2.60 is asked to keep the rows' order and was seen not to once: bring a column to sort by
    where the order matters.

    `workers` processes hold one model each and take `chunk` rows at a time, with `cpus` cores and
    `gpus` of a GPU apiece (0.5: two share one). Reading and writing need cores of their own: where
    the workers have them all, Ray waits for ever. Equal texts are computed once per worker. Values
    are those of `annotate` to the precision's rounding, since other texts share their batches.
    `settings` as there. `source` and `target` may be addresses that Ray knows (s3://...); a local
    target appears whole or not at all.

    DataError for a missing package, a source without the column or with ours already, and a target
    that is there. What a worker raises comes as Ray's own error.
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
        raise DataError(f"{source}: no column {text_column!r}: there are {', '.join(present)}")
    tasks = settings.get("tasks") or AAID
    check_free(source, present, list_columns(tasks, settings.get("coverage")))
    given = (model, text_column, settings | {"progress": False})
    where = {"num_cpus": cpus, "num_gpus": gpus}
    where["compute"] = ray.data.ActorPoolStrategy(size=workers)
    # Ray's own blocks are by size, and a million short texts would be one worker's.
    blocks = rows.repartition(target_num_rows_per_block=chunk)
    how = {"batch_size": chunk, "batch_format": "pyarrow", "fn_constructor_args": given}
    annotated = blocks.map_batches(_Worker, **how, **where)
    with nullcontext(target) if remote else replacing(Path(target).absolute()) as place:
        if not remote:
            place.mkdir()
        annotated.write_parquet(str(place), min_rows_per_file=_ROWS_PER_FILE)
    return str(target)


class _Worker:
    def __init__(self, model: str, column: str, settings: dict):
        self.annotator, self.column = Annotator(model, **settings), column

    def __call__(self, rows: pa.Table) -> pa.Table:
        texts = rows.column(self.column).to_pylist()
        frame = self.annotator(texts).drop(columns="text")
        made = pa.Table.from_pandas(frame, preserve_index=False)
        for name in made.column_names:
            rows = rows.append_column(name, made.column(name))
        return rows
