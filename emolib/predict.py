"""Model and prompts in, responses out: batched, resumable, the same every time."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import GenerationConfig

from emolib import DataError, runs
from emolib.prompts import form_of
from emolib.tasks import get

# "paper": the sampling of the authors' own inference script.
DECODINGS = {
    # All spelled out: what is left open, a model's own configuration fills in.
    "greedy": {
        "do_sample": False,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
    },
    "paper": {
        "do_sample": True,
        "num_beams": 1,
        "no_repeat_ngram_size": 0,
        "temperature": 0.9,
        "top_k": 30,
        "top_p": 0.6,
        "repetition_penalty": 1.2,
        "max_new_tokens": 256,
    },
}


@dataclass(frozen=True)
class Settings:
    """All that decides the responses beside the model and the prompts."""

    decoding: str = "greedy"  # or "paper"
    max_new_tokens: int | None = None  # None: each task's own
    batch_size: int = 32
    seed: int = 0  # of sampling; greedy decoding has no chance in it
    progress: bool = True


def predict(
    rows: Dataset, model, tokenizer, run: str | Path = "runs/predict", **settings
) -> pd.DataFrame:
    """One row per prompt, in the order given: id, task, emotion, response.

    `rows` needs id, task, emotion and prompt (see `aeb.build`). Responses are appended
    to the run folder batch by batch, sorted by length inside; a killed run goes on with
    the next batch and ends with the same responses.jsonl as an undisturbed one. A
    finished run is read back without computing anything. `settings` are the fields of
    `Settings`.

    Raises DataError for an unknown setting, for prompts in another form than the
    adapter was trained on, and for a folder made with other rows, model or settings.
    """
    chosen = _read_settings(settings)
    loaded = dict(getattr(model, "settings", {"model": model.config.name_or_path}))
    _check_form(rows, loaded.get("prompt_form"))
    loaded.pop("adapter", None)  # its weights are named by their hash
    identity = {
        "rows": {"rows": len(rows), "sha256": runs.hash_rows(rows)},
        **loaded,
        **{key: value for key, value in asdict(chosen).items() if key != "progress"},
    }
    with runs.opened(run, "predict", identity) as folder:
        if "finished" not in runs.read(folder):
            _predict_all(rows, model, tokenizer, folder, chosen)
            runs.finish(folder)
        return read(folder)


def read(run: str | Path) -> pd.DataFrame:
    """The responses of a finished run, as `predict` gave them."""
    path = Path(run) / "responses.jsonl"
    if not path.is_file():
        raise DataError(f"{run}: no responses.jsonl: not a finished prediction run")
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return pd.DataFrame(
        [json.loads(line) for line in lines],
        columns=["id", "task", "emotion", "response"],
    ).astype({"emotion": object})


def _read_settings(settings: dict) -> Settings:
    chosen = runs.read_settings(Settings, settings, "prediction")
    if chosen.decoding not in DECODINGS:
        raise DataError(
            f"decoding {chosen.decoding!r}: expected one of {', '.join(DECODINGS)}"
        )
    if chosen.batch_size < 1:
        raise DataError(f"batch_size is {chosen.batch_size}, expected 1 or more")
    return chosen


def _check_form(rows: Dataset, trained_on: str | None) -> None:
    if not len(rows):
        raise DataError("there are no prompts to answer")
    form = form_of(rows[0]["prompt"])
    if trained_on and form != trained_on:
        raise DataError(
            f"the prompts are in the form {form!r}, the adapter was trained on"
            f" {trained_on!r}: build the rows with form={trained_on!r}"
        )


def _predict_all(rows, model, tokenizer, folder: Path, chosen: Settings) -> None:
    prompts = tokenizer(list(rows["prompt"])).input_ids
    batches = _make_batches(rows["task"], prompts, chosen)
    partial = folder / "responses.partial.jsonl"
    done = _take_up(partial, batches)
    if done:
        print(f"Going on after {len(done)} of {len(batches)} batches.")
    progress = tqdm(total=len(rows), unit="prompt", disable=not chosen.progress)
    progress.update(sum(len(batches[number][1]) for number in done))
    with partial.open("a", encoding="utf-8") as file, progress:
        for number, (tokens, indices) in enumerate(batches):
            if number in done:
                continue
            torch.manual_seed(chosen.seed + number)  # sampling resumes alike
            batch = [prompts[index] for index in indices]
            texts = _generate(model, tokenizer, batch, tokens, chosen.decoding)
            for index, text in zip(indices, texts, strict=True):
                record = {"batch": number, "row": index, "response": text}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            progress.update(len(indices))
    write_responses(rows, partial, folder / "responses.jsonl")


def _make_batches(tasks: list[str], prompts: list, chosen: Settings) -> list:
    """(new tokens, row indices) per batch: equal budgets together, longest first."""
    own = [get(task).max_new_tokens for task in tasks]
    fixed = chosen.max_new_tokens or DECODINGS[chosen.decoding].get("max_new_tokens")
    budgets = [fixed or budget for budget in own]
    order = sorted(range(len(prompts)), key=lambda i: (budgets[i], -len(prompts[i]), i))
    batches: list = []
    for index in order:
        last = batches[-1] if batches else None
        if last and last[0] == budgets[index] and len(last[1]) < chosen.batch_size:
            last[1].append(index)
        else:
            batches.append((budgets[index], [index]))
    return batches


def _take_up(partial: Path, batches: list) -> set[int]:
    """Numbers of the batches that are whole in the file, which keeps only those."""
    if not partial.exists():
        return set()
    lines = partial.read_bytes().split(b"\n")[:-1]  # what follows the last \n is torn
    rows: dict[int, list] = {}
    for line in lines:
        rows.setdefault(json.loads(line)["batch"], []).append(line)
    whole = {n for n, found in rows.items() if len(found) == len(batches[n][1])}
    with runs.replacing(partial) as temporary:
        kept = [line + b"\n" for number in sorted(whole) for line in rows[number]]
        temporary.write_bytes(b"".join(kept))
    return whole


def _generate(model, tokenizer, batch: list, tokens: int, decoding: str) -> list[str]:
    inputs = tokenizer.pad(
        {"input_ids": batch}, padding_side="left", return_tensors="pt"
    ).to(model.device)
    config = GenerationConfig(
        **DECODINGS[decoding] | {"max_new_tokens": tokens},
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=config)
    answers = output[:, inputs["input_ids"].shape[1] :]
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


def write_responses(rows: Dataset, partial: Path, target: Path) -> None:
    """The partial file (row, response) as the final one, in row order; removes it."""
    found = [json.loads(line) for line in partial.open(encoding="utf-8")]
    found.sort(key=lambda record: record["row"])
    columns = zip(rows["id"], rows["task"], rows["emotion"], found, strict=True)
    with (
        runs.replacing(target) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for name, task, emotion, record in columns:
            row = {"id": name, "task": task, "emotion": emotion}
            row["response"] = record["response"]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    partial.unlink()
