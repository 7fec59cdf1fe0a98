"""A file of texts in, the same file with affect beside each text out; resumable.

Rows are judged in chunks. Each finished chunk is a small Parquet file in the run folder
beside the target; the target itself is put together at the end and renamed into place.
Memory does not grow with the file.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pooch
import pyarrow as pa
from tqdm import tqdm

from emolib import DataError, files, runs
from emolib.annotation import read_files, write_files
from emolib.annotation.annotate import DEFAULT, Annotator

STDIN = "-"


@dataclass(frozen=True)
class Settings:
    """How a file is read, worked through and written; `chunk` can move last digits."""

    chunk: int = 512  # rows; what a kill can cost
    resume: bool = False
    overwrite: bool = False
    input_format: str | None = None  # of chunks.FORMATS; None: by the file's ending
    output_format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None  # None: comma, or tab for TSV
    quotes: bool = True
    escape_formulas: bool = False  # see sheets.write
    progress: bool = True


def annotate_file(
    source: str | Path,
    target: str | Path,
    text_column: str = "text",
    model: str | Annotator = DEFAULT,
    files: Settings | None = None,
    **settings,
) -> Path:
    """The target's path: the source's rows and columns, and those of `annotate`.

    `source` "-" is standard input, kept beside the target until the end. `settings` are
    those of `annotate`; an `Annotator` as `model` has its own. TARGET.run holds the
    record (settings, hashes, versions, rows per second, peak memory) and, until the
    end, the finished chunks: with `files.resume` a killed run goes on there and ends
    with the same bytes as an undisturbed one; without anything to go on from it starts.

    DataError for a source that cannot be read, before anything is judged; for a target
    or an unfinished run that is there already, unless told to resume or overwrite; and
    for a run folder made with other settings, which it names. On an interruption the
    finished rows are written to TARGET's name with `.partial` before its ending.
    """
    files = files or Settings()
    target = Path(target)
    folder = target.with_name(f"{target.name}.run")
    _check_place(source, target, folder, files)
    output_format = read_files.find_format(target, files.output_format)
    if output_format == "lines":
        raise DataError(f"{target}: lines hold no columns: take csv, jsonl or parquet")
    if str(source) != STDIN:  # a file that cannot be read leaves no folder behind
        found = _inspect(source, text_column, files)
    if not isinstance(model, Annotator):
        model = Annotator(model, **settings)
    elif settings:
        raise DataError(f"an Annotator has its own settings, not {', '.join(settings)}")
    with runs.locked(folder, empty=files.overwrite):
        if str(source) == STDIN:
            found = _inspect(_keep_input(folder, files), text_column, files, "lines")
        _check_columns(found, model)
        job = _Job(found, target, folder, model, files, output_format)
        runs.match(folder, "annotate", job.identity)
        if "finished" not in runs.read(folder) or not target.is_file():
            job.work()
        job.clear()
    return target


def _check_place(source, target: Path, folder: Path, files: Settings) -> None:
    if files.chunk < 1:
        raise DataError(f"chunk is {files.chunk}, expected 1 or more")
    if files.resume and files.overwrite:
        raise DataError("resume and overwrite: one of them, not both")
    if not target.absolute().parent.is_dir():
        raise DataError(f"{target}: no folder {target.absolute().parent}")
    if str(source) != STDIN and Path(source).absolute() == target.absolute():
        raise DataError(f"{target}: input and output in one: give the output a name")
    if target.is_dir():
        raise DataError(f"{target}: a folder, expected a file's name")
    if files.overwrite or (files.resume and _has_record(folder)):
        return
    if target.exists():
        raise DataError(f"{target}: there already: overwrite it, or take another name")
    done = len(list((folder / "parts").glob("[0-9]*.parquet")))
    if done:
        raise DataError(
            f"{folder}: an unfinished run with {done} finished chunks: resume it, or"
            " overwrite it to start anew"
        )


def _has_record(folder: Path) -> bool:
    """Whether there is anything to resume; else a target there is somebody else's."""
    return (folder / "run.json").is_file()


def _keep_input(folder: Path, files: Settings) -> Path:
    """Standard input as a file, so that a run can resume."""
    kept = folder / "input" / "stdin"
    # Without a record the input that is there was refused: what comes now is mended.
    going_on = files.resume and kept.is_file() and _has_record(folder)
    if going_on and "finished" not in runs.read(folder):
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(kept) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise DataError(f"{folder}: cannot write there: {error}") from error
    return kept


def _inspect(source, column: str, files: Settings, default=None) -> read_files.Source:
    given = files.input_format or default
    return read_files.inspect(
        source, column, given, files.encoding, files.delimiter, files.quotes
    )


def _check_columns(found: read_files.Source, annotator: Annotator) -> None:
    clash = [name for name in (*annotator.columns, "reason") if name in found.columns]
    if clash:
        raise DataError(
            f"{found.path}: already has the columns {', '.join(clash)}: rename them, or"
            " name fewer tasks"
        )


@dataclass
class _Job:
    """One file under way: finished chunks in `folder`/parts."""

    source: read_files.Source
    target: Path
    folder: Path
    annotator: Annotator
    files: Settings
    output_format: str

    @property
    def identity(self) -> dict:
        """All that decides the target's bytes."""
        return {
            "input": pooch.file_hash(self.source.path),
            "rows": self.source.rows,
            "text_column": self.source.column,
            "input_format": self.source.format,
            "encoding": self.source.encoding,
            "delimiter": self.source.delimiter,
            "quotes": self.source.quotes,
            "chunk": self.files.chunk,
            "output_format": self.output_format,
            "escape_formulas": self.files.escape_formulas,
            **self.annotator.settings,
        }

    def work(self) -> None:
        """Judges the missing chunks, writes the target, and the record of the run."""
        started = time.perf_counter()
        try:
            self.parts.mkdir(exist_ok=True)
            made = self._judge()
            self._write(self.target)
            seconds = time.perf_counter() - started
            runs.finish(
                self.folder,
                rows_judged=made,
                seconds=round(seconds, 1),
                rows_per_second=round(made / seconds, 2),
                peak_memory_mb=_measure_peak(),
            )
        except KeyboardInterrupt:
            self._write_partial()
            raise
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot write: {error}: finished chunks are kept, make"
                " room and resume"
            ) from error

    def clear(self) -> None:
        """Removes what only an unfinished run needs."""
        self.partial.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        shutil.rmtree(self.folder / "input", ignore_errors=True)

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    @property
    def partial(self) -> Path:
        """Where an interruption leaves the finished rows."""
        return self.target.with_name(f"{self.target.stem}.partial{self.target.suffix}")

    def _find_part(self, number: int) -> Path:
        return self.parts / f"{number:08d}.parquet"

    def _judge(self) -> int:
        """How many rows were judged now, and not before."""
        made, hidden = 0, not self.files.progress
        with tqdm(total=self.source.rows, unit="row", disable=hidden) as bar:
            for number, frame in enumerate(
                read_files.read(self.source, self.files.chunk)
            ):
                texts, path = list(frame[self.source.column]), self._find_part(number)
                if path.is_file():
                    self.annotator.take_up(texts, self._read_part(path, len(texts)))
                    bar.update(len(texts))
                    if not hidden:  # a hidden bar has no such number
                        bar.initial += len(texts)  # no part of the rate
                    continue
                judged = self.annotator(texts, bar.update).drop(columns="text")
                with files.replacing(path) as temporary:
                    judged.to_parquet(temporary, index=False)
                made += len(texts)
        return made

    def _read_part(self, path: Path, rows: int) -> pd.DataFrame:
        try:
            part = pd.read_parquet(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path}: damaged ({error}): remove it and resume"
            ) from None
        if len(part) != rows:
            raise DataError(
                f"{path}: {len(part)} rows, expected {rows}: remove it and resume"
            )
        types = self.annotator.columns | {"reason": "str"}
        try:
            if list(part.columns) == list(types):
                return part.astype(types)
            found = ", ".join(map(str, part.columns))
        except (TypeError, ValueError) as error:
            found = f"other values ({error})"
        raise DataError(f"{path}: holds {found}: remove it and resume")

    def _join(self) -> Iterator[pd.DataFrame]:
        """The source's chunks with their finished parts beside them."""
        for number, frame in enumerate(read_files.read(self.source, self.files.chunk)):
            path = self._find_part(number)
            if not path.is_file():
                return
            yield pd.concat([frame, self._read_part(path, len(frame))], axis=1)

    def _write(self, path: Path) -> None:
        # In the folder first: what a kill leaves there, the next call removes.
        whole = self.folder / "target"
        write_files.write(
            self._join(), whole, self.output_format, self.files.escape_formulas
        )
        whole.replace(path)

    def _write_partial(self) -> None:
        if self._find_part(0).is_file():
            self._write(self.partial)


def _measure_peak() -> int | None:
    """The process's largest memory so far, in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In kB on Linux, in bytes on macOS.
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
