"""The network side of `api`: an address, a key, requests in, answers into a file."""

import ipaddress
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

import openai
from tqdm import tqdm

from emolib import DataError, files

_HOPELESS = 20  # failures in a row: a wrong key, a spent quota, a server that is gone


def check_address(address: str) -> str:
    """The address without a closing slash; it is recorded, so no secret may be in it.

    Its own text stays out of the messages for the same reason.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError("base_url is no address: it starts with http:// or https://")
    if parts.username or parts.password or parts.query:
        raise DataError(
            "base_url holds a user name, password or query: a key belongs in the"
            " environment variable that key_variable names"
        )
    return address.rstrip("/")


def _is_local(address: str) -> bool:
    host = urlsplit(address).hostname
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_key(address: str, variable: str) -> str:
    """The key in the environment variable; a local server does without one.

    Raises DataError that says what to set.
    """
    key = os.environ.get(variable, "").strip()
    if not key and not _is_local(address):
        raise DataError(
            f"no key: set the environment variable {variable} to the key for"
            f" {address} (key_variable=... names another one)"
        )
    return key or "no-key-needed"  # the client insists on one


def connect(
    address: str, key: str, per_minute: float | None, **options
) -> openai.OpenAI:
    """The client, which retries by itself; `options` are its max_retries and timeout.

    No more than `per_minute` requests leave it, retries and all: the gate hangs on the
    requests themselves. A server on this machine is not asked through a proxy.
    """
    transport = openai.DefaultHttpxClient(
        event_hooks={"request": [_Gate(per_minute)]}, trust_env=not _is_local(address)
    )
    return openai.OpenAI(
        api_key=key, base_url=address, http_client=transport, **options
    )


class _Gate:
    """Lets requests through evenly spaced, whichever threads they come from."""

    def __init__(self, per_minute: float | None):
        self.gap = 60 / per_minute if per_minute else 0.0
        self.free, self.lock = 0.0, threading.Lock()

    def __call__(self, _request) -> None:
        with self.lock:
            turn = max(self.free, time.monotonic())
            self.free = turn + self.gap
        time.sleep(max(0.0, turn - time.monotonic()))


def ask_all(
    client, requests: dict[int, dict], partial: Path, concurrency: int, progress: bool
) -> list[str]:
    """What went wrong, in the order it did; answers are appended to `partial`.

    `requests`: row -> what the client's chat completion takes. Interrupted, it still
    waits for the requests under way, because they are paid for, and keeps the answers.
    """
    errors, in_a_row = [], 0
    pool = ThreadPoolExecutor(concurrency)
    with partial.open("a", encoding="utf-8", newline="\n") as file:
        job = _Job(client, requests, file)
        try:
            asked = as_completed([pool.submit(job, index) for index in requests])
            bar = {"total": len(requests), "unit": "prompt"}
            for future in tqdm(asked, **bar, disable=not progress):
                error = future.result()
                errors += [error] if error else []
                in_a_row = in_a_row + 1 if error else 0
                if in_a_row == _HOPELESS:
                    break
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return errors


class _Job:
    """Asks for one row and writes the answer down; returns what went wrong or None."""

    def __init__(self, client, requests: dict[int, dict], file):
        self.client, self.requests, self.file = client, requests, file
        self.lock = threading.Lock()

    def __call__(self, index: int) -> str | None:
        try:
            record = {"row": index, **_ask(self.client, self.requests[index])}
        except Exception as error:  # whatever a server made the client raise
            return _describe(error, self.client.api_key)
        with self.lock:
            self.file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self.file.flush()
        return None


def _ask(client, request: dict) -> dict:
    completion = client.chat.completions.create(**request)
    try:
        content = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        raise DataError("the server's answer is not a chat completion") from None
    if not isinstance(content, str | None):
        raise DataError("the server's answer holds no text")
    usage = getattr(completion, "usage", None)
    return {
        # Half of a surrogate pair is JSON, but no text that a file can hold.
        "response": (content or "").encode("utf-8", "replace").decode("utf-8"),
        "tokens_in": getattr(usage, "prompt_tokens", None),
        "tokens_out": getattr(usage, "completion_tokens", None),
        "served": getattr(completion, "model", None),
    }


def _describe(error: Exception, key: str) -> str:
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    text = f"{type(error).__name__}: {error}{cause}".replace(key, "***")
    return text[:300]


def take_up(partial: Path) -> dict[int, dict]:
    """Row -> record of all whole lines in the file, which keeps only those."""
    if not partial.exists():
        return {}
    lines = partial.read_bytes().split(b"\n")[:-1]  # what follows the last \n is torn
    with files.replacing(partial) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))
    return {record["row"]: record for record in map(json.loads, lines)}
