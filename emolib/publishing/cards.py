"""Model cards for the Hub: metadata, scores with their intervals, and plain words."""

import json
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Template

from emolib import DataError, __version__, models
from emolib.data import profiles, prompts
from emolib.evaluation.score_files import REAL, read_csv, refuse
from emolib.models.catalog import ALIASES, LICENSES, SERIES
from emolib.tasks import TASKS

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # OWNER/NAME
_SEMEVAL = "SemEvalWorkshop/sem_eval_2018_task_1"  # the corpus's page on the Hub
_CORPORA = {"official": _SEMEVAL, "semeval2018": _SEMEVAL}
_DATA_LICENSES = {"official": "semeval-2018-research-only", "sample": "mit"}
_NUMBERS = ["value", "low", "high", "n", "unparsed"]
_WORDS = ["model", "task", "metric", "data", "items", "run", "decoding", "commit"]
_METRICS = {"pearson": "pearsonr", "f1_micro": "f1", "f1_macro": "f1"}  # the Hub's ids


def describe_model(repo: str, source: Path, record: dict, kind: str, chosen) -> str:
    """The card of what a run made, from the template `card.md`.

    `source` is the run's folder with weights, `kind` is "adapter", "merged" for an adapter added
    into its base's weights, or "whole" where all weights were tuned; `chosen` are `hub.Settings`.
    """
    settings, rows, prompt = record["settings"], [], None
    config, named = read_config(source), settings["model"]
    base = name_base(chosen.base or named)
    if chosen.scores:
        column = "weights" if kind == "whole" else "adapter_weights"
        rows = read_scores(chosen.scores, chosen.scored, models.hash_weights(source), column)
    form, text = settings.get("prompt_form"), "I got the job!!!"
    if form == profiles.PROFILE:
        prompt = json.dumps(profiles.render(text))
    elif form not in (None, "chat"):  # only a tokenizer can write a chat
        row = {"task": "V-reg", "text": text}
        row["instruction"] = prompts.instructions("V-reg")[0]
        prompt = json.dumps(prompts.render(row, form)["prompt"])
    facts = {"repo": repo, "kind": kind, "base": base, "rows": rows, "prompt": prompt}
    facts["profile"] = form == profiles.PROFILE
    facts |= find_licenses(base, chosen, settings.get("data"))
    facts["seq2seq"] = config.get("task_type") == "SEQ_2_SEQ_LM" or config.get("is_encoder_decoder")
    facts["from_gguf"] = named.endswith(".gguf") or (named in ALIASES and record.get("weights"))
    record = remove_paths(record, base)
    return render("card.md", record=record, dtype=chosen.dtype, **facts)


def read_config(source: Path) -> dict:
    """The configuration in a run's folder with weights; DataError if it is none."""
    path = source / ("adapter_config.json" if source.name == "adapter" else "config.json")
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no model's configuration: {error}") from error


def render(template: str, **values) -> str:
    """A card from a template that lies here; all know the project's address and version."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    address = metadata.metadata("emolib")["Project-URL"].rpartition(" ")[2]
    return Template(text).render(address=address, version=__version__, **values) + "\n"


def find_licenses(base: str, chosen, recorded: str | None) -> dict[str, str | None]:
    """data (where the training rows came from), its corpus on the Hub, and the licences.

    `recorded` is what the run says of its data. license_name is None where the base's licence
    covers both. DataError names what is missing.
    """
    data = chosen.data or (recorded if recorded in _DATA_LICENSES else None)
    data_license = _DATA_LICENSES.get(data, chosen.data_license)
    known = [name for start, name in LICENSES.items() if base.startswith(start)]
    base_license = chosen.base_license or next(iter(known), None)
    needed = {
        "the run does not record where its rows came from: data= is official (SemEval-2018),"
        " sample, or another corpus's Hub id or name": data,
        f"data {data!r}: name its licence too (data_license=)": data_license,
        f"the licence of {base} is not known here: base_license=": base_license,
    }
    for reason, value in needed.items():
        if value is None:
            raise DataError(reason)
    corpus = _CORPORA.get(data, data)
    found = {"data": data, "data_license": data_license, "base_license": base_license}
    found["corpus"] = corpus if HUB_ID.fullmatch(corpus) else None
    both = None if data_license in (base_license, "mit") else f"{base_license}-and-{data_license}"
    return found | {"license_name": both and re.sub(r"[^a-z0-9.]+", "-", both.lower()).strip("-")}


def name_base(name: str) -> str:
    """The Hub id of a base model that a run names.

    DataError if it is a path: in adapter_config.json or in a card that breaks the Hub's pages and
    every reader's loading (transformers#33922).
    """
    if known := ALIASES.get(name) or SERIES.get(name):
        return known.hub
    if name.endswith(".gguf") or Path(name).exists() or not HUB_ID.fullmatch(name):
        raise DataError("the base model is not a Hub id: give base=OWNER/NAME")
    return name


def remove_paths(value, base: str):
    """A record to publish: None for strings that may be paths; its model is `base`.

    >>> remove_paths({"model": "/home/ann/llama", "cache": "~/x", "seed": 0}, "a/b")
    {'model': 'a/b', 'cache': None, 'seed': 0}
    """
    if isinstance(value, dict):
        kept = {key: remove_paths(each, base) for key, each in value.items()}
        return kept | {"model": base} if "model" in value else kept
    if isinstance(value, list):
        return [remove_paths(each, base) for each in value]
    return None if isinstance(value, str) and re.search(r"[/\\]|^~", value) else value


def read_scores(path: str | Path, model: str, weights: str, column: str) -> list[dict]:
    """The rows of a score file that belong to `model`, in its order.

    `weights` is the hash that `column` must contain: scores of other weights, however similar, are
    not this model's. DataError names file and line for those, for scores on the bundled sample,
    unknown tasks and numbers that are none.
    """
    table = read_csv(Path(path), [*_WORDS, *_NUMBERS, column])
    rows = table[table["model"] == model].copy()
    if rows.empty:
        known = ", ".join(map(str, table["model"].unique()))
        raise DataError(f"{path}: no model {model!r} there: scored= is one of {known}")
    rows[_NUMBERS] = rows[_NUMBERS].apply(pd.to_numeric, errors="coerce")
    faults = {
        "scores on the sample say nothing about a model": ~rows["data"].isin(REAL),
        "scores of other weights: evaluate this model itself": rows[column] != weights,
        "a number is missing": ~np.isfinite(rows[_NUMBERS]).all(axis=1),
        "no such task": ~rows["task"].isin(TASKS),
    }
    refuse(rows, faults)
    corpora = rows["task"].map(lambda name: TASKS[name].corpus).replace(_CORPORA)
    metrics = rows["metric"].str.partition(".")[0].replace(_METRICS)
    rows = rows.assign(corpus=corpora, hub_metric=metrics)
    return rows.astype(object).fillna("not recorded").to_dict("records")
