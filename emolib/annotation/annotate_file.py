"""A file of texts in, the same file with affect beside each text out; resumable.

Each finished chunk of rows is a small Parquet file in the run folder beside the target; the target
is put together at the end and renamed into place. Memory does not grow with the file.
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
import pyarrow as pa
from tqdm import tqdm

from emolib import DataError, runs
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import check_free
from emolib.annotation.formats import paths, read_files, tables, write_files
from emolib.annotation.formats.decoding import COMPRESSIONS
from emolib.annotation.settings import DEFAULT_MODEL
from emolib.annotation.settings import FileSettings as Settings
from emolib.files import replacing

STDIN = "-"
_READING = ("encoding", "encoding_errors", "delimiter", "quotes", "backslash_quotes", "sheet")
_BINARY = ("parquet", *tables.FORMATS)  # formats with types


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
    `files.resume` a killed run goes on there, if there is one, and ends with the same bytes as an
    undisturbed one. After Ctrl-C the finished rows are in a file such as out.partial.csv.

    DataError, before anything is computed, for a source that cannot be read; for a target or an
    unfinished run that is there already, unless `files` says to resume or overwrite; and for a run
    folder made with other settings, which it names.
    """
    files, target = files or Settings(), Path(target)
    for path in (target, source):
        paths.check_name(path)
    folder = target.with_name(f"{target.name}.run")
    files = replace(files, output_format=read_files.find_format(target, files.output_format))
    _check_place(source, target, folder, files)
    how = {name: getattr(files, name) for name in _READING}
    inspect = partial(read_files.inspect, column=text_column, format=files.input_format, **how)
    if str(source) != STDIN:  # a file that cannot be read leaves no folder behind
        found = inspect(source)
    if isinstance(model, Annotator) and settings:
        raise DataError(f"an Annotator has its own settings, not {', '.join(settings)}")
    model = model if isinstance(model, Annotator) else Annotator(model, **settings)
    with runs.locked(folder, empty=files.overwrite):
        if str(source) == STDIN:
            found = inspect(_keep_input(folder, files))
        _Job(found, target, folder, model, files).run()
    return target


def _check_place(source, target: Path, folder: Path, files: Settings) -> None:
    place, torso = target.absolute(), paths.name_torso(target)
    itself = str(source) != STDIN and any(paths.is_same(source, path) for path in (target, torso))
    counted = isinstance(files.chunk, int) and files.chunk > 0
    special = target.exists() and not target.is_file() and not target.is_dir()
    packed = target.suffix.lower() in COMPRESSIONS and files.output_format in _BINARY
    # Without a record there is nothing to resume, and the target is somebody else's.
    allowed = files.overwrite or (files.resume and (folder / "run.json").is_file())
    done = len(list((folder / "parts").glob("[0-9]*.parquet")))
    hint = f"an unfinished run with {done} finished chunks: resume it, or overwrite it"
    problems = {
        f"chunk is {files.chunk!r}, expected 1 or more": not counted,
        "resume and overwrite: one of them, not both": files.resume and files.overwrite,
        f"{target}: no folder {place.parent}": not place.parent.is_dir(),
        f"{target}: input and output in one: give the output a name": itself,
        f"{target}: lines hold no columns: take csv, jsonl": files.output_format == "lines",
        f"{target}: a folder, expected a file's name": target.is_dir(),
        f"{target}: a link to {place.resolve()}: name that": target.is_symlink(),
        f"{target}: a pipe or a device: take - for standard output": special,
        f"{target}: {files.output_format} takes no {target.suffix}": packed,
        f"{target}: there already: overwrite it, or rename": target.exists() and not allowed,
        f"{folder}: {hint}": done and not allowed,
    }
    if found := [problem for problem, is_so in problems.items() if is_so]:
        raise DataError(found[0])


def _keep_input(folder: Path, files: Settings) -> Path:
    """Standard input as a file, so that a run can resume."""
    kept = folder / "input" / "stdin.txt"
    # Without a record the input that is there was refused: what comes now is corrected.
    resumes = files.resume and kept.is_file() and (folder / "run.json").is_file()
    if resumes and "finished" not in runs.read(folder):
        return kept
    with runs.explaining(folder):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    return kept


@dataclass
class _Job:
    source: read_files.Source
    target: Path
    folder: Path
    annotator: Annotator
    files: Settings

    def run(self) -> None:
        """Computes what is missing, writes target and record, removes all else."""
        check_free(self.source.path, self.source.columns, self.annotator.columns)
        if self.files.output_format in tables.FORMATS:
            names = [*self.source.columns, *self.annotator.columns, "reason"]
            frames = (frame for frame, _ in self._read_chunks())
            tables.check(self.target, self.files.output_format, names, frames)
        found, files = vars(self.source), vars(self.files)
        about = {"input": paths.hash_input(found["path"]), "text_column": found["column"]}
        about |= {key: found[key] for key in ("rows", "encoding", "delimiter", "quotes")}
        about |= {key: files[key] for key in ("chunk", "output_format", "escape_formulas")}
        other = ("encoding_errors", "backslash_quotes", "sheet", "replaced")
        about |= {key: found[key] for key in other if found[key] not in (None, 0, "strict")}
        about |= {"input_format": found["format"]} | self.annotator.settings
        runs.match(self.folder, "annotate", about)  # all that decides the target's bytes
        torso = paths.name_torso(self.target)
        try:
            if "finished" not in runs.read(self.folder) or not self.target.is_file():
                hint = "finished chunks are kept, make room and resume"
                with runs.explaining(self.folder, hint):
                    self._work()
        except KeyboardInterrupt:
            if (self.folder / "parts" / "00000000.parquet").is_file():
                self._write(torso)
            raise
        torso.unlink(missing_ok=True)
        for name in ("parts", "input"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

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
        typed = self.files.output_format in _BINARY
        for number, frame in enumerate(read_files.read(self.source, self.files.chunk, typed)):
            yield frame, self.folder / "parts" / f"{number:08d}.parquet"

    def _annotate(self) -> int:
        """How many rows were computed now, and not before."""
        rows = 0
        with tqdm(total=self.source.rows, unit="row", disable=not self.files.progress) as bar:
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
                bar.initial = getattr(bar, "initial", 0) + len(texts)  # no part of the rate
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
        pairs = ((frame, self._read_part(part, len(frame))) for frame, part in done)
        frames = (pd.concat(pair, axis=1) for pair in pairs)
        # In the folder first: what a kill leaves there, the next call removes.
        whole = self.folder / "target"
        format, labels = self.files.output_format, {}
        if format in ("sav", "dta") and self.source.format in ("sav", "dta"):
            _, labels = tables.read_labelled(self.source.path, self.source.format)
        packed = COMPRESSIONS.get(self.target.suffix.lower())
        how = {"escape": self.files.escape_formulas, "compression": packed, "about": labels}
        write_files.write(frames, whole, format, **how)
        whole.replace(path)


def _measure_peak() -> int | None:
    """The process's largest memory so far, in MB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB; on macOS in bytes
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
