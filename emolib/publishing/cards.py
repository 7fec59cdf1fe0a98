"""Model cards for the Hub: metadata, scores with their intervals, and plain words."""

import json
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from emolib import DataError, __version__
from emolib.data import prompts
from emolib.evaluation.score_files import REAL, read_csv
from emolib.models.catalog import ALIASES, LICENSES, SERIES
from emolib.tasks import TASKS

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # OWNER/NAME
SEMEVAL = "SemEvalWorkshop/sem_eval_2018_task_1"  # the corpus's page on the Hub
_DATA_LICENSES = {"official": "semeval-2018-research-only", "sample": "mit"}
_NUMBERS = ["value", "low", "high", "n", "unparsed"]
_WORDS = ["model", "task", "metric", "data", "items", "run", "decoding", "commit"]
_METRICS = {"pearson": "pearsonr", "f1_micro": "f1", "f1_macro": "f1"}  # the Hub's ids


def describe_model(facts: dict, scores: pd.DataFrame | None = None) -> ModelCard:
    """The card of an adapter or a model, from the template `card.md`.

    `facts`: repo (OWNER/NAME), kind ("adapter", "merged" for an adapter added into the weights, or
    "whole" where all weights were tuned), base (a Hub id), seq2seq, dtype, record (a run.json to
    publish), from_gguf (whether the base was unpacked from a GGUF file), and what `find_licenses`
    gives. `scores` as `read_scores` gives them; without them the card says that there are none.
    """
    settings, rows = facts["record"]["settings"], []
    tag = "text2text-generation" if facts["seq2seq"] else "text-generation"
    if scores is not None:
        rows = scores.to_dict("records")
    results = [_make_result(row, tag) for row in rows]
    corpus = SEMEVAL if facts["data"] == "official" else facts["data"]
    adapter = facts["kind"] == "adapter"
    card_data = ModelCardData(
        language="en",
        **_combine_licenses(facts),
        library_name="peft" if adapter else "transformers",
        pipeline_tag=tag,
        base_model=facts["base"],
        base_model_relation="adapter" if adapter else "finetune",
        datasets=[corpus] if HUB_ID.fullmatch(corpus) else None,
        metrics=sorted({each.metric_type for each in results}) or None,
        tags=["emotion", "affect", "sentiment-analysis", "emolib"],
        model_name=facts["repo"].partition("/")[2] if results else None,
        eval_results=results or None,
    )
    return ModelCard.from_template(
        card_data,
        template_path=str(Path(__file__).with_name("card.md")),
        address=read_address(),
        version=__version__,
        settings=settings,
        rows=rows,
        prompt=_render_prompt(settings.get("prompt_form")),
        **facts,
    )


def find_licenses(base: str, base_license, data, data_license) -> dict[str, str]:
    """base_license, data and data_license; DataError names the one that is missing.

    `data` says where the training rows came from.
    """
    if data is None:
        raise DataError(
            "the run does not record where its rows came from: data= is official"
            " (SemEval-2018), sample, or another corpus's Hub id or name"
        )
    data_license = _DATA_LICENSES.get(data, data_license)
    if data_license is None:
        raise DataError(f"data {data!r}: name its licence too (data_license=)")
    known = [name for start, name in LICENSES.items() if base.startswith(start)]
    if not (known or base_license):
        raise DataError(f"the licence of {base} is not known here: base_license=")
    named = {"data": data, "data_license": data_license}
    return named | {"base_license": base_license or known[0]}


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


def read_scores(path: str | Path, model: str, weights: str, column: str):
    """The rows of a score file that belong to `model`, a data frame in its order.

    `weights` is the hash that `column` must contain: scores of other weights, however similar, are
    not this model's. DataError names file and line for those, for scores on the bundled sample,
    unknown tasks and numbers that are none.
    """
    table = read_csv(Path(path), [*_WORDS, *_NUMBERS, column])
    rows = table[table["model"] == model]
    if rows.empty:
        known = ", ".join(map(str, table["model"].unique()))
        raise DataError(f"{path}: no model {model!r} there: scored= is one of {known}")
    numbers = rows[_NUMBERS].apply(pd.to_numeric, errors="coerce")
    faults = {
        "scores on the sample say nothing about a model": ~rows["data"].isin(REAL),
        "scores of other weights: evaluate this model itself": rows[column] != weights,
        "a number is missing": ~np.isfinite(numbers).all(axis=1),
        "no such task": ~rows["task"].isin(TASKS),
    }
    for reason, wrong in faults.items():
        if wrong.any():
            raise DataError(f"{path}:{wrong.idxmax() + 2}: {reason}")
    return rows.assign(**numbers).astype(object).fillna("not recorded")


def read_address() -> str:
    """The project's address, from its package metadata."""
    return metadata.metadata("emolib")["Project-URL"].rpartition(" ")[2]


def _combine_licenses(facts: dict) -> dict[str, str]:
    """The card's licence fields: one known licence, or "other" with name and link."""
    base, data = facts["base_license"], facts["data_license"]
    if data in (base, "mit"):
        return {"license": base}
    name = re.sub(r"[^a-z0-9.]+", "-", f"{base}-and-{data}".lower()).strip("-")
    link = f"https://huggingface.co/{facts['repo']}#licences"
    return {"license": "other", "license_name": name, "license_link": link}


def _make_result(row: dict, tag: str) -> EvalResult:
    """A score for the model-index, its interval in the name and as numbers in args."""
    metric, corpus = row["metric"].partition(".")[0], TASKS[row["task"]].corpus
    interval = f"95 % interval [{row['low']:.2f}, {row['high']:.2f}]"
    return EvalResult(
        task_type=tag,
        task_name=row["task"],
        dataset_type=SEMEVAL if corpus == "semeval2018" else corpus,
        dataset_name=f"AEB, {row['task']} ({row['items']})",
        dataset_config=row["task"],
        dataset_split="test",
        metric_type=_METRICS.get(metric, metric),
        metric_value=row["value"],
        metric_name=f"{row['metric']}, {interval}, n = {row['n']}",
        metric_args={name: row[name] for name in _NUMBERS[1:]},
        source_name=f"emolib run {row['run']}, commit {row['commit']}",
        source_url=read_address(),
    )


def _render_prompt(form: str | None) -> str | None:
    """A prompt as a Python string; None where only a tokenizer can write it."""
    if form in (None, "chat"):
        return None
    row = {"task": "V-reg", "text": "I got the job!!!"}
    row["instruction"] = prompts.instructions("V-reg")[0]
    return json.dumps(prompts.render(row, form)["prompt"])
