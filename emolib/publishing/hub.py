"""Adapters, models and the builder of AAID: written for the Hub, uploaded on request.

Every push is a dry run unless `dry_run=False`: the folder then contains, file by file, what an
upload would send. The token is the Hub client's own (`hf auth login`).
"""

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

from emolib import DataError, __version__, files, runs
from emolib.data import prompts
from emolib.models.catalog import BUNDLED
from emolib.publishing import cards
from emolib.tasks import AAID

_HELP = "log in with `hf auth login`, or set HF_TOKEN to a token that may write to this OWNER;"
_HELP += " unset HF_HUB_OFFLINE; then call again"
_SECRET = re.compile(  # a token of the Hub, or a path on somebody's machine
    r"\bhf_[A-Za-z0-9]{30,}"
    r"|(?:^|[\s\"'(=])(?:~/|[A-Z]:\\+Users|/(?:home|root|Users|tmp|private|mnt|content)/)",
    re.MULTILINE,
)
_WEIGHTS = "adapter_model.safetensors"
_TEXT = (".md", ".json", ".jsonl", ".yaml", ".py", ".jinja")


@dataclass(frozen=True)
class Settings:
    """The settings of `push_adapter` and `push_model`."""

    data: str | None = None  # official, sample (both known from the run), a Hub id or a name
    data_license: str | None = None  # of another corpus
    base: str | None = None  # Hub id, where the run has a path
    revision: str | None = None  # the base's commit
    base_license: str | None = None  # where emolib does not know it
    scores: str | Path | None = None  # a *_scores.csv for the card
    scored: str = "tuned"  # the model's name in that file
    dtype: str = "bfloat16"  # of a model's weights, or "float16"
    dry_run: bool = True
    private: bool = True  # of a repository that the upload creates


@dataclass
class Push:
    """What was written (`files`: name -> bytes); `url` is None after a dry run."""

    repo: str
    repo_type: str
    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    url: str | None = None

    def __str__(self) -> str:
        where = f"uploaded to {self.url}" if self.url else "dry run, nothing uploaded"
        lines = [f"\n{size:>13,}  {name}" for name, size in self.files.items()]
        return f"{self.repo} ({self.repo_type}): {where}. In {self.folder}:" + "".join(lines)


def push_adapter(run: str | Path, repo: str, folder: str | Path, **settings) -> Push:
    """Writes a finished run's adapter with card and record into `folder`.

    `repo` is OWNER/NAME on the Hub, `settings` are the fields of `Settings`. The base in
    adapter_config.json becomes a Hub id, whatever path the run was trained from. DataError for an
    unfinished run, a base or licence that must be named, scores on the sample or of other weights,
    a folder with foreign files, and all the Hub's refusals.
    """
    return _push_run(run, repo, folder, settings, "adapter")


def push_model(run: str | Path, repo: str, folder: str | Path, **settings) -> Push:
    """Writes a finished run's whole model in 16 bits, with tokenizer.

    As `push_adapter`; an adapter is merged into its base in float32 and rounded once, even if it
    was trained on a quantized base.
    """
    return _push_run(run, repo, folder, settings, "adapter", "model")


def push_builder(repo: str, folder: str | Path, dry_run: bool = True, private: bool = True) -> Push:
    """Writes the builder of AAID as a dataset repository: instructions, script, card.

    It contains no text of a corpus: SemEval-2018 may not be passed on.
    """
    chosen = _read_settings({"dry_run": dry_run, "private": private}, repo)
    lines = [
        json.dumps({"task": task, "number": number, "instruction": text}, ensure_ascii=False) + "\n"
        for task in AAID
        for number, text in enumerate(prompts.instructions(task), start=1)
    ]
    here, push = Path(__file__).parent, Push(repo, "dataset", Path(folder))
    with _publishing(push, chosen) as made:
        made.mkdir()
        shutil.copy(here / "build_aaid.py", made)
        shutil.copy(here.parent / "data" / "instructions.yaml", made)
        files.write_text(made / "instructions.jsonl", "".join(lines))
        files.write_text(made / "README.md", cards.render("build_aaid.md"))
    return push


def _read_settings(given: dict, repo: str) -> Settings:
    """The settings; DataError for a bad name, and where an upload cannot work."""
    choices = {"dtype": ("bfloat16", "float16")}
    chosen = runs.read_settings(Settings, given, "publishing", choices=choices)
    if not cards.HUB_ID.fullmatch(repo):
        raise DataError(f"repo {repo!r}: expected OWNER/NAME, as on the Hub")
    if not chosen.dry_run and (constants.is_offline_mode() or get_token() is None):
        raise DataError(f"no upload without the Hub and a login: {_HELP}")
    return chosen


def _push_run(run, repo: str, folder: str | Path, given: dict, *inside: str) -> Push:
    """A run's adapter, or where `inside` has "model" its whole model, with card and record."""
    from emolib.publishing import gguf

    chosen, home = _read_settings(given, repo), Path(BUNDLED.get(str(run), run))
    record, merging = runs.read(home), "model" in inside
    if record.get("kind") != "finetune" or "finished" not in record:
        raise DataError(f"{home}: no finished fine-tuning run: train it to its end")
    found = [home / name for name in inside if list((home / name).glob("*.safetensors"))]
    if not found:
        raise DataError(f"{home}: no weights in {' or '.join(inside)}/")
    kind = "whole" if found[0].name == "model" else "merged" if merging else "adapter"
    card = cards.describe_model(repo, found[0], record, kind, chosen)
    base = cards.name_base(chosen.base or record["settings"]["model"])
    push = Push(repo, "model", Path(folder))
    with _publishing(push, chosen, run) as made:
        if merging:
            gguf.merge(run, made, chosen.dtype)
        else:
            made.mkdir()
            shutil.copyfile(found[0] / _WEIGHTS, made / _WEIGHTS)
            named = {"base_model_name_or_path": base, "revision": chosen.revision}
            files.write_json(made / "adapter_config.json", cards.read_config(found[0]) | named)
        files.write_json(made / "run.json", cards.remove_paths(record, base))
        files.write_text(made / "README.md", card)
    return push


@contextmanager
def _publishing(push: Push, chosen: Settings, run: str | Path | None = None):
    """A path that becomes the push's folder once nothing private is in it; uploaded, if wanted.

    It replaces a folder that an earlier push wrote, never one with other files in it.
    """
    folder = push.folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder) as made:
            yield made
            _refuse_secrets(made, run)
            push.files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
            if foreign := sorted({path.name for path in folder.glob("*")} - push.files.keys()):
                raise DataError(f"{folder}: contains {foreign[0]}: name a new folder")
    except OSError as error:
        raise DataError(f"{folder}: cannot write there: {error}") from error
    if not chosen.dry_run:
        _upload(push, chosen.private)


def _refuse_secrets(folder: Path, run: str | Path | None) -> None:
    """DataError if a text file names a place on this machine or contains a token."""
    places = [path for path in (Path.home(), Path.cwd()) if len(path.parts) > 2]
    places += [Path(run).absolute()] if run else []
    for path in sorted(folder.iterdir()):
        own = path.suffix in _TEXT and path.name != "tokenizer.json"
        text = path.read_text(encoding="utf-8") if own else ""
        if _SECRET.search(text) or any(str(place) in text for place in places):
            what = f"{path.name} would contain a token or a path on this machine"
            raise DataError(f"{what}: remove it from the run, or from what was given")


def _upload(push: Push, private: bool) -> None:
    """Creates the repository and sends the files; DataError for whatever the Hub refuses."""
    where = {"repo_id": push.repo, "repo_type": push.repo_type}
    sent = {"folder_path": push.folder, "allow_patterns": list(push.files)}
    try:
        hub = HfApi()
        url = str(hub.create_repo(**where, private=private, exist_ok=True))
        if private and not hub.repo_info(**where).private:
            raise DataError(f"{push.repo} is public on the Hub: say so (private=False)")
        # This checks the card, too.
        hub.upload_folder(**where, **sent, commit_message=f"emolib {__version__}")
    except DataError:
        raise
    except Exception as error:  # the client's and its transport's are of every kind
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise DataError(f"{push.repo}: not uploaded: {first}: {_HELP}") from error
    push.url = url
