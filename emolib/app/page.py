"""The page: a box for a sentence, a file to drop, a table, figures, and results to take away.

Built of Jupyter widgets and served by Voilà (see `serve`). Files lie in a temporary folder while
the page is open; nothing leaves the machine.
"""

import base64
import html
import io
import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd

from emolib import Annotator, DataError
from emolib.annotation import annotate_file, validate
from emolib.annotation.formats import read_files
from emolib.annotation.formats.read_files import find_format
from emolib.annotation.settings import DEFAULT_MODEL, FileSettings
from emolib.annotation.validation import fitting
from emolib.report import style, text_plots, validation_report
from emolib.tasks import EMOTIONS, get

LARGEST = 50  # MB of a file; the command line takes any
_SHOWN = 20  # rows of the result
_ENDINGS = ".csv,.tsv,.txt,.jsonl,.parquet,.xlsx,.sav,.dta,.gz,.zst"
_NONE = "(none)"
_LINK = "color:#06c;text-decoration:underline"
_RATED = ("valence", *EMOTIONS, *(x for x in get("E-c").labels if x not in EMOTIONS))
_INTRO = (
    "<h1>Emotions in texts</h1><p>This page reads English texts and says how strong anger, fear,"
    " joy and sadness are (0 to 1), how positive a text is (0 to 1), and which of eleven emotions"
    " it holds. Everything stays on this machine.</p><p>The tool errs, more with irony, and more on"
    " texts unlike tweets: rate some texts yourself and compare. It says nothing about what a"
    " person feels, and is not for decisions about people.</p>"
)


class Page:
    """The widgets and what they do. `show()` gives the whole page."""

    def __init__(self, model: str = DEFAULT_MODEL):
        self.model, self._annotator, self._stopped = model, None, threading.Event()
        self._lock, self._folder = threading.Lock(), tempfile.TemporaryDirectory(prefix="emolib-")
        style.set_style()
        wide = {"layout": {"width": "auto"}}
        self.sentence = widgets.Textarea(placeholder="A sentence of your own", rows=2, **wide)
        self.read = widgets.Button(description="Read it", button_style="primary")
        self.answer = widgets.HTML()
        self.upload = widgets.FileUpload(accept=_ENDINGS, description="Choose a file")
        self.message = widgets.HTML()
        self.column = widgets.Dropdown(description="texts", **wide)
        self.date = widgets.Dropdown(description="dates", **wide)
        self.rating = widgets.Dropdown(description="ratings", **wide)
        self.rated = widgets.Dropdown(description="they rate", options=_RATED, **wide)
        self.start = widgets.Button(description="Annotate", button_style="primary", disabled=True)
        self.stop = widgets.Button(description="Stop", disabled=True)
        self.bar = widgets.IntProgress(min=0, max=1, layout={"width": "auto"})
        self.result = widgets.VBox()
        self.read.on_click(lambda _: self._work(self._read_sentence, self.answer))
        self.upload.observe(lambda _: self._guard(self._take_file, self.message), names="value")
        self.start.on_click(lambda _: self._work(self._annotate, self.message))
        self.stop.on_click(lambda _: self._stopped.set())

    def show(self) -> widgets.VBox:
        """Everything, one below the other, so that it fits a phone."""
        hint = f"CSV, Excel, SPSS, Stata, text and more, up to {LARGEST} MB; optional: a column of"
        hint = f"<p>{hint} dates for a time line, and of your own ratings to compare with.</p>"
        chosen = widgets.VBox([self.column, self.date, self.rating, self.rated])
        parts = [widgets.HTML(_INTRO), self.sentence, self.read, self.answer]
        parts += [widgets.HTML("<h2>A file of texts</h2>" + hint), self.upload, chosen]
        parts += [widgets.HBox([self.start, self.stop]), self.bar, self.message, self.result]
        return widgets.VBox(parts, layout={"max_width": "60rem", "margin": "0 auto"})

    def _work(self, action, place: widgets.HTML) -> threading.Thread:
        """Runs an action beside the page, which goes on answering, `Stop` among it."""
        thread = threading.Thread(target=self._guard, args=(action, place), daemon=True)
        thread.start()
        return thread

    def _guard(self, action, place: widgets.HTML) -> None:
        """One action at a time; what goes wrong is shown in `place`."""
        with self._lock:
            try:
                action()
            except DataError as error:
                place.value = _say(str(error).replace(f"{self._folder.name}/", ""), "#b00")
            except Exception as error:  # the page must not fall silent
                place.value = _say(f"{type(error).__name__}: {error}", "#b00")

    def _load(self) -> Annotator:
        if self._annotator is None:
            self._annotator = Annotator(self.model, progress=False)
        return self._annotator

    def _read_sentence(self) -> None:
        self.answer.value = _say("Reading ...")
        frame = self._load()([self.sentence.value])
        reason = frame["reason"].iloc[0]
        if pd.notna(reason):
            self.answer.value = _say(reason)
            return
        note, table = frame["note"].iloc[0], text_plots.summarize(frame).drop(columns="text")
        said = "" if pd.isna(note) else _say(f"Note: {note}.")
        self.answer.value = _to_html(table) + said

    def _take_file(self) -> None:
        """The uploaded file, on disk; its columns in the menus."""
        self.start.disabled, self.result.children = True, ()
        if not self.upload.value:
            return
        (given,) = self.upload.value
        size = len(given["content"]) / 2**20
        if size > LARGEST:
            hint = f"is {size:.0f} MB, more than {LARGEST}: use emolib annotate on the command line"
            raise DataError(f"{given['name']} {hint}")
        self.source = Path(self._folder.name, Path(given["name"]).name)
        self.source.write_bytes(bytes(given["content"]))
        self.found = _inspect(self.source)
        self.column.options = list(self.found.columns)
        self.column.value = self.found.column
        for menu in (self.date, self.rating):
            menu.options, menu.value = [_NONE, *self.found.columns], _NONE
        self.message.value = _say(f"{self.source.name}: {self.found.rows} rows. Choose a column.")
        self.start.disabled = False

    def _annotate(self) -> None:
        self._stopped.clear()
        self.start.disabled, self.stop.disabled, self.result.children = True, False, ()
        self.message.value, self.bar.value = _say("Loading the model ..."), 0
        self.bar.max = max(1, self.found.rows)
        folder = Path(self._folder.name, "results")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            self._fill(folder)
        except _Stopped:
            self.message.value = _say("Stopped. Nothing was kept.")
        finally:
            self.start.disabled, self.stop.disabled = False, True

    def _fill(self, folder: Path) -> None:
        target = folder / f"{self.source.name.split('.')[0]}_annotated.csv"
        files = FileSettings(progress=False, input_format=self.found.format)
        annotate_file.annotate_file(
            self.source, target, self.column.value, self._load(), files, advance=self._advance
        )
        shutil.rmtree(f"{target}.run")
        table = pd.read_csv(target, keep_default_na=False, na_values=[""])
        shown = [self._show_table(table), *self._draw(table)]
        if self.rating.value != _NONE:
            shown += self._validate(target, folder / "validation")
        archive = shutil.make_archive(f"{self._folder.name}/annotated", "zip", folder)
        links = [_link(target), _link(Path(archive))]
        more = "the codebook" + " and the report" * (self.rating.value != _NONE)
        said = f"Done: {len(table)} rows. {links[0]}, or {links[1]} with {more}."
        self.message.value = f"<p>{said}</p>"
        self.result.children = shown

    def _advance(self, rows: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
        self.bar.value += rows
        self.message.value = _say(f"{self.bar.value} of {self.bar.max} rows")

    def _show_table(self, table: pd.DataFrame) -> widgets.HTML:
        frame = table.rename(columns={self.column.value: "text"}).head(_SHOWN)
        more = f"<p>The first {_SHOWN} of {len(table)} rows.</p>" * (len(table) > _SHOWN)
        return widgets.HTML("<h2>Result</h2>" + more + _to_html(text_plots.summarize(frame)))

    def _draw(self, table: pd.DataFrame) -> list:
        frame = table.rename(columns={self.column.value: "text"})
        shown = []
        if "anger_intensity" in frame and "valence" in frame:  # a lexicon gives valence alone
            shown.append(_to_picture(text_plots.draw_profile(frame.head(_SHOWN))))
        if self.date.value != _NONE:
            times = pd.to_datetime(frame[self.date.value], errors="coerce", format="mixed")
            if times.nunique() < 2:
                return [*shown, widgets.HTML(_say(f"{self.date.value}: no dates to be read"))]
            line = text_plots.draw_timeline(frame[times.notna()], times.dropna())
            shown.append(_to_picture(line))
        return shown

    def _validate(self, target: Path, folder: Path) -> list:
        gold = {self.rated.value: self.rating.value}
        found = validate.validate_file(target, folder, gold, None, self.column.value, fit=True)
        validation_report.write(found, folder)
        fitting.write(folder / "calibration.json", found.fits, **found.about)
        texts = [*found.notes, validation_report.describe(found)]
        pictures = [_to_image(path) for path in sorted((folder / "figures").glob("*.png"))]
        return [widgets.HTML("<h2>Beside your ratings</h2>" + "".join(map(_say, texts))), *pictures]


class _Stopped(Exception):
    pass


def _inspect(path: Path) -> read_files.Source:
    """The file, with the column that holds the longest texts."""
    found = read_files.inspect(path, None if find_format(path) != "lines" else "text")
    if found.column is None:
        head = next(read_files.read(found, 200), pd.DataFrame(columns=list(found.columns)))
        lengths = {name: head[name].astype("str").str.len().mean() for name in head}
        found = replace(found, column=max(lengths, key=lambda name: lengths[name]))
    return found


def _say(text: str, color: str = "inherit") -> str:
    return f'<p style="color:{color};line-height:1.4;white-space:normal">{html.escape(text)}</p>'


def _to_html(table: pd.DataFrame) -> str:
    shown = table.map(lambda value: f"{value:.2f}" if isinstance(value, float) else value)
    table = shown.to_html(index=False, border=0, justify="left")
    table = table.replace("<table", '<table style="border-spacing:.8rem .1rem"', 1)
    return f'<div style="overflow-x:auto;text-align:left">{table}</div>'


def _to_picture(axes) -> widgets.Image:
    stream = io.BytesIO()
    axes.figure.savefig(stream, format="png", bbox_inches="tight")
    plt.close(axes.figure)
    return widgets.Image(value=stream.getvalue(), layout={"max_width": "100%"})


def _to_image(path: Path) -> widgets.Image:
    return widgets.Image(value=path.read_bytes(), layout={"max_width": "100%"})


def _link(path: Path) -> str:
    """A link that carries the file: no address serves it to anybody else."""
    data = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(path.name)
    href = f"data:application/octet-stream;base64,{data}"
    return f'<a style="{_LINK}" download="{name}" href="{href}">{name}</a>'
