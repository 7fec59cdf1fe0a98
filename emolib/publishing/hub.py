"""Adapters, models and the builder of AAID, written for the Hub; uploaded if told to.

Every push is a dry run unless `dry_run=False`: the folder then holds, file by file,
what an upload would send. The token is the Hub client's own (`hf auth login`,
HF_TOKEN); no function here takes one.
"""

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from importlib import resources
from pathlib import Path

from huggingface_hub import ModelCard

from emolib import DataError, files, runs
from emolib.data import prompts
from emolib.publishing import cards
from emolib.publishing.cards import about, results
from emolib.publishing.cards.upload import CARD, Push, check_login, check_name, upload
from emolib.tasks import AAID

WHOLE = "model"  # the folder of a run that tuned all weights
_DTYPES = ("bfloat16", "float16")  # of a merged model: never less than 16 bits
_SECRET = re.compile(  # a token of the Hub, or a path on somebody's machine
    r"\bhf_[A-Za-z0-9]{30,}"
    r"|(?:^|[\s\"'(=])(?:~/|[A-Z]:\\+Users|/(?:home|root|Users|tmp|private|mnt|content)/)",
    re.MULTILINE,
)
_TEXT = (".md", ".json", ".jsonl", ".yaml", ".py", ".jinja")


@dataclass(frozen=True)
class Settings:
    """What `push_adapter` and `push_model` can be told.

    `data`: what the training rows were built from, which a run does not record:
    "official" (SemEval-2018), "sample", or another corpus's Hub id or name, then with
    its `data_license`. `base`, `revision`, `base_license`: the base model's Hub id,
    commit and licence, where the run or emolib does not know them. `scores`: a
    *_scores.csv, of which the rows of model `scored` are published. `dtype`: of a
    model's weights. `private` holds for a repository that the upload creates; one that
    is public already is refused.
    """

    data: str | None = None
    data_license: str | None = None
    base: str | None = None
    revision: str | None = None
    base_license: str | None = None
    scores: str | Path | None = None
    scored: str = "tuned"
    dtype: str = "bfloat16"
    dry_run: bool = True
    private: bool = True


def push_adapter(run: str | Path, repo: str, folder: str | Path, **settings) -> Push:
    """A finished run's adapter, with card, licences and record, written into `folder`.

    `repo` is OWNER/NAME on the Hub, `settings` the fields of `Settings`. With
    `dry_run=False` these files, and no others of the run, are uploaded too. The base in
    adapter_config.json becomes a Hub id, whatever path the run was trained from.

    DataError for an unfinished run, a base or licence that must be named, scores on the
    sample or of other weights, a folder with foreign files, and all the Hub's refusals.
    """
    chosen = _read_settings(settings, repo)
    source, record = _open(run, "adapter")
    config = _read_config(source / "adapter_config.json")
    told = about.gather(repo, "adapter", record, chosen)
    told = replace(told, seq2seq=config.get("task_type") == "SEQ_2_SEQ_LM")
    config |= {"base_model_name_or_path": told.base, "revision": chosen.revision}
    card = cards.describe_model(told, _read_scores(source, chosen))
    with _writing(folder, run) as made:
        weights = "adapter_model.safetensors"
        shutil.copyfile(source / weights, made / weights)
        files.write_json(made / "adapter_config.json", config)
        _write_about(made, told, card)
    return _finish(repo, "model", folder, chosen)


def push_model(run: str | Path, repo: str, folder: str | Path, **settings) -> Push:
    """A finished run's whole model in 16 bits, with tokenizer, as `push_adapter`.

    An adapter is added into its base, loaded in `dtype` and never quantized, even if it
    was trained on a quantized one. A run that tuned all weights is taken as it is.
    """
    from emolib import models

    chosen = _read_settings(settings, repo)
    if chosen.dtype not in _DTYPES:
        raise DataError(f"dtype {chosen.dtype!r}: expected {' or '.join(_DTYPES)}")
    source, record = _open(run, "adapter", WHOLE)
    kind = "whole" if source.name == WHOLE else "merged"
    told = replace(about.gather(repo, kind, record, chosen), dtype=chosen.dtype)
    scores = _read_scores(source, chosen)
    model, tokenizer = models.load(run, quantization=None, dtype=chosen.dtype)
    model = models.merge(model)
    told = replace(told, seq2seq=bool(model.config.is_encoder_decoder))
    card = cards.describe_model(told, scores)
    with _writing(folder, run) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        _drop_traces(made / "tokenizer_config.json")
        _write_about(made, told, card)  # last: saving may leave a README of its own
    return _finish(repo, "model", folder, chosen)


def push_builder(
    repo: str, folder: str | Path, dry_run: bool = True, private: bool = True
) -> Push:
    """The builder of AAID as a dataset repository: instructions, script, card.

    No row and no text of a corpus: SemEval-2018 may not be passed on.
    """
    chosen = _read_settings({"dry_run": dry_run, "private": private}, repo)
    package = resources.files("emolib")
    with _writing(folder) as made:
        for source in ("instructions.yaml", "cards/build_aaid.py"):
            name = source.rpartition("/")[2]
            files.write_text(made / name, (package / source).read_text("utf-8"))
        rows = [
            {"task": task, "number": number, "instruction": text}
            for task in AAID
            for number, text in enumerate(prompts.instructions(task), start=1)
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        files.write_text(made / "instructions.jsonl", "".join(lines))
        mit = (package / "cards" / "mit.md").read_text("utf-8")
        files.write_text(made / cards.LICENSE_FILE, mit)
        files.write_text(made / CARD, str(cards.describe_builder()))
    return _finish(repo, "dataset", folder, chosen)


def _read_settings(given: dict, repo: str) -> Settings:
    """The settings; DataError for a bad name, and where an upload cannot work."""
    chosen = runs.read_settings(Settings, given, "publishing")
    check_name(repo)
    if not chosen.dry_run:
        check_login()
    return chosen


def _open(run: str | Path, *inside: str) -> tuple[Path, dict]:
    """The folder with a finished fine-tuning run's weights, and the run's record."""
    from emolib.models.catalog import BUNDLED

    folder = Path(BUNDLED.get(str(run), run))
    record = runs.read(folder)
    if record.get("kind") != "finetune" or "finished" not in record:
        raise DataError(f"{folder}: no finished fine-tuning run: call finetune again")
    for name in inside:
        if list((folder / name).glob("*.safetensors")):
            return folder / name, record
    raise DataError(
        f"{folder}: no weights in {' or '.join(inside)}/ (push_adapter takes a run with"
        " an adapter, push_model any)"
    )


def _read_config(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no adapter's configuration: {error}") from error


def _read_scores(source: Path, chosen: Settings):
    from emolib.models.weight_files import hash_weights

    if chosen.scores is None:
        return None
    column = "weights" if source.name == WHOLE else "adapter_weights"
    return results.read(chosen.scores, chosen.scored, hash_weights(source), column)


def _write_about(made: Path, told: about.About, card: ModelCard) -> None:
    files.write_json(made / "run.json", told.record)
    files.write_text(made / cards.LICENSE_FILE, cards.describe_licence(told))
    files.write_text(made / CARD, str(card))


def _drop_traces(path: Path) -> None:
    """Takes out of a tokenizer's configuration how it was loaded on this machine."""
    config = json.loads(path.read_bytes())
    for name in ("is_local", "local_files_only", "name_or_path"):
        config.pop(name, None)
    files.write_json(path, config)


@contextmanager
def _writing(folder: str | Path, run: str | Path | None = None):
    """A new folder that becomes `folder` when all is written and nothing leaks.

    Replaces a folder that an earlier push wrote, never one with other files in it.
    """
    folder = Path(folder).absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{escape(folder.name)}.[0-9]*.tmp"):
            shutil.rmtree(left)  # by a killed push
        with files.replacing(folder) as temporary:
            temporary.mkdir()
            yield temporary
            _refuse_secrets(temporary, run)
            _refuse_foreign(folder, temporary)
    except DataError:
        raise
    except Exception as error:  # safetensors and torch have their own
        raise DataError(f"{folder}: cannot write there: {error}") from error


def _refuse_secrets(folder: Path, run: str | Path | None) -> None:
    """DataError if a text file names a place on this machine or holds a token."""
    places = {str(path) for path in (Path.home(), Path.cwd()) if len(path.parts) > 2}
    places |= {str(Path(run).absolute())} if run else set()
    for path in sorted(folder.iterdir()):
        if path.suffix not in _TEXT or path.name == "tokenizer.json":
            continue
        text = path.read_text(encoding="utf-8")
        if _SECRET.search(text) or any(place in text for place in places):
            raise DataError(
                f"{path.name} would hold a token or a path on this machine: take it out"
                " of the run, or of what was given"
            )


def _refuse_foreign(folder: Path, made: Path) -> None:
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(there - {path.name for path in made.iterdir()})
    if foreign or folder.is_file():
        what = ", ".join(foreign[:3]) or "a file"
        raise DataError(
            f"{folder}: holds {what}, not from this push: name a new folder"
        )


def _finish(repo: str, kind: str, folder: str | Path, chosen: Settings) -> Push:
    """What was written; uploaded where it is no dry run."""
    folder = Path(folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    made = Push(repo, kind, folder, files)
    return made if chosen.dry_run else upload(made, chosen.private)
