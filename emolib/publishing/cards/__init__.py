"""Cards for the Hub: what a model, or the builder of AAID, is; YAML and plain words.

Templates are the Markdown files of this folder. Every card is parsed again by
huggingface_hub's own classes before it is returned.
"""

import json
import re
from importlib import metadata, resources

import jinja2
import pandas as pd
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData

from emolib import DataError, __version__
from emolib.data import prompts
from emolib.publishing.cards.about import LICENSE_FILE, About
from emolib.publishing.cards.results import to_eval_results
from emolib.tasks import AAID, TASKS

SEMEVAL = "SemEvalWorkshop/sem_eval_2018_task_1"  # the Hub's page of the corpus
_SMALL = 3  # billions of parameters
_TAGS = ("sft", "emotion", "affect", "sentiment-analysis", "emolib")

__all__ = [
    "LICENSE_FILE",
    "describe_builder",
    "describe_licence",
    "describe_model",
]


def describe_model(about: About, results: pd.DataFrame | None = None) -> ModelCard:
    """The card of an adapter or a model; `results` as `results.read` gives them.

    Without results the card says that there are none.
    """
    tag = "text2text-generation" if about.seq2seq else "text-generation"
    found = [] if results is None else to_eval_results(results, tag, read_address())
    adapter = about.kind == "adapter"
    data = ModelCardData(
        language="en",
        **about.license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=tag,
        base_model=about.base,
        base_model_relation="adapter" if adapter else "finetune",
        datasets=_name_datasets(about.data),
        metrics=list(dict.fromkeys(each.metric_type for each in found)) or None,
        tags=[*(["lora"] if about.kind != "whole" else []), *_TAGS],
        model_name=about.repo.partition("/")[2],
        eval_results=found or None,
    )
    if not found:
        data.pop("model_name")  # else it would stand there as a field of its own
    rows = None if results is None else results.to_dict("records")
    facts = {"about": about, "rows": rows, "small": _is_small(about.base)}
    facts |= {"settings": about.record["settings"], "seconds": _measure(about.record)}
    facts["prompt"] = _show_prompt(about.record["settings"].get("prompt_form"))
    return ModelCard(_render("model.md", data, facts))


def describe_builder() -> DatasetCard:
    """The card of the dataset repository that holds the builder, and no corpus text."""
    data = DatasetCardData(
        language=["en"],
        license="mit",
        pretty_name="AAID builder: instructions for affect, without the tweets",
        annotations_creators=["crowdsourced"],
        language_creators=["expert-generated", "found"],
        multilinguality=["monolingual"],
        size_categories=["n<1K"],
        source_datasets=[f"extended|{SEMEVAL}"],
        task_categories=["text-generation", "text-classification"],
        task_ids=["sentiment-scoring", "multi-label-classification"],
        tags=["emotion", "affect", "instruction-tuning", "builder"],
        configs=[
            {
                "config_name": "instructions",
                "data_files": [{"split": "train", "path": "instructions.jsonl"}],
            }
        ],
    )
    sizes = [TASKS[name].sizes for name in AAID]
    count = len(prompts.instructions(next(iter(AAID))))
    facts = {
        "tasks": {name: len(prompts.instructions(name)) for name in AAID},
        "train": count * sum(size["train"] for size in sizes),
        "validation": count * sum(size["dev"] for size in sizes),
    }
    return DatasetCard(_render("builder.md", data, facts))


def describe_licence(about: About) -> str:
    """The text of `LICENSE_FILE`: what holds for each ingredient."""
    return _render("license.md", None, {"about": about})


def read_address() -> str:
    """The project's address, from its package metadata."""
    try:
        links = metadata.metadata("emolib").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        links = []
    found = dict(link.split(", ", 1) for link in links)
    if "Repository" not in found:
        raise DataError("emolib is not installed, only copied: pip install -e .")
    return found["Repository"]


def _render(template: str, data, facts: dict) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = (resources.files(__name__) / template).read_text("utf-8")
    common = {"address": read_address(), "version": __version__, "semeval": SEMEVAL}
    yaml = data.to_yaml() if data is not None else ""
    return environment.from_string(text).render(yaml=yaml, **common, **facts)


def _name_datasets(data: str) -> list[str] | None:
    """Hub ids of the training data: only what can be one."""
    if data == "official":
        return [SEMEVAL]
    return [data] if re.fullmatch(r"[\w.-]+/[\w.-]+", data) else None


def _is_small(base: str) -> bool:
    """Whether the size in a model's name is below `_SMALL` billions."""
    found = re.search(r"(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", base.lower())
    if not found:
        return False
    return found[2] == "m" or float(found[1]) < _SMALL


def _measure(record: dict) -> float | None:
    """Seconds from a run's start to its end, pauses included."""
    if not record.get("made") or not record.get("finished"):
        return None
    start, end = pd.Timestamp(record["made"]), pd.Timestamp(record["finished"])
    return (end - start).total_seconds()


def _show_prompt(form: str | None) -> list[str] | None:
    """One prompt's lines as Python strings; None where it takes a tokenizer."""
    if form in (None, "chat"):
        return None
    row = {"task": "V-reg", "text": "I got the job!!!"}
    row["instruction"] = prompts.instructions("V-reg")[0]
    text = prompts.render(row, form)["prompt"]
    return [json.dumps(line) for line in text.splitlines(keepends=True)]
