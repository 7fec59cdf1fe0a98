"""A file of texts in, the same file with affect beside each text out; resumable.

Each finished chunk of rows is a small Parquet file in the run folder beside the target; the target
is put together at the end and renamed into place. Memory does not grow with the file.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from emolib import DataError, runs
from emolib.annotation import sentences
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import REMARKS, check_free
from emolib.annotation.formats import codebook, layouts, paths, read_files, tables, write_files
from emolib.annotation.formats.decoding import COMPRESSIONS
from emolib.annotation.settings import DEFAULT_MODEL, READING
from emolib.annotation.settings import FileSettings as Settings
from emolib.files import replacing

STDIN = "-"
_BINARY = ("parquet", *tables.FORMATS)  # formats with types


def annotate_file(
    source: str | Path,
    target: str | Path,
    text_column: str = "text",
    model: str | Annotator = DEFAULT_MODEL,
    files: Settings | None = None,
    advance: Callable[[int], object] | None = None,
    **settings,
) -> Path:
    """The target's path: the source's rows and columns, and those of `annotate`.

    With `files.unit` "sentence" a row per sentence (see `sentences.split`), with `files.aggregate`
    "mean" a row per text again (`sentences.aggregate`): long texts are read whole that way.
    `files.output_columns` "long" is a row per text and value, with text_row (the source's row, from
    1), measure, value, confidence; "labels" has one column for all values, the labels joined by
    "; ". Beside the target lie TARGET.codebook.csv and .json, which say what each column is.

    `source` "-" is standard input, kept beside the target until the end. `settings` are those of
    `annotate`; an `Annotator` as `model` has its own. TARGET.run holds the record (settings,
    hashes, versions, rows per second, peak memory) and, until the end, the finished chunks: with
    `files.resume` a killed run goes on there, if there is one, and ends with the same bytes as an
    undisturbed one. After Ctrl-C the finished rows are in a file such as out.partial.csv.
    `advance` is called with how many more rows are done, in the place of a progress bar.

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
    how = {name: getattr(files, name) for name in READING}
    inspect = partial(read_files.inspect, column=text_column, format=files.input_format, **how)
    if str(source) != STDIN:  # a file that cannot be read leaves no folder behind
        found = inspect(source)
    if isinstance(model, Annotator) and settings:
        raise DataError(f"an Annotator has its own settings, not {', '.join(settings)}")
    model = model if isinstance(model, Annotator) else Annotator(model, **settings)
    layouts.check(files, list(model.columns))
    with runs.locked(folder, empty=files.overwrite):
        if str(source) == STDIN:
            found = inspect(_keep_input(folder, files))
        _Job(found, target, folder, model, files, advance).run()
    return target


def _check_place(source, target: Path, folder: Path, files: Settings) -> None:
    place = target.absolute()
    itself = str(source) != STDIN and paths.is_same(source, target)
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
    paths.check_beside(source, target, folder, allowed)


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
    advance: Callable[[int], object] | None

    def run(self) -> None:
        """Computes what is missing, writes target and record, removes all else."""
        added = layouts.list_added(self.files, list(self.annotator.columns))
        check_free(self.source.path, self.source.columns, added)
        if self.files.output_format in tables.FORMATS:
            frames = (frame for frame, _ in self._read_chunks())
            names = [*self.source.columns, *added]
            tables.check(self.target, self.files.output_format, names, frames)
        found, files = vars(self.source), vars(self.files)
        about = {"input": paths.hash_input(found["path"]), "text_column": found["column"]}
        about |= {key: found[key] for key in ("rows", "encoding", "delimiter", "quotes")}
        about |= {key: files[key] for key in ("chunk", "output_format", "escape_formulas")}
        about |= {key: files[key] for key in ("unit", "aggregate", "output_columns")}
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
        codebook.write(self.target, self._first, runs.read(self.folder))
        seconds = time.perf_counter() - started
        speed = {"seconds": round(seconds, 1), "rows_per_second": round(rows / seconds, 2)}
        found = {"units": self._units, "notes": dict(self._notes)}
        found |= {"rows_judged": rows, **speed, "peak_memory_mb": runs.measure_peak_memory()}
        runs.finish(self.folder, **found)

    def _read_chunks(self) -> Iterator[tuple[pd.DataFrame, Path]]:
        """The source's rows in chunks, each with the path of its finished part."""
        typed = self.files.output_format in _BINARY
        for number, frame in enumerate(read_files.read(self.source, self.files.chunk, typed)):
            yield frame, self.folder / "parts" / f"{number:08d}.parquet"

    def _annotate(self) -> int:
        """How many rows were computed now, and not before."""
        rows, before = 0, 0
        hidden = bool(self.advance) or not self.files.progress
        with tqdm(total=self.source.rows, unit="row", disable=hidden) as bar:
            advance = self.advance or bar.update
            for frame, path in self._read_chunks():
                texts, first = list(frame[self.source.column]), before + 1
                before += len(texts)
                if not path.is_file():
                    part = self._annotate_chunk(texts, first, advance)
                    with replacing(path) as temporary:
                        part.to_parquet(temporary, index=False)
                    rows += len(texts)
                    continue
                self._remember(texts, self._read_part(path, len(texts)))
                advance(len(texts))
                bar.initial = getattr(bar, "initial", 0) + len(texts)  # no part of the rate
        return rows

    def _annotate_chunk(self, texts: list, first: int, advance: Callable) -> pd.DataFrame:
        """The part to store: a row per text or sentence; `first`: the first text's row."""
        if self.files.unit == "text":
            return self.annotator(texts, advance).drop(columns="text")
        keys, done = sentences.split(texts), Counter()

        def report(step: int) -> None:  # in texts, as far as whole ones are done
            done["sentences"] += step
            whole = done["sentences"] * len(texts) // max(1, len(keys)) - done["texts"]
            done["texts"] += whole
            advance(whole)

        part = self.annotator(keys["sentence"], report).drop(columns="text")
        kept = [write_files.sanitize(x) if isinstance(x, str) else None for x in keys["sentence"]]
        keys["sentence"] = pd.Series(kept, dtype="str")
        return pd.concat([keys.assign(text_row=keys["text_row"] + first - 1), part], axis=1)

    def _remember(self, texts: list, part: pd.DataFrame) -> None:
        if self.files.unit == "sentence":
            part = part.dropna(subset="sentence")
            texts = list(part["sentence"])
        self.annotator.remember(texts, part)

    def _read_part(self, path: Path, rows: int) -> pd.DataFrame:
        types = self.annotator.columns | REMARKS
        if self.files.unit == "sentence":
            types = dict(zip(sentences.KEYS, ("int64", "int64", "str"), strict=True)) | types
        try:
            part = pd.read_parquet(path)
            found = part["text_row"].nunique() if "text_row" in part else len(part)
            if found == rows and list(part) == list(types):
                return part.astype(types)
            problem = f"{found} rows of {', '.join(map(str, part))}, expected {rows}"
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            problem = f"damaged ({error})"
        raise DataError(f"{path}: {problem}: remove it and resume")

    def _write(self, path: Path) -> None:
        """The source's rows, as far as they are done, with their values beside them."""
        done = takewhile(lambda chunk: chunk[1].is_file(), self._read_chunks())
        # In the folder first: what a kill leaves there, the next call removes.
        whole = self.folder / "target"
        format, labels = self.files.output_format, {}
        if format in ("sav", "dta") and self.source.format in ("sav", "dta"):
            _, labels = tables.read_labelled(self.source.path, self.source.format)
        packed = COMPRESSIONS.get(self.target.suffix.lower())
        how = {"escape": self.files.escape_formulas, "compression": packed, "about": labels}
        write_files.write(self._lay_out(done), whole, format, **how)
        whole.replace(path)

    def _lay_out(self, done: Iterator) -> Iterator[pd.DataFrame]:
        """The target's rows in chunks; keeps the first ones and the count of notes."""
        row, self._first, self._units, self._notes = 1, None, 0, Counter()
        for frame, path in done:
            part = self._read_part(path, len(frame))
            table = layouts.lay_out(frame, part, row, self.files)
            self._first = table if self._first is None else self._first
            notes = layouts.read_notes(table, self.files)
            self._units += len(notes)
            self._notes += Counter(notes.dropna())
            row += len(frame)
            yield table
