"""How well the tool reads the texts that somebody rated: a check before its columns are trusted.

Pangakis et al. (2023) ask for 250 to 1,250 ratings by hand per question; what the interval would be
with more of them is part of the answer here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pooch

from emolib import DataError, __version__, runs
from emolib.annotation.formats import read_files
from emolib.annotation.settings import DEFAULT_MODEL, READING, FileSettings
from emolib.annotation.validation import agreement, fitting, ratings
from emolib.annotation.validation.ratings import Pair

ANNOTATED = "annotated.parquet"  # beside the report: the texts with the tool's columns
_FEW = 250  # ratings, below which the report says that they are few
_CODES = {-9, -99, -999, 99, 999, 9999}  # that stand for no rating in many files
_FIT_PARTS = {"score": "scores", "class": "classes", "label": "labels"}
_WORST = 20


@dataclass
class Validation:
    """What `validate` found.

    `pairs`: what was compared with what. `measures`: a row per column, fit ("as it is", or "fitted,
    unseen texts") and measure: column, fit, measure, value, low, high (95 %), n, missing. `raters`:
    a row per column, see `agreement.compare_raters`. `widths`: column, n, width of the main
    measure's interval. `points`: column to a frame of text, gold, predicted (and fitted), on the
    scale of `Pair.kind`. `worst`: the texts that differ most, by column. `notes`: what a reader
    must know, a sentence each. `fits`: see `fitting.write`. `about`: model, versions, file.
    """

    pairs: list[Pair]
    measures: pd.DataFrame
    raters: pd.DataFrame
    widths: pd.DataFrame
    points: dict[str, pd.DataFrame]
    worst: pd.DataFrame
    notes: list[str]
    fits: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)


def validate_file(
    source: str | Path,
    folder: str | Path,
    gold: Mapping,
    ranges: Mapping | None = None,
    text_column: str = "text",
    model: str = DEFAULT_MODEL,
    fit: bool = False,
    files: FileSettings | None = None,
    **settings,
) -> Validation:
    """`validate` of a file of texts and ratings, which are annotated where they are not yet.

    `source` as `annotate_file` reads it. If it holds the columns of `annotate` already, they are
    taken as they are; if not, `folder` gets the annotated texts, and a second call (another scale,
    another column) does not compute them again. `settings` are those of `annotate`.
    """
    files = files or FileSettings()
    how = {name: getattr(files, name) for name in READING}
    found = read_files.inspect(source, text_column, files.input_format, **how)
    table = pd.concat(read_files.read(found, 10_000, typed=True), ignore_index=True)
    pairs = ratings.pair(table, gold, ranges)
    for pair in pairs:  # before anything is computed
        ratings.read(table, pair, f"{source}: ")
        if pair.column in table and f"{pair.column}_confidence" not in table:
            hint = "and was not made by annotate: rename it"
            problem = f"the column {pair.column!r} is called like one of ours"
            raise DataError(f"{source}: {problem}, {hint}")
    if files.unit != "text" and not files.aggregate:
        raise DataError("unit sentence: ratings are of texts: take aggregate mean as well")
    record, before = {}, all(pair.column in table for pair in pairs)
    if not before:
        table, record = _annotate(table, found, Path(folder), model, files, settings)
        record["settings"]["name"] = model
    elif Path(f"{source}.run", "run.json").is_file():
        record = runs.read(f"{source}.run")
    result = validate(table, gold, ranges, text_column, fit, f"{source}: ")
    if before:
        said = "The file was annotated before: settings of annotating were not used."
        result.notes.insert(0, said)
    result.about = _describe(record, source) | {"gold": {k: str(v) for k, v in gold.items()}}
    result.about["ranges"] = {name: str(scale) for name, scale in (ranges or {}).items()}
    return result


def _annotate(table: pd.DataFrame, source, folder: Path, model: str, files, settings: dict):
    """The table with the tool's columns, and the record of the run that made them."""
    from emolib.annotation import annotate_file  # torch

    if clash := [n for n in table if n == "reason" or n.endswith("_confidence")]:
        raise DataError(f"{source.path}: some columns of annotate, {', '.join(clash)}: rename them")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / ANNOTATED
    chosen = {each: getattr(files, each) for each in vars(files) if each != "output_format"}
    chosen |= {"resume": not files.overwrite, "overwrite": files.overwrite}
    chosen |= {"output_columns": "wide", "escape_formulas": False}
    annotate_file.annotate_file(
        source.path, target, source.column, model, FileSettings(**chosen), **settings
    )
    return pd.read_parquet(target), runs.read(f"{target}.run")


def _describe(record: dict, source) -> dict:
    """What the figures belong to: model, versions, the file's hash, date."""
    settings, versions = record.get("settings", {}), record.get("versions", {})
    about = {"file": Path(source).name, "sha256": pooch.file_hash(str(source))}
    hashes = ("name", "model", "weights", "adapter_weights")
    about |= {name: settings[name] for name in hashes if settings.get(name)}
    about |= {"emolib": versions.get("emolib", __version__), "commit": record.get("commit")}
    return about | {"annotated": record.get("made"), "made": runs.provenance()["made"]}


def validate(
    table: pd.DataFrame,
    gold: Mapping,
    ranges: Mapping | None = None,
    text_column: str = "text",
    fit: bool = False,
    where: str = "",
) -> Validation:
    """Annotated texts beside people's ratings of them.

    `table`: the columns of `annotate` and those of the raters; `gold` and `ranges`: see
    `ratings.pair`. Several raters' scores are averaged, and a label counts where at least half of
    them gave it. Where at least half of the texts stand in several rows, a text's rows are taken as
    its raters; else every row is an item of its own. `fit`: also fit a scale, cut points and
    thresholds, and measure them on texts they were not fitted to.

    A column that is constant, or lacks ratings, gives a sentence in `notes` and missing values.
    DataError as of `ratings.pair` and `ratings.read`; and where no text has a rating.
    """
    pairs, notes, parts = ratings.pair(table, gold, ranges), [], {}
    found = {name: [] for name in ("measures", "raters", "widths", "worst")}
    fits: dict = {part: {} for part in _FIT_PARTS.values()}
    for pair in pairs:
        if pair.column not in table:
            raise DataError(f"{where}no column {pair.column!r}: annotate the texts first")
        points, rated, missing = _collect(table, pair, text_column, where)
        parts[pair.title] = points
        if fit and not pair.probability:
            fits[_FIT_PARTS[pair.kind]] |= _fit(points, pair)
        notes += _comment(points, pair, missing)
        if "fitted" in points and pair.column not in fits[_FIT_PARTS[pair.kind]]:
            points.drop(columns="fitted", inplace=True)
            notes.append(f"{pair.title}: no fit beats the tool as it is on unseen texts.")
        _measure(found, points, rated, pair, missing)
    worst = pd.concat(found.pop("worst"), ignore_index=True)
    names = {"widths": ["column", "n", "width"]}
    frames = {name: pd.DataFrame(rows, columns=names.get(name)) for name, rows in found.items()}
    frames["worst"] = worst
    return Validation(pairs=pairs, points=parts, notes=notes, fits=fits if fit else {}, **frames)


def _collect(table: pd.DataFrame, pair: Pair, text_column: str, where: str):
    """The texts that have a rating and an answer, their ratings [raters, texts], what was left."""
    rated = ratings.read(table, pair, where)
    frame = pd.DataFrame(rated.T, index=table.index).assign(
        text=table[text_column].astype(object), own=_read_own(table, pair)
    )
    raw = fitting.find_raw(table, pair.column)
    frame["raw"] = np.nan if raw is None else raw
    usable = frame["own"].notna() & ~np.isnan(rated).all(0)
    frame, missing = frame[usable], int((~usable).sum())
    if frame.empty:
        raise DataError(f"{where}{pair.column}: no text has a rating in {', '.join(pair.raters)}")
    groups = frame.groupby("text", sort=False)
    if (groups.size() > 1).mean() < 0.5:  # the same short words, each rated where they stood
        groups = frame.groupby(np.arange(len(frame)))
    rows, turn = groups.ngroup(), groups.cumcount()
    raters = len(pair.raters)
    matrix = np.full(((turn.max() + 1) * raters, rows.max() + 1), np.nan)
    for number in range(raters):
        matrix[turn * raters + number, rows] = frame[number]
    points = groups.first().reset_index()
    mean = np.nanmean(matrix, axis=0)
    points["gold"] = mean if pair.kind == "score" else np.floor(mean + 0.5)
    points["predicted"] = points["own"]
    return points[["text", "gold", "predicted", "raw"]], matrix, missing


def _read_own(table: pd.DataFrame, pair: Pair) -> pd.Series:
    """The tool's answers on the scale of the ratings."""
    if pair.probability:
        if (found := fitting.find_raw(table, pair.column)) is None:
            raise DataError(
                f"{pair.title}: no column {pair.column}_confidence, which it is read from"
            )
        return found
    own = fitting.read_column(table, pair.column)
    return own + 3 if pair.column == "valence_class" else own


def _fit(points: pd.DataFrame, pair: Pair) -> dict:
    """The fit of one column by its name, if there is one; its answers as the column fitted."""
    gold, raw, own = (points[name].to_numpy(float) for name in ("gold", "raw", "predicted"))
    if np.isnan(raw).any():
        return {}
    classes = 7 if pair.column == "valence_class" else 4
    points["fitted"] = fitting.predict_unseen(pair.kind, gold, raw, own, classes)
    fitted = fitting.fit(pair.kind, gold, raw, own, classes)
    return {pair.column: fitted} if fitted else {}


def _measure(found: dict, points: pd.DataFrame, rated: np.ndarray, pair: Pair, missing: int):
    """Adds a column's rows to the tables."""
    gold = points["gold"].to_numpy(float)
    for name, fit in (("predicted", "as it is"), ("fitted", "fitted, unseen texts")):
        if name not in points:
            continue
        own = points[name].to_numpy(float)
        values = agreement.measure(pair.kind, gold, own, alpha=True)
        ends = agreement.resample(pair.kind, gold, own, alpha=True) if len(gold) > 9 else {}
        for measure, value in values.items():
            low, high = ends.get(measure, (np.nan, np.nan))
            row = {"column": pair.title, "fit": fit, "measure": measure, "value": float(value)}
            found["measures"].append(
                row | {"low": low, "high": high, "n": len(gold), "missing": missing}
            )
    own = points["predicted"].to_numpy(float)
    beside = agreement.compare_raters(pair.kind, rated, own)
    found["raters"].append({"column": pair.title, "raters": len(rated), **beside})
    for n, width in agreement.find_widths(pair.kind, pair.main, gold, own).items():
        found["widths"].append({"column": pair.title, "n": n, "width": width})
    worst = points.assign(column=pair.title, distance=(points["gold"] - own).abs())
    worst = worst[worst["distance"] > 0].sort_values("distance", ascending=False, kind="stable")
    found["worst"].append(worst[["column", "text", "gold", "predicted", "distance"]].head(_WORST))


def _comment(points: pd.DataFrame, pair: Pair, missing: int) -> list[str]:
    """A sentence for everything that makes this column's figures less than they seem."""
    n, notes = len(points), []
    for name, whose in (("gold", "ratings"), ("predicted", "answers of the tool")):
        if points[name].nunique() < 2:
            notes.append(f"all {n} {whose} are the same: correlations and kappa have no value")
    if pair.kind == "label" and 0 < min((points["gold"] == x).sum() for x in (0, 1)) < 20:
        counts = f"{int(points['gold'].sum())} of {n} texts have it by the raters"
        notes.append(f"{counts}: with fewer than 20 on either side every figure is a guess")
    if n < _FEW:
        notes.append(f"{n} rated texts are few: Pangakis et al. (2023) ask for 250 or more")
    if missing:
        notes.append(f"{missing} rows lack a rating, a text or an answer and are left out")
    if pair.found:
        scale = pair.scale.partition(", as")[0]
        notes.append(f"the scale, {scale}, was taken from the values: if it is wider, name it")
        if codes := ", ".join(f"{x:g}" for x in pair.levels if x in _CODES):
            notes.append(f"if {codes} means that there is no rating, empty these cells")
    if again := int(points["text"].duplicated().sum()):
        notes.append(f"{again} texts stand there before: each row counts as a text of its own")
    return [f"{pair.title}: {note}." for note in notes]
