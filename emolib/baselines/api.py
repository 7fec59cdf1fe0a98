"""Any model behind an OpenAI-compatible address: prompts in, responses out."""

import json
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pandas as pd
from tqdm import tqdm

from emolib import DataError, files, runs
from emolib.data.prompts import form_of
from emolib.data.rows import Rows, to_dataset
from emolib.inference.predict import read, read_partial, write_responses
from emolib.tasks import get

OPENAI = "https://api.openai.com/v1"
_CHARACTERS = 4  # per token, OpenAI's own rule of thumb for English
_MOST_FAILURES = 20  # in a row: a wrong key, a spent quota, a server that is gone
_LEAST = {"max_new_tokens": 1, "concurrency": 1, "timeout": 1e-9, "temperature": 0}
_LEAST |= {"max_retries": 0, "price_in": 0, "price_out": 0, "budget": 0}
_DECISIVE = ("system", "temperature", "max_new_tokens")
_APPENDING = threading.Lock()


@dataclass(frozen=True)
class Settings:
    """The settings of `predict`; only the first three decide the responses."""

    system: str | None = None  # a system message before every prompt
    temperature: float | None = 0.0  # None: not sent, for models that refuse it
    max_new_tokens: int | None = None  # None: each task's own
    limit: str = "max_tokens"  # newer OpenAI models want "max_completion_tokens"
    concurrency: int = 8  # requests at the same time
    max_retries: int = 5  # per prompt, after longer and longer pauses
    timeout: float = 60.0  # seconds without a byte from the server
    price_in: float | None = None  # dollars per million tokens
    price_out: float | None = None
    budget: float | None = None  # dollars; a higher estimate is refused
    key_variable: str = "OPENAI_API_KEY"  # the environment variable with the key
    progress: bool = True


def predict(
    rows: Rows, model: str, base_url: str | None = None, run: str | Path = "runs/api", **settings
) -> pd.DataFrame:
    """One row per prompt, in the order given: id, task, emotion, response.

    `rows` needs id, task, emotion and prompt (see `aeb.build`). `base_url` None is OpenAI's own
    address, whatever OPENAI_BASE_URL says. Every prompt is one user message (see `unwrap`). A null
    from the server, such as a refusal, is an empty response. `settings` are the fields of
    `Settings`; the key comes from the environment alone.

    Responses are stored as they arrive: after a kill or failures the same call requests only what
    is missing. A finished run is read back without a request or a key. DataError for a bad setting
    or address, a missing key, an estimate above the budget, a folder made otherwise and, at the
    end, for prompts without a response (20 failures in a row end the run earlier).
    """
    chosen, rows = runs.read_settings(Settings, settings, "API", _LEAST), to_dataset(rows)
    if chosen.budget is not None and None in (chosen.price_in, chosen.price_out):
        raise DataError("a budget needs price_in and price_out for an estimate")
    if not len(rows):
        raise DataError("there are no prompts to answer")
    parts = urlsplit(base_url or OPENAI)
    is_web = parts.scheme in ("http", "https") and parts.hostname
    if not is_web or parts.username or parts.password or parts.query:
        wanted = "http:// or https://, no user name, password or query"
        reason = "a key belongs in the environment variable that key_variable names"
        raise DataError(f"base_url: expected {wanted}: {reason}")  # it may have a secret
    identity = {name: getattr(chosen, name) for name in _DECISIVE}
    identity |= {"model": model, "base_url": (base_url or OPENAI).rstrip("/")}
    identity["rows"] = {"rows": len(rows), "sha256": files.hash_rows(rows)}
    with runs.opened(run, "api", identity) as folder:
        if not (folder / "responses.jsonl").exists():
            _request_missing(rows, identity, folder, chosen)
        if "finished" not in runs.read(folder):
            runs.finish(folder)
        return read(folder)


def unwrap(prompt: str) -> str:
    """The prompt as a chat message: without the roles, which the server adds itself.

    >>> unwrap("Human: \\nTask: Rate it. Score: \\n\\nAssistant:\\n")
    'Task: Rate it. Score:'
    """
    if form_of(prompt) != "paper":
        return prompt
    turns = prompt.removeprefix("Human: \n").replace("\n\nHuman: \n", "\n\n")
    return turns.replace("\n\nAssistant:\n", "").rstrip()


def _request_missing(rows, identity: dict, folder: Path, chosen: Settings):
    """Requests the responses that the folder lacks, and writes all in row order."""
    partial, errors, missing = folder / "responses.partial.jsonl", [], {}
    done = read_partial(partial)
    system = [] if chosen.system is None else [{"role": "system", "content": chosen.system}]
    temperature = openai.omit if chosen.temperature is None else chosen.temperature
    fixed = {"model": identity["model"], "temperature": temperature}
    for row, (task, prompt) in enumerate(zip(rows["task"], rows["prompt"], strict=True)):
        limit = chosen.max_new_tokens or get(task).max_new_tokens
        messages = [*system, {"role": "user", "content": unwrap(prompt)}]
        if row not in done:
            missing[row] = fixed | {"messages": messages, chosen.limit: limit}
    if missing:
        with _connect(identity["base_url"], chosen) as client:
            estimate = _estimate(list(missing.values()), chosen)
            print(f"{len(missing)} of {len(rows)} prompts for {identity['model']}: {estimate}")
            errors = _request_all(client, missing, partial, chosen)
    records = read_partial(partial).values()
    if len(records) < len(rows):
        lacking = f"{len(rows) - len(records)} of {len(rows)} prompts have no response"
        again = "the same call requests only those"
        raise DataError(f"{folder}: {lacking} ({again}); first error: {errors[0]}")
    found = {name: sum(each[name] for each in records) for name in ("tokens_in", "tokens_out")}
    found["served"] = sorted({str(each["served"]) for each in records})
    files.write_json(folder / "run.json", runs.read(folder) | found)
    write_responses(rows, partial, folder / "responses.jsonl")


def _estimate(requests: list[dict], chosen: Settings) -> str:
    """The highest cost of the requests, in words; DataError above the budget."""
    texts = [message["content"] for request in requests for message in request["messages"]]
    sent = sum(math.ceil(len(text) / _CHARACTERS) for text in texts)
    written = sum(request[chosen.limit] for request in requests)
    counts = f"about {sent:,} tokens in, at most {written:,} out"
    if None in (chosen.price_in, chosen.price_out):
        return f"{counts}; no price_in and price_out, so cost unknown."
    cost = (sent * chosen.price_in + written * chosen.price_out) / 1e6
    if chosen.budget is not None and cost > chosen.budget:
        raise DataError(f"{counts}: ${cost:,.4f} is above the budget of ${chosen.budget:,.4f}")
    return f"{counts}, together up to ${cost:,.4f}."


def _connect(address: str, chosen: Settings) -> openai.OpenAI:
    """The client, with the key; a local server needs no key, and no proxy is used."""
    local = urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    key = os.environ.get(chosen.key_variable, "").strip()
    if not key and not local:
        raise DataError(f"no key for {address}: set the environment variable {chosen.key_variable}")
    return openai.OpenAI(
        api_key=key or "no-key-needed",  # the client insists on one
        base_url=address,
        max_retries=chosen.max_retries,
        timeout=chosen.timeout,
        http_client=openai.DefaultHttpxClient(trust_env=not local),
    )


def _request_all(client, requests: dict, partial: Path, chosen: Settings) -> list[str]:
    """The errors, in their order; every response is appended to `partial` at once.

    If interrupted it still waits for the requests under way, which are paid for.
    """
    errors, in_a_row, pool = [], 0, ThreadPoolExecutor(chosen.concurrency)
    try:
        work = [pool.submit(_request, client, *each, partial) for each in requests.items()]
        bar = {"total": len(work), "unit": "prompt", "disable": not chosen.progress}
        for future in tqdm(as_completed(work), **bar):
            error = future.result()
            errors += [error] if error else []
            in_a_row = in_a_row + 1 if error else 0
            if in_a_row == _MOST_FAILURES:
                break
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return errors


def _request(client, row: int, request: dict, partial: Path) -> str | None:
    """Requests one response and appends it to the file; the error, if there is one."""
    try:
        completion = client.chat.completions.create(**request)
        if error := getattr(completion, "error", None):  # some servers put it into a 200
            return _hide_key(f"the server's answer is an error: {error}", client)
        text = _read_content(completion.choices[0].message.content)
    except (AttributeError, IndexError, TypeError):
        return "the server's answer is not a chat completion"
    except Exception as error:  # whatever a server made the client raise
        said = f"{type(error).__name__}: {error} ({error.__cause__})"
        return _hide_key(said.removesuffix(" (None)"), client)
    usage, record = getattr(completion, "usage", None), {"row": row, "response": text}
    record["tokens_in"] = getattr(usage, "prompt_tokens", None) or 0
    record["tokens_out"] = getattr(usage, "completion_tokens", None) or 0
    record["served"] = getattr(completion, "model", None)
    with _APPENDING, partial.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _hide_key(said: str, client) -> str:
    return said.replace(client.api_key, "***")[:300]


def _read_content(content: str | list | None) -> str:
    """A message's text, which may come in parts."""
    if isinstance(content, list):
        content = "".join(each.get("text") or "" for each in content)
    # Half of a surrogate pair is JSON, but no text that a file can store.
    return (content or "").encode("utf-8", "replace").decode("utf-8")
