"""An encoder with one fully connected layer on top, one model per task.

The paper's section 4.1: BERT-base, RoBERTa-base and SentiBERT, with mean squared error for the
scores, cross-entropy for the classes and, for E-c, binary cross-entropy on logits. "minilm" (22
million parameters, a package that needs no hub) trains on a CPU.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from datasets import Dataset

from emolib import DataError, files, models, runs
from emolib.data import corpora, parsing
from emolib.data.rows import Rows, to_frame
from emolib.inference import predict as responses
from emolib.models import catalog
from emolib.models.weight_files import explaining
from emolib.tasks import SPLITS, TASKS, Task, get
from emolib.training import record

_COUNTS = ("epochs", "batch_size", "max_length", "patience", "train_rows")
_CHOICES = {"device": ("auto", "cpu", "cuda"), "dtype": ("bfloat16",)}
_PROBLEMS = {
    "score": "regression",
    "ordinal": "single_label_classification",
    "labels": "multi_label_classification",
}


@dataclass(frozen=True)
class Settings:
    """All that decides the predictions beside the task, the data and the model."""

    epochs: int = 4
    learning_rate: float = 1e-4  # fits minilm; 2e-5 is usual for BERT-base
    batch_size: int = 16
    max_length: int = 128  # tokens of emotion and text; the rest is cut off
    patience: int = 2  # epochs without a lower dev loss until it stops
    train_rows: int | None = None  # so many, drawn by seed; None: all
    seed: int = 0
    device: str = "auto"  # or "cpu", "cuda"
    dtype: str | None = None  # None: float32; "bfloat16": autocast
    progress: bool = True


def encoder(
    task: str,
    model: str | Path = "minilm",
    run: str | Path | None = None,
    data: str | Path = "official",
    **settings,
) -> tuple[pd.DataFrame, Path]:
    """Predictions on the test split (id, task, emotion, prediction), and the model.

    A prediction is what `parsing.parse` gives: a float within `Task.range`, a key of
    `Task.classes`, or a tuple of the labels with a probability of 0.5 or more. Rows are in the
    order of `corpora.read`; the model is a folder that transformers loads. `model` is an alias of
    `catalog.ENCODERS`, a Hub id or a folder. EI tasks have one model for all emotions, which reads
    the emotion's name before the text. The epoch with the lowest dev loss counts; where the corpus
    has no dev split, a tenth of its training rows, drawn by seed, is one. `run` None is
    runs/encoder-<task>. An interrupted run goes on from its last epoch and ends with the same
    predictions; a finished one is read back. DataError for an unknown task or setting, a model that
    cannot be loaded, a training that diverges, and a folder made otherwise.
    """
    found, least = get(task), dict.fromkeys(_COUNTS, 1) | {"learning_rate": 1e-12}
    chosen = runs.read_settings(Settings, settings, "encoder", least, _CHOICES)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise DataError("device is 'cuda', and torch finds no GPU")
    own = [split for split in SPLITS if split in found.sizes or split != "dev"]
    frames = {split: corpora.read(task, split, data) for split in own}
    if "dev" not in frames:  # a tenth of the training rows stands in
        size = max(1, len(frames["train"]) // 10)
        frames["dev"] = frames["train"].sample(size, random_state=chosen.seed)
        frames["train"] = frames["train"].drop(frames["dev"].index)
    frames["train"] = _draw(frames["train"], chosen)
    source = _resolve(str(model))
    identity = {key: value for key, value in asdict(chosen).items() if key != "progress"}
    identity |= {"task": task, "model": str(model), "weights": models.hash_weights(source)}
    identity["data"] = {split: corpora.hash_rows(frame) for split, frame in frames.items()}
    with runs.opened(run or f"runs/encoder-{task}", "encoder", identity) as folder:
        if "finished" not in runs.read(folder):
            _train_and_predict(found, source, frames, folder, chosen)
        return read(folder), folder / "model"


def read(run: str | Path) -> pd.DataFrame:
    """The predictions of a finished run, as `encoder` gave them."""
    found = responses.read(run, "encoder", "predictions.jsonl")
    return found.assign(prediction=found["prediction"].tolist())  # numbers as numbers


def predict(run: str | Path, rows: Rows, batch_size: int = 64) -> pd.DataFrame:
    """What a finished run says of other rows of its task: id, task, emotion, prediction.

    `rows` need id, task, emotion and text; those of other tasks are left out. A prediction is what
    `encoder` gives. DataError for a run without its model and where no row is of its task.
    """
    settings, folder = runs.read(run)["settings"], Path(run) / "model"
    if settings.get("task") not in TASKS or not folder.is_dir():
        raise DataError(f"{run}: no finished encoder run")
    task, frame = get(settings["task"]), to_frame(rows)
    frame = frame[frame["task"] == task.name].reset_index(drop=True)
    if frame.empty:
        raise DataError(f"{run} judges {task.name}; there are no such rows")
    model, tokenizer = _load(str(folder), task, settings.get("max_length", 1))
    logits = []
    options = {"truncation": True, "max_length": settings.get("max_length"), "padding": True}
    for start in range(0, len(frame), batch_size):
        segments = _segment(frame[start : start + batch_size], task)
        with torch.inference_mode():
            inputs = tokenizer(*segments, **options, return_tensors="pt")
            logits.append(model(**inputs).logits)
    predictions = _read_logits(task, torch.cat(logits).numpy())
    return frame[["id", "task", "emotion"]].assign(prediction=predictions)


def _draw(frame: pd.DataFrame, chosen: Settings) -> pd.DataFrame:
    # Not the first ones: an EI task's file order is emotion by emotion.
    if chosen.train_rows is None or chosen.train_rows >= len(frame):
        return frame
    return frame.sample(chosen.train_rows, random_state=chosen.seed)


def _resolve(name: str) -> str:
    package = catalog.ENCODERS.get(name)
    return str(catalog.locate_package(package) or package.hub) if package else name


def _train_and_predict(task: Task, source: str, frames: dict, folder: Path, chosen: Settings):
    transformers.set_seed(chosen.seed)  # the new layer's weights
    model, tokenizer = _load(source, task, chosen.max_length)
    options = (task, tokenizer, chosen.max_length)
    rows = {split: _encode(frame, *options) for split, frame in frames.items()}
    trainer = _make_trainer(model, tokenizer, rows, folder, chosen)
    record.go_on(trainer, folder)
    logits = trainer.predict(rows["test"]).predictions
    if not np.isfinite(logits).all():
        raise DataError(f"{folder}: training diverged: take a lower learning_rate")
    with files.replacing(folder / "model") as temporary:
        trainer.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    table = frames["test"][["id", "task", "emotion"]].assign(prediction=_read_logits(task, logits))
    lines = table.to_json(orient="records", lines=True, double_precision=15)
    files.write_text(folder / "predictions.jsonl", lines)
    best = {"step": trainer.state.best_global_step, "loss": trainer.state.best_metric}
    runs.finish(folder, steps=trainer.state.global_step, best=best)
    shutil.rmtree(folder / "checkpoints")  # three times the model's size each


def _load(source: str, task: Task, max_length: int):
    names = dict(enumerate(map(str, task.classes or task.labels or [task.answer])))
    known = ", ".join(catalog.ENCODERS)
    with explaining(source, "encoder", f"a Hub id, a folder with safetensors or {known}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source,
            id2label=names,
            label2id={name: number for number, name in names.items()},
            problem_type=_PROBLEMS[task.kind],
            ignore_mismatched_sizes=True,  # another task's last layer is replaced
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    if max_length > tokenizer.model_max_length:
        raise DataError(f"max_length is {max_length}, {source} reads {tokenizer.model_max_length}")
    return model, tokenizer


def _segment(frame: pd.DataFrame, task: Task) -> list[list[str]]:
    """What is encoded: the texts, and before them the emotions where the task has some."""
    return [list(frame[name]) for name in (["emotion"] if task.emotions else []) + ["text"]]


def _encode(frame: pd.DataFrame, task: Task, tokenizer, max_length: int) -> Dataset:
    """Token ids, and targets for the loss; a task's emotion is the first segment."""
    columns = tokenizer(*_segment(frame, task), truncation=True, max_length=max_length)
    golds = [parsing.read_gold(task.name, gold) for gold in frame["gold"]]
    if task.kind == "ordinal":
        golds = [list(task.classes).index(gold) for gold in golds]
    if task.kind == "labels":
        golds = [[float(label in gold) for label in task.labels] for gold in golds]
    return Dataset.from_dict({**columns, "labels": golds})


def _make_trainer(model, tokenizer, rows: dict, folder: Path, chosen: Settings):
    on_cpu = models.choose_precision(chosen.device).device == "cpu"
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        **{f"per_device_{kind}_batch_size": chosen.batch_size for kind in ("train", "eval")},
        warmup_steps=0.05,  # below 1 it is a share
        **dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "epoch"),
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        restore_callback_states_from_checkpoint=True,
        **dict.fromkeys(("seed", "data_seed"), chosen.seed),
        use_cpu=on_cpu,
        bf16=chosen.dtype == "bfloat16",
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=not chosen.progress,
    )
    patience = transformers.EarlyStoppingCallback(chosen.patience)
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["dev"],
        processing_class=tokenizer,  # also pads the batches
        callbacks=[patience, record.LossLog(folder / "log.csv")],
    )
    trainer.remove_callback(transformers.PrinterCallback)  # log.csv holds what it would print
    return trainer


def _read_logits(task: Task, logits: np.ndarray) -> list:
    if task.kind == "score":
        return np.clip(logits[:, 0].astype(float), *task.range).tolist()
    if task.kind == "ordinal":
        return [list(task.classes)[number] for number in logits.argmax(axis=1)]
    chosen = logits >= 0  # a probability of 0.5
    return [tuple(x for x, on in zip(task.labels, row, strict=True) if on) for row in chosen]
