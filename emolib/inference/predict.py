"""Model and prompts in, answers out: batched, resumable, the same every time.

Two methods. "constrained" gives a probability to each answer that a task allows (`constrained`);
"generate" lets the model write, as the paper does: slower, and not every response can be read.
"""

import json
import os
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import GenerationConfig

from emolib import DataError, files, runs
from emolib.data.prompts import FORMS, form_of
from emolib.inference import constrained, prefix_tree, tree_attention
from emolib.tasks import get

METHODS = ("constrained", "generate")
# "paper": the sampling of the authors' own inference script. All is spelled out: what is left open,
# a model's own configuration fills in.
_PLAIN = {"num_beams": 1, "no_repeat_ngram_size": 0}
DECODINGS = {
    "greedy": {"do_sample": False, "repetition_penalty": 1.0} | _PLAIN,
    "paper": {"do_sample": True, "temperature": 0.9, "top_k": 30, "top_p": 0.6} | _PLAIN
    | {"repetition_penalty": 1.2, "max_new_tokens": 256},
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All that decides the responses beside the model and the prompts."""

    method: str = "constrained"  # or "generate"
    tokens_per_batch: int = 2048  # constrained: shared parts once, no padding
    decoding: str = "greedy"  # generate: or "paper"
    max_new_tokens: int | None = None  # generate: None is each task's own
    batch_size: int = 32  # generate: prompts
    seed: int = 0  # of sampling; greedy decoding has no chance in it
    progress: bool = True


def predict(
    rows: Dataset, model, tokenizer, run: str | Path = "runs/predict", **settings
) -> pd.DataFrame:
    """One row per prompt, in the order given: id, task, emotion, response and more.

    `rows` needs id, task, emotion and prompt (see `aeb.build`). By method "constrained" a response
    is the likeliest allowed answer, beside
    prediction: its value as in `parsing`, scores in the corpus's range; for label tasks the labels
      that are more probable than not;
    probability: the model's for that number (to one digit), class or exact list, among the allowed
      answers;
    mean, spread: of a score's distribution, in the corpus's range (the mean of a number's
      distribution predicts better than its likeliest digits: regression-aware inference, Lukasik et
      al. 2024); missing for other tasks;
    probabilities: dict of value or class to its probability; of label to the probability that the
      list holds it.
    By "generate" the response is what the model wrote, for `parsing.parse` to read.

    Answers are appended to the run folder batch by batch; a killed run goes on with the next batch
    and ends with the same responses.jsonl as an undisturbed one. A finished run is read back
    without computing anything. A batch too large for memory is halved. `settings`: see `Settings`.

    Raises DataError for an unknown setting, for prompts in another form than the adapter was
    trained on, and for a folder made with other rows, model or settings.
    """
    least = {"batch_size": 1, "tokens_per_batch": 1}
    choices = {"method": METHODS, "decoding": DECODINGS}
    chosen = runs.read_settings(Settings, settings, "prediction", least, choices)
    loaded = dict(getattr(model, "settings", None) or {"model": model.config.name_or_path})
    if not len(rows):
        raise DataError("there are no prompts to answer")
    form, trained_on = form_of(rows[0]["prompt"]), loaded.get("prompt_form")
    if trained_on and form != trained_on:
        both = f"the prompts are in the form {form!r}, the adapter was trained on {trained_on!r}"
        how = f"build the rows with form={trained_on!r}"
        raise DataError(f"{both}: {how if trained_on in FORMS else 'notebook 11 asks it'}")
    loaded.pop("adapter", None)  # its weights are named by their hash
    identity = {"rows": {"rows": len(rows), "sha256": files.hash_rows(rows)}} | loaded
    identity |= {key: value for key, value in asdict(chosen).items() if key != "progress"}
    with runs.opened(run, "predict", identity) as folder:
        if "finished" not in runs.read(folder):
            work = _constrain if chosen.method == "constrained" else _write
            with runs.explaining(folder, "finished batches are kept, make room and call again"):
                runs.finish(folder, **work(rows, model, tokenizer, folder, chosen))
        return read(folder)


def read(run: str | Path, kind="prediction", name="responses.jsonl") -> pd.DataFrame:
    """The responses of a finished run, as `predict` gave them; `kind` and file `name` of others."""
    path = Path(run) / name
    if not path.is_file():
        raise DataError(f"{run}: no {name}: not a finished {kind} run")
    records = read_lines(path)
    columns = list(records[0]) if records else ["id", "task", "emotion", "response"]
    found = pd.DataFrame(records, columns=columns).astype({"emotion": object})
    if "prediction" in found:  # scores, classes and tuples in one column
        values = [tuple(x) if isinstance(x, list) else x for x in found["prediction"]]
        found["prediction"] = pd.Series(values, dtype=object)
    return found


def read_lines(path: Path) -> list[dict]:
    """The records of whole lines; what follows the last line break is torn."""
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            records.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            hint = "remove the line and call again"
            raise DataError(f"{path}:{number}: damaged ({error}): {hint}") from None
    return records


def read_partial(partial: Path) -> dict[int, dict]:
    """Row to answer in an unfinished run's file, which is cut off after its last whole line."""
    if not partial.exists():
        return {}
    os.truncate(partial, partial.read_bytes().rfind(b"\n") + 1)
    return {record.get("row"): record for record in read_lines(partial)}


def write_responses(rows: Dataset, partial: Path, target: Path) -> None:
    """The partial file (row and answer) as the final one, in row order; removes it."""
    found, lines = read_partial(partial), []
    for row, record in enumerate(rows.select_columns(["id", "task", "emotion"]).to_list()):
        record |= {key: found[row][key] for key in found[row] if key not in ("batch", "row")}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    files.write_text(target, "".join(lines))
    partial.unlink()


def _constrain(rows, model, tokenizer, folder: Path, chosen: Settings) -> dict:
    """Predicts all prompts among their allowed answers; what the record says of it."""
    shared = tree_attention.fits(model, tokenizer)
    if not shared:
        print("This model cannot share beginnings: every prompt is computed alone.")
    style = getattr(model, "settings", {}).get("answers", "after")
    questions = constrained.read_questions(rows, tokenizer, style)
    items = [question.item for question in questions]
    batches = prefix_tree.plan(items, chosen.tokens_per_batch)

    def answer(number: int) -> list[dict]:
        part = [questions[index] for index in batches[number]]
        return constrained.predict(model, tokenizer, part, shared)

    _work_through(rows, batches, answer, folder, chosen)
    found = {"shared": shared}
    if shared:  # else prompts are computed whole, once per fork of their answers
        found["tokens_of_prompts"] = sum(len(item.ids) for item in items)
        parts = ([items[n] for n in batch] for batch in batches)
        found["tokens_computed"] = sum(map(prefix_tree.count, parts))
    return found


def _write(rows, model, tokenizer, folder: Path, chosen: Settings) -> dict:
    """Lets the model write an answer to each prompt; nothing more to record."""
    if hasattr(model, "write") and chosen.decoding != "greedy":
        only = "through llama.cpp only greedy: take backend='transformers'"
        raise DataError(f"decoding {chosen.decoding!r}: {only}")
    prompts = tokenizer(list(rows["prompt"])).input_ids
    budgets, batches = _make_batches(rows["task"], prompts, chosen)

    def answer(number: int) -> list[dict]:
        torch.manual_seed(chosen.seed + number)  # sampling resumes alike
        part = [prompts[index] for index in batches[number]]
        how = budgets[number], chosen.decoding
        texts = constrained.in_halves(lambda part: _generate(model, tokenizer, part, *how), part)
        return [{"response": text} for text in texts]

    _work_through(rows, batches, answer, folder, chosen)
    return {}


def _work_through(rows, batches, answer, folder: Path, chosen: Settings) -> None:
    """Answers every batch that is not yet in the run folder, then writes the result."""
    partial, target = folder / "responses.partial.jsonl", folder / "responses.jsonl"
    found = read_partial(partial)
    if not partial.exists() and target.exists():
        return  # killed between the last two lines of this and the record
    done = {n for n, batch in enumerate(batches) if found.keys() >= set(batch)}
    if done:
        print(f"Going on after {len(done)} of {len(batches)} batches.")
    progress = tqdm(total=len(rows), unit="prompt", disable=not chosen.progress)
    progress.update(sum(len(batches[number]) for number in done))
    with partial.open("a", encoding="utf-8") as file, progress:
        for number in sorted(set(range(len(batches))) - done):
            for index, record in zip(batches[number], answer(number), strict=True):
                line = {"batch": number, "row": index, **record}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            progress.update(len(batches[number]))
    write_responses(rows, partial, target)


def _make_batches(tasks: list[str], prompts: list, chosen: Settings) -> tuple:
    """(new tokens, row indices) per batch: equal budgets together, longest first."""
    fixed = chosen.max_new_tokens or DECODINGS[chosen.decoding].get("max_new_tokens")
    budgets = [fixed or get(task).max_new_tokens for task in tasks]
    order = sorted(range(len(prompts)), key=lambda i: (budgets[i], -len(prompts[i]), i))
    alike = [list(group) for _, group in groupby(order, key=budgets.__getitem__)]
    size = chosen.batch_size
    batches = [group[n : n + size] for group in alike for n in range(0, len(group), size)]
    return [budgets[batch[0]] for batch in batches], batches


def _generate(model, tokenizer, batch: list, tokens: int, decoding: str) -> list[str]:
    if hasattr(model, "write"):  # llama.cpp
        ends = {tokenizer.eos_token_id}
        return tokenizer.batch_decode(model.write(batch, tokens, ends))
    decoder_only = not model.config.is_encoder_decoder
    side = "left" if decoder_only else "right"  # BART counts positions from the left
    inputs = constrained.pad(tokenizer, batch, side, model.device)
    config = GenerationConfig(
        **DECODINGS[decoding] | {"max_new_tokens": tokens},
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=config)
    answers = output[:, inputs["input_ids"].shape[1] :] if decoder_only else output
    return tokenizer.batch_decode(answers, skip_special_tokens=True)
