"""Any model behind an OpenAI-compatible address in, responses out."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from datasets import Dataset

from emolib import DataError, files, runs
from emolib.baselines import endpoint
from emolib.data.prompts import form_of
from emolib.inference import predict
from emolib.tasks import get

OPENAI = "https://api.openai.com/v1"
_ANSWERING = ("system", "temperature", "max_new_tokens")  # what decides the responses
_LIMITS = ("max_tokens", "max_completion_tokens")
_CHARACTERS = 4  # per token, OpenAI's own rule of thumb for English


@dataclass(frozen=True)
class Settings:
    """How to ask. Only system, temperature and max_new_tokens decide the responses."""

    system: str | None = None  # a system message before every prompt
    temperature: float | None = 0.0  # None: not sent, for models that refuse it
    max_new_tokens: int | None = None  # None: each task's own
    limit: str = "max_tokens"  # newer OpenAI models want "max_completion_tokens"
    concurrency: int = 8  # requests under way at once
    requests_per_minute: float | None = None  # retries count too
    max_retries: int = 5  # per prompt, waiting longer each time
    timeout: float = 60.0  # seconds without a byte from the server
    price_in: float | None = None  # dollars per million tokens
    price_out: float | None = None
    budget: float | None = None  # dollars; above that it doesn't start
    key_variable: str = "OPENAI_API_KEY"  # the environment variable with the key
    progress: bool = True


def api(
    rows: Dataset,
    model: str,
    base_url: str | None = None,
    run: str | Path = "runs/api",
    **settings,
) -> pd.DataFrame:
    """One row per prompt, in the order given: id, task, emotion, response.

    `rows` needs id, task, emotion and prompt (see `aeb.build`). `base_url` None is
    OpenAI's own address, whatever OPENAI_BASE_URL says. Every prompt is one user
    message; the paper's form is sent without its role words (see `unwrap`). Whatever
    the server gives as null, such as a refusal, is an empty response. `settings` are
    the fields of `Settings`; the key comes from the environment alone.

    Responses are kept as they arrive: after a kill or failures the same call asks only
    what is missing. A finished run is read back without asking, and without a key.

    Raises DataError for a bad setting or address, a missing key, an estimate above
    the budget, a folder made with other rows, model or settings, and, after all others
    are asked, for prompts without an answer (20 failures in a row end it earlier).
    """
    chosen = _read_settings(settings)
    if not len(rows):
        raise DataError("there are no prompts to answer")
    address = endpoint.check_address(base_url or OPENAI)
    identity = {
        "rows": {"rows": len(rows), "sha256": files.hash_rows(rows)},
        "model": model,
        "base_url": address,
        **{name: getattr(chosen, name) for name in _ANSWERING},
    }
    with runs.opened(run, "api", identity) as folder:
        if not (folder / "responses.jsonl").exists():
            _answer_all(rows, model, address, folder, chosen)
        if "finished" not in runs.read(folder):
            runs.finish(folder)
        return predict.read(folder)


def unwrap(prompt: str) -> str:
    """The prompt as a chat message: the paper's form loses Human: and Assistant:.

    The server's chat template names the roles; twice would be another prompt. Of a
    few-shot prompt all turns lose them, and every answer stands after its question.

    >>> unwrap("Human: \\nTask: Rate it. Score: \\n\\nAssistant:\\n")
    'Task: Rate it. Score:'
    """
    if form_of(prompt) != "paper":
        return prompt
    turns = prompt.removeprefix("Human: \n").replace("\n\nHuman: \n", "\n\n")
    return turns.replace("\n\nAssistant:\n", "").rstrip()


def _read_settings(given: dict) -> Settings:
    chosen = runs.read_settings(Settings, given, "API")
    above = ("max_new_tokens", "concurrency", "requests_per_minute", "timeout")
    for name in (*above, "temperature", "max_retries", "price_in", "price_out"):
        value, least = getattr(chosen, name), 0
        if value is not None and (value < least or (name in above and value == least)):
            allowed = "above 0" if name in above else "0 or more"
            raise DataError(f"{name} is {value}, expected {allowed}")
    if chosen.limit not in _LIMITS:
        raise DataError(f"limit {chosen.limit!r}: expected {' or '.join(_LIMITS)}")
    if chosen.budget is not None and None in (chosen.price_in, chosen.price_out):
        raise DataError("a budget needs price_in and price_out to hold an estimate to")
    return chosen


def _answer_all(
    rows: Dataset, model: str, address: str, folder: Path, chosen: Settings
) -> None:
    partial = folder / "responses.partial.jsonl"
    requests = [
        _make_request(task, prompt, model, chosen)
        for task, prompt in zip(rows["task"], rows["prompt"], strict=True)
    ]
    done = endpoint.take_up(partial)
    missing = {i: each for i, each in enumerate(requests) if i not in done}
    errors = []
    if missing:
        key = endpoint.find_key(address, chosen.key_variable)
        estimate = _estimate(list(missing.values()), chosen)
        print(f"{len(missing)} of {len(rows)} prompts to ask {model}: {estimate}")
        errors = _ask_missing(address, key, missing, partial, chosen)
        done = endpoint.take_up(partial)
    if not done:
        partial.unlink()  # nothing binds the folder to these settings
    if len(done) < len(rows):
        raise DataError(
            f"{folder}: {len(errors)} prompts failed and {len(rows) - len(done)} of"
            f" {len(rows)} have no answer; the same call asks only those. First error:"
            f" {errors[0]}"
        )
    record = runs.read(folder) | _count_tokens(done)
    files.write_json(folder / "run.json", record)
    predict.write_responses(rows, partial, folder / "responses.jsonl")


def _ask_missing(
    address: str, key: str, missing: dict, partial: Path, chosen: Settings
) -> list[str]:
    with endpoint.connect(
        address,
        key,
        chosen.requests_per_minute,
        max_retries=chosen.max_retries,
        timeout=chosen.timeout,
    ) as client:
        return endpoint.ask_all(
            client, missing, partial, chosen.concurrency, chosen.progress
        )


def _make_request(task: str, prompt: str, model: str, chosen: Settings) -> dict:
    messages = [{"role": "user", "content": unwrap(prompt)}]
    if chosen.system is not None:
        messages.insert(0, {"role": "system", "content": chosen.system})
    request = {"model": model, "messages": messages}
    request[chosen.limit] = chosen.max_new_tokens or get(task).max_new_tokens
    if chosen.temperature is not None:
        request["temperature"] = chosen.temperature
    return request


def _estimate(requests: list[dict], chosen: Settings) -> str:
    """What the requests cost at most, in words; DataError above the budget."""
    read = sum(
        math.ceil(len(message["content"]) / _CHARACTERS)
        for request in requests
        for message in request["messages"]
    )
    written = sum(request[chosen.limit] for request in requests)
    counts = f"about {read:,} tokens in, at most {written:,} out"
    if None in (chosen.price_in, chosen.price_out):
        return f"{counts}; no price_in and price_out, so cost unknown."
    cost = (read * chosen.price_in + written * chosen.price_out) / 1e6
    if chosen.budget is not None and cost > chosen.budget:
        raise DataError(
            f"{counts} would cost up to ${cost:,.4f}, above the budget of"
            f" ${chosen.budget:,.4f}"
        )
    return f"{counts}, together up to ${cost:,.4f}."


def _count_tokens(done: dict[int, dict]) -> dict:
    """What the server says it read and wrote, and the model it says it is."""
    totals = {
        name: sum(x[name] for x in done.values() if isinstance(x[name], int))
        for name in ("tokens_in", "tokens_out")
    }
    return {**totals, "served": sorted({str(x["served"]) for x in done.values()})}
