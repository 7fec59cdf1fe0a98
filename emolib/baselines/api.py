"""Any model behind an OpenAI-compatible address: prompts in, responses out."""

import json
import math
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pandas as pd
from datasets import Dataset
from tqdm import tqdm

from emolib import DataError, files, runs
from emolib.data.prompts import form_of
from emolib.inference.predict import read, write_responses
from emolib.tasks import get

OPENAI = "https://api.openai.com/v1"
_CHARACTERS = 4  # per token, OpenAI's own rule of thumb for English
_MOST_FAILURES = 20  # in a row: a wrong key, a spent quota, a server that is gone


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
    rows: Dataset, model: str, base_url: str | None = None, run: str | Path = "runs/api", **settings
) -> pd.DataFrame:
    """One row per prompt, in the order given: id, task, emotion, response.

    `rows` needs id, task, emotion and prompt (see `aeb.build`). `base_url` None is OpenAI's own
    address, whatever OPENAI_BASE_URL says. Every prompt is one user message (see `unwrap`). A null
    from the server, such as a refusal, is an empty response. `settings` are the fields of
    `Settings`; the key comes from the environment alone.

    Responses are stored as they arrive: after a kill or failures the same call requests only what
    is missing. A finished run is read back without a request or a key. DataError for a bad setting
    or address, a missing key, an estimate above the budget, a folder made with other rows, model or
    settings, and, at the end, for prompts without a response (20 failures in a row end the run
    earlier).
    """
    chosen = _read_settings(settings)
    if not len(rows):
        raise DataError("there are no prompts to answer")
    address, hashed = _check_address(base_url or OPENAI), files.hash_rows(rows)
    identity = {"rows": {"rows": len(rows), "sha256": hashed}, "model": model}
    identity |= {"base_url": address, "system": chosen.system}
    for name in ("temperature", "max_new_tokens"):
        identity[name] = getattr(chosen, name)
    with runs.opened(run, "api", identity) as folder:
        if not (folder / "responses.jsonl").exists():
            _request_missing(rows, model, address, folder, chosen)
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


def _read_settings(given: dict) -> Settings:
    chosen = runs.read_settings(Settings, given, "API")
    for name, value in vars(chosen).items():
        least = 1e-9 if name in ("max_new_tokens", "concurrency", "timeout") else 0
        if isinstance(value, int | float) and value < least:
            expected = "above 0" if least else "0 or more"
            raise DataError(f"{name} is {value}, expected {expected}")
    if chosen.budget is not None and None in (chosen.price_in, chosen.price_out):
        raise DataError("a budget needs price_in and price_out for an estimate")
    return chosen


def _check_address(address: str) -> str:
    """The address without a closing slash; it is recorded, so no secret in it."""
    parts = urlsplit(address)
    is_web = parts.scheme in ("http", "https") and parts.hostname
    if not is_web or parts.username or parts.password or parts.query:
        raise DataError(  # without the address, which may have a secret
            "base_url: expected http:// or https://, no user name, password or query: a"
            " key belongs in the environment variable that key_variable names"
        )
    return address.rstrip("/")


def _request_missing(rows, model: str, address: str, folder: Path, chosen: Settings):
    """Requests the responses that the folder lacks, and writes all in row order."""
    partial, errors = folder / "responses.partial.jsonl", []
    requests = [
        _make_request(task, prompt, model, chosen)
        for task, prompt in zip(rows["task"], rows["prompt"], strict=True)
    ]
    done = _read_partial(partial)
    missing = {row: each for row, each in enumerate(requests) if row not in done}
    if missing:
        client = _connect(address, chosen)
        estimate = _estimate(missing.values(), chosen)
        print(f"{len(missing)} of {len(rows)} prompts for {model}: {estimate}")
        with client:
            errors = _request_all(client, missing, partial, chosen)
        done = _read_partial(partial)
    if len(done) < len(rows):
        raise DataError(
            f"{folder}: {len(rows) - len(done)} of {len(rows)} prompts have no response"
            f" (the same call requests only those); first error: {errors[0]}"
        )
    tokens = ("tokens_in", "tokens_out")
    found = {name: sum(each[name] for each in done.values()) for name in tokens}
    found["served"] = sorted({str(each["served"]) for each in done.values()})
    files.write_json(folder / "run.json", runs.read(folder) | found)
    write_responses(rows, partial, folder / "responses.jsonl")


def _make_request(task: str, prompt: str, model: str, chosen: Settings) -> dict:
    messages = [{"role": "user", "content": unwrap(prompt)}]
    if chosen.system is not None:
        messages.insert(0, {"role": "system", "content": chosen.system})
    request = {"model": model, "messages": messages}
    request[chosen.limit] = chosen.max_new_tokens or get(task).max_new_tokens
    if chosen.temperature is not None:
        request["temperature"] = chosen.temperature
    return request


def _estimate(requests: Iterable[dict], chosen: Settings) -> str:
    """The highest cost of the requests, in words; DataError above the budget."""
    messages = [message for request in requests for message in request["messages"]]
    sent = sum(math.ceil(len(each["content"]) / _CHARACTERS) for each in messages)
    written = sum(request[chosen.limit] for request in requests)
    counts = f"about {sent:,} tokens in, at most {written:,} out"
    if None in (chosen.price_in, chosen.price_out):
        return f"{counts}; no price_in and price_out, so cost unknown."
    cost = (sent * chosen.price_in + written * chosen.price_out) / 1e6
    if chosen.budget is not None and cost > chosen.budget:
        limit = f"above the budget of ${chosen.budget:,.4f}"
        raise DataError(f"{counts} would cost up to ${cost:,.4f}, {limit}")
    return f"{counts}, together up to ${cost:,.4f}."


def _connect(address: str, chosen: Settings) -> openai.OpenAI:
    """The client, with the key; a local server needs no key, and no proxy is used."""
    local = urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    name = chosen.key_variable
    key = os.environ.get(name, "").strip()
    if not key and not local:
        raise DataError(f"no key for {address}: set the environment variable {name}")
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
    errors, in_a_row = [], 0
    pool, lock = ThreadPoolExecutor(chosen.concurrency), threading.Lock()
    try:
        work = [
            pool.submit(_store_response, client, row, request, partial, lock)
            for row, request in requests.items()
        ]
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


def _store_response(client, row: int, request: dict, partial: Path, lock) -> str | None:
    """Requests one response and appends it to the file; the error, if there is one."""
    try:
        record = {"row": row, **_request(client, request)}
    except Exception as error:  # whatever a server made the client raise
        text = f"{type(error).__name__}: {error} ({error.__cause__})"
        return text.removesuffix(" (None)").replace(client.api_key, "***")[:300]
    with lock, partial.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _request(client, request: dict) -> dict:
    """One response with its counts; DataError where it is no chat completion."""
    completion = client.chat.completions.create(**request)
    try:
        content = completion.choices[0].message.content or ""
        # Half of a surrogate pair is JSON, but no text that a file can store.
        text = content.encode("utf-8", "replace").decode("utf-8")
    except (AttributeError, IndexError, TypeError):
        raise DataError("the server's answer is not a chat completion") from None
    usage = getattr(completion, "usage", None)
    return {
        "response": text,
        "tokens_in": getattr(usage, "prompt_tokens", None) or 0,
        "tokens_out": getattr(usage, "completion_tokens", None) or 0,
        "served": getattr(completion, "model", None),
    }


def _read_partial(partial: Path) -> dict[int, dict]:
    """Row -> record of all whole lines in the file, which is cut down to those."""
    if not partial.exists():
        return {}
    lines = partial.read_bytes().split(b"\n")[:-1]  # what follows the last \n is torn
    with files.replacing(partial) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))
    return {record["row"]: record for record in map(json.loads, lines)}
