"""A written folder goes to the Hub, after the Hub's own validator has read its card.

No Hub could be reached where this was written: the validator's request was tested
against a local server, creating and uploading against a stand-in for `HfApi`. Locally,
every card is parsed by huggingface_hub's classes as it is written.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import DatasetCard, HfApi, ModelCard, constants, get_token
from huggingface_hub.utils import HFValidationError, validate_repo_id

from emolib import DataError, __version__

CARD = "README.md"
_HELP = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    403: "the token may not write there: take one that may, or another OWNER",
    404: "no such OWNER, or the token may not see it",
}


@dataclass(frozen=True)
class Push:
    """What was written, and where it went: `url` is None after a dry run.

    `files`: name -> bytes. As text it is the list that a user wants to see.
    """

    repo: str
    repo_type: str
    folder: Path
    files: dict[str, int]
    url: str | None = None

    def __str__(self) -> str:
        where = f"uploaded to {self.url}" if self.url else "dry run, nothing uploaded"
        head = f"{self.repo} ({self.repo_type}): {where}. In {self.folder}:"
        lines = [f"{size:>13,}  {name}" for name, size in self.files.items()]
        return "\n".join([head, *lines])


def check_name(repo: str) -> None:
    """DataError unless `repo` can be OWNER/NAME on the Hub."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise DataError(f"repo: {error}") from None
    if repo.count("/") != 1:
        raise DataError(f"repo {repo!r}: expected OWNER/NAME, as on the Hub")


def check_login() -> None:
    """DataError where an upload cannot work, before anything is done for it."""
    if constants.is_offline_mode():
        raise DataError("HF_HUB_OFFLINE is set: unset it, or leave dry_run=True")
    if get_token() is None:
        raise DataError(f"no login for the Hub: {_HELP[401]}")


def upload(made: Push, private: bool = True) -> Push:
    """The push with its address, after its files, by name, have gone to the Hub.

    The Hub's validator reads the card first (`RepoCard.validate`). A repository that
    is public already is refused where `private` is wanted. Files that an earlier push
    left there stay.
    """
    load = (ModelCard if made.repo_type == "model" else DatasetCard).load
    where = {"repo_id": made.repo, "repo_type": made.repo_type}
    with _explaining(made):
        load(made.folder / CARD).validate()
        hub = HfApi()
        address = hub.create_repo(**where, private=private, exist_ok=True)
        if private and not hub.repo_info(**where).private:
            raise DataError(f"{made.repo} is public on the Hub: say so (private=False)")
        hub.upload_folder(
            **where,
            folder_path=made.folder,
            allow_patterns=list(made.files),
            commit_message=f"emolib {__version__}",
        )
    return replace(made, url=str(address))


@contextmanager
def _explaining(made: Push):
    """DataError that says what to do where the Hub, or the way to it, fails."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the client's and its transport's are of every kind
        status = getattr(getattr(error, "response", None), "status_code", None)
        what = _HELP.get(status, "is the Hub reachable? Call again")
        if isinstance(error, ValueError) and status is None:
            what = "the Hub does not accept the card"
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise DataError(
            f"{made.repo}: not uploaded: {first}: {what}. {made.folder} is whole"
        ) from error
