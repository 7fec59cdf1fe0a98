"""A codebook beside an annotated file: what each column means and how it was made."""

from pathlib import Path

import pandas as pd
from pandas.api import types

from emolib.annotation.columns import COLUMNS, list_columns
from emolib.annotation.formats import layouts
from emolib.annotation.notes import NOTES
from emolib.annotation.sentences import rename
from emolib.annotation.settings import FileSettings
from emolib.files import write_csv, write_json
from emolib.tasks import Task, describe_class, get

_HEADER = ["name", "type", "title", "description", "minimum", "maximum", "enum", "made_by"]
_TYPES = {"score": "number", "ordinal": "integer", "labels": "boolean"}
_SURE = {"score": "lies within 0.1 of what raters say", "ordinal": "is right", "labels": "is right"}
_VALENCE = "How positive the text is, from 0, most negative, over 0.5, neutral, to 1, most positive"
_OTHER = {
    "text_row": ("integer", "The text's row in the source, from 1"),
    "sentence_number": ("integer", "The sentence's place in its text, from 1"),
    "sentence": ("string", "The sentence that the values are of"),
    "sentences": ("integer", "How many of the text's sentences were annotated"),
    "labels": ("string", f'The labels that the text has, joined by "; ", or {layouts.NO_LABELS}'),
    "measure": ("string", "What the value is of"),
    "value": ("number", "The measure's value; of has_joy and so on 1, yes, or 0, no"),
    "confidence": ("number", "The model's own probability that the value is right, 0 to 1"),
    "low": ("number", "The low end of the value's interval, for scores"),
    "high": ("number", "The high end of the value's interval, for scores"),
    "reason": ("string", "Why the text was not annotated, or not all of it"),
    "note": ("string", f"What the model was not made for: {', '.join(NOTES)}"),
}


def write(target: str | Path, table: pd.DataFrame, record: dict) -> None:
    """Writes TARGET.codebook.csv, a row per column, and TARGET.codebook.json, a Table Schema.

    `table`: rows of the target; `record`: its run's. The JSON is as Frictionless Data has it:
    fields with name, type, title, description and constraints; under `made` stand the run's date,
    versions and settings. Each file is written whole or not at all; but for the date, equal runs
    give equal codebooks.
    """
    fields = list_fields(table, record)
    made = {key: record[key] for key in ("made", "commit", "versions", "settings")}
    schema = {"fields": fields, "missingValues": [""], "made": made}
    write_json(f"{target}.codebook.json", schema)
    rows = [each | each.get("constraints", {}) for each in fields]
    rows = [row | {"enum": "; ".join(map(str, row.get("enum", [])))} for row in rows]
    write_csv(f"{target}.codebook.csv", pd.DataFrame(rows).reindex(columns=_HEADER), "%g")


def list_fields(table: pd.DataFrame, record: dict) -> list[dict]:
    """The columns of `table` as a Table Schema's fields, each with `made_by`."""
    settings = record["settings"]
    names = ("unit", "aggregate", "output_columns")
    files = FileSettings(**{name: settings[name] for name in names})
    values = list_columns(settings["tasks"], settings["coverage"])
    added, known = layouts.list_added(files, list(values)), _describe_values(settings)
    if files.output_columns == "long":
        measures = list(dict.fromkeys(table["measure"]))
        listed = "; ".join(f"{name}: {known[name]['description']}" for name in measures)
        known = {"measure": _make("string", f"What the value is of. {listed}", enum=measures)}
    version, fields = f"emolib {record['versions'].get('emolib')}", []
    for name in table:
        if name not in added:
            field = _make(_find_type(table[name]), "From the source") | {"made_by": "the source"}
        else:
            field = known.get(name) or _make(*_OTHER[name])
            maker = version if name in (*layouts.KEYS, "sentences") else _name_maker(record)
            field = {"title": name.replace("_", " ").capitalize()} | field | {"made_by": maker}
        fields.append({"name": name, "title": name} | field)
    return fields


def _make(kind: str, description: str, **constraints) -> dict:
    field = {"type": kind, "description": description}
    return field | ({"constraints": constraints} if constraints else {})


def _describe_values(settings: dict) -> dict[str, dict]:
    """Column -> its field, for every value and what stands beside it."""
    fields, limits = {}, {"minimum": 0, "maximum": 1}
    for task in map(get, settings["tasks"]):
        for emotion in task.emotions or task.labels or ("",):
            name = COLUMNS[task.name].format(emotion)
            sure = f"The model's own probability that {name} {_SURE[task.kind]}"
            fields |= {name: _describe_value(task, emotion)}
            fields[f"{name}_confidence"] = _make("number", sure, **limits)
            for end in ("low", "high") if settings["coverage"] else ():
                share = f"in {settings['coverage']:.0%} of texts, raters' mean lies within it"
                text = f"The {end} end of {name}'s interval: {share}"
                fields[f"{name}_{end}"] = _make("number", text, **limits)
    for name in [n for part in settings.get("fits", {}).values() for n in part]:
        fields[name]["description"] += "; fitted to ratings, on their scale (--calibration)"
    if settings["aggregate"]:
        return {rename(name): _describe_mean(name, field) for name, field in fields.items()}
    return fields


def _describe_value(task: Task, emotion: str) -> dict:
    kind, limits = _TYPES[task.kind], {}
    text = f"How strong {emotion} is, from 0, not at all, to 1" if emotion else _VALENCE
    if task.kind == "score":
        limits = dict(zip(("minimum", "maximum"), task.range, strict=True))
    elif task.kind == "ordinal":
        limits = {"enum": list(task.classes)}
        text = "; ".join(describe_class(task, value, emotion) for value in task.classes)
    else:
        text = f"Whether {emotion} is among the text's emotions"
    return _make(kind, f"{text} ({task.name})", **limits)


def _describe_mean(name: str, field: dict) -> dict:
    limits = field.get("constraints", {})
    classes = limits.get("enum", [limits.get("minimum", 0), limits.get("maximum", 1)])
    text = f"The mean over the text's sentences of: {field['description']}"
    if rename(name) != name and not name.endswith("_confidence"):
        text = f"The share of the text's sentences of which {name} is true, see E-c"
    return _make("number", text, minimum=min(classes), maximum=max(classes))


def _find_type(column: pd.Series) -> str:
    """The column's type in a Table Schema, as far as a table has it."""
    kind = column.infer_objects().dtype
    if types.is_bool_dtype(kind):
        return "boolean"
    if types.is_integer_dtype(kind):
        return "integer"
    return "number" if types.is_numeric_dtype(kind) else "string"


def _name_maker(record: dict) -> str:
    """Model, hashes of its weights and adapter, version and date."""
    settings = record["settings"]
    keys = ("weights", "adapter_weights", "calibration")
    hashes = [f"{key} {settings[key]}" for key in keys if settings.get(key)]
    version, date = record["versions"].get("emolib"), record["made"][:10]
    return ", ".join([settings["model"], *hashes, f"emolib {version}", date])
