"""A file of texts in, the same file with affect beside each text out; resumable.

Rows are annotated in chunks. Each finished chunk is a small Parquet file in the run folder beside
the target; the target itself is put together at the end and renamed into place. Memory does not
grow with the file.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import pandas as pd
import pooch
import pyarrow as pa
from tqdm import tqdm

from emolib import DataError, runs
from emolib.annotation import read_files, write_files
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import check_free
from emolib.annotation.settings import DEFAULT_MODEL
from emolib.annotation.settings import FileSettings as Settings
from emolib.files import replacing

STDIN = "-"


def annotate_file(
    source: str | Path,
    target: str | Path,
    text_column: str = "text",
    model: str | Annotator = DEFAULT_MODEL,
    files: Settings | None = None,
    **settings,
) -> Path:
    """The target's path: the source's rows and columns, and those of `annotate`.

    `source` "-" is standard input, kept beside the target until the end. `settings` are those of
    `annotate`; an `Annotator` as `model` has its own. TARGET.run holds the record (settings,
    hashes, versions, rows per second, peak memory) and, until the end, the finished chunks: with
    `files.resume` a killed run goes on there and ends with the same bytes as an undisturbed one;
    without anything to go on from it starts.

    DataError for a source that cannot be read, before anything is computed; for a target or an
    unfinished run that is there already, unless `files` says to resume or overwrite; and for a run
    folder made with other settings, which it names. After Ctrl-C the finished rows stand in
    TARGET's name with `.partial` before its ending.
    """
    files, target = files or Settings(), Path(target)
    folder = target.with_name(f"{target.name}.run")
    _check_place(source, target, folder, files)
    files = replace(files, output_format=read_files.find_format(target, files.output_format))
    if files.output_format == "lines":
        raise DataError(f"{target}: lines hold no columns: take csv, jsonl or parquet")
    options = {name: getattr(files, name) for name in ("encoding", "delimiter", "quotes")}
    inspect = partial(read_files.inspect, column=text_column, **options)
    if str(source) != STDIN:  # a file that cannot be read leaves no folder behind
        found = inspect(source, format=files.input_format)
    if not isinstance(model, Annotator):
        model = Annotator(model, **settings)
    elif settings:
        raise DataError(f"an Annotator has its own settings, not {', '.join(settings)}")
    with runs.locked(folder, empty=files.overwrite):
        if str(source) == STDIN:
            kept = _keep_input(folder, files)
            found = inspect(kept, format=files.input_format or "lines")
        _Job(found, target, folder, model, files).run()
    return target


def _check_place(source, target: Path, folder: Path, files: Settings) -> None:
    place = target.absolute()
    itself = str(source) != STDIN and Path(source).absolute() == place
    resumes = files.resume and _has_record(folder)
    done = len(list((folder / "parts").glob("[0-9]*.parquet")))
    unfinished = f"an unfinished run with {done} finished chunks"
    problems = {
        f"chunk is {files.chunk}, expected 1 or more": files.chunk < 1,
        "resume and overwrite: one of them, not both": files.resume and files.overwrite,
        f"{target}: no folder {place.parent}": not place.parent.is_dir(),
        f"{target}: input and output in one: give the output a name": itself,
        f"{target}: a folder, expected a file's name": target.is_dir(),
    }
    if not (files.overwrite or resumes):
        there = f"{target}: there already: overwrite it, or take another name"
        problems[there] = target.exists()
        problems[f"{folder}: {unfinished}: resume it, or overwrite it to start anew"] = done
    for problem, found in problems.items():
        if found:
            raise DataError(problem)


def _has_record(folder: Path) -> bool:
    """Whether there is anything to resume; else a target there is somebody else's."""
    return (folder / "run.json").is_file()


def _keep_input(folder: Path, files: Settings) -> Path:
    """Standard input as a file, so that a run can resume."""
    kept = folder / "input" / "stdin"
    # Without a record the input that is there was refused: what comes now is corrected.
    resumes = files.resume and kept.is_file() and _has_record(folder)
    if resumes and "finished" not in runs.read(folder):
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise DataError(f"{folder}: cannot write there: {error}") from error
    return kept


@dataclass
class _Job:
    """One file under way: finished chunks in `folder`/parts."""

    source: read_files.Source
    target: Path
    folder: Path
    annotator: Annotator
    files: Settings

    def run(self) -> None:
        """Computes what is missing, writes target and record, removes all else."""
        check_free(self.source.path, self.source.columns, self.annotator.columns)
        runs.match(self.folder, "annotate", self._describe())
        partial = self.target.with_name(f"{self.target.stem}.partial{self.target.suffix}")
        try:
            if "finished" not in runs.read(self.folder) or not self.target.is_file():
                self._work()
        except KeyboardInterrupt:
            if (self.folder / "parts" / "00000000.parquet").is_file():
                self._write(partial)
            raise
        except OSError as error:
            hint = "finished chunks are kept, make room and resume"
            raise DataError(f"{self.folder}: cannot write: {error}: {hint}") from error
        partial.unlink(missing_ok=True)
        for name in ("parts", "input"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _describe(self) -> dict:
        """All that decides the target's bytes."""
        found, files = self.source, self.files
        about = {"input": pooch.file_hash(found.path), "text_column": found.column}
        about |= {key: getattr(found, key) for key in ("rows", "encoding", "delimiter", "quotes")}
        about |= {key: getattr(files, key) for key in ("chunk", "output_format", "escape_formulas")}
        return {**about, "input_format": found.format, **self.annotator.settings}

    def _work(self) -> None:
        started = time.perf_counter()
        (self.folder / "parts").mkdir(exist_ok=True)
        rows = self._annotate()
        self._write(self.target)
        seconds = time.perf_counter() - started
        speed = {"seconds": round(seconds, 1), "rows_per_second": round(rows / seconds, 2)}
        runs.finish(self.folder, rows_judged=rows, **speed, peak_memory_mb=_measure_peak())

    def _read_chunks(self) -> Iterator[tuple[pd.DataFrame, Path]]:
        """The source's rows in chunks, each with the path of its finished part."""
        for number, frame in enumerate(read_files.read(self.source, self.files.chunk)):
            yield frame, self.folder / "parts" / f"{number:08d}.parquet"

    def _annotate(self) -> int:
        """How many rows were computed now, and not before."""
        rows, hidden = 0, not self.files.progress
        with tqdm(total=self.source.rows, unit="row", disable=hidden) as bar:
            for frame, path in self._read_chunks():
                texts = list(frame[self.source.column])
                if not path.is_file():
                    part = self.annotator(texts, bar.update).drop(columns="text")
                    with replacing(path) as temporary:
                        part.to_parquet(temporary, index=False)
                    rows += len(texts)
                    continue
                self.annotator.remember(texts, self._read_part(path, len(texts)))
                bar.update(len(texts))
                if not hidden:  # a hidden bar has no such number
                    bar.initial += len(texts)  # no part of the rate
        return rows

    def _read_part(self, path: Path, rows: int) -> pd.DataFrame:
        types = self.annotator.columns | {"reason": "str"}
        try:
            part = pd.read_parquet(path)
            if len(part) == rows and list(part) == list(types):
                return part.astype(types)
            problem = f"{len(part)} rows of {', '.join(map(str, part))}, expected {rows}"
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            problem = f"damaged ({error})"
        raise DataError(f"{path}: {problem}: remove it and resume")

    def _write(self, path: Path) -> None:
        """The source's rows, as far as they are done, with their values beside them."""
        done = takewhile(lambda chunk: chunk[1].is_file(), self._read_chunks())
        parts = ((frame, self._read_part(part, len(frame))) for frame, part in done)
        frames = (pd.concat(pair, axis=1) for pair in parts)
        # In the folder first: what a kill leaves there, the next call removes.
        whole = self.folder / "target"
        write_files.write(frames, whole, self.files.output_format, self.files.escape_formulas)
        whole.replace(path)


def _measure_peak() -> int | None:
    """The process's largest memory so far, in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    # In kB on Linux, in bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
