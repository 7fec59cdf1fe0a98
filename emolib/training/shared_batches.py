"""Training rows as batches whose instructions are computed once.

The order puts rows of one instruction side by side and yet shows every optimizer step all tasks;
the collator makes a micro-batch one row (`prefix_tree`).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from emolib.inference import prefix_tree, tree_attention
from emolib.inference.answer_tree import Choices


class Sampler(torch.utils.data.Sampler):
    """Random optimizer batches, with rows that fit together side by side inside each.

    Without `keys`: rows of like length, so that micro-batches pad little. Grouping by length across
    steps, as the library does, gives it one task at a time, since the rows of a task are alike in
    length. With `keys`, one (task, instruction) per row: every batch has the tasks in their share
    of all rows, and of each task rows of as few instructions as possible. The order depends on seed
    and epoch alone: an evaluation or a resume changes nothing.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int, keys: list | None = None):
        self.batch_size, self.lengths, self.keys = batch_size, lengths, keys
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        if self.keys is None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(self), generator=generator).tolist()
        else:
            order = self._mix(np.random.default_rng((self.seed, self.epoch)))
        keys = self.keys or [()] * len(self)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield from sorted(batch, key=lambda row: (keys[row], -self.lengths[row]))

    def _mix(self, draw: np.random.Generator) -> list[int]:
        """All rows, tasks evenly spread, a task's rows in runs of one instruction."""
        tasks: dict[str, dict[str, list[int]]] = {}
        for index in draw.permutation(len(self)).tolist():
            task, instruction = self.keys[index]
            tasks.setdefault(task, {}).setdefault(instruction, []).append(index)
        placed = []
        for _, groups in sorted(tasks.items()):
            size = sum(map(len, groups.values()))
            run = max(1, round(self.batch_size * size / len(self)))
            runs = [
                rows[start : start + run]
                for _, rows in sorted(groups.items())
                for start in range(0, len(rows), run)
            ]
            order = [row for place in draw.permutation(len(runs)) for row in runs[place]]
            spread = (np.arange(size) + draw.random()) / size
            placed += zip(spread.tolist(), order, strict=True)
        return [row for _, row in sorted(placed)]


class TaskMixingSampler:
    """For a Trainer: its training batches come from `Sampler`."""

    keys: list | None = None  # (task, instruction) per training row

    def _get_train_sampler(self, train_dataset=None):
        rows = self.train_dataset if train_dataset is None else train_dataset
        args, lengths = self.args, [len(ids) for ids in rows["input_ids"]]
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return Sampler(step, lengths, args.data_seed, self.keys)


def list_keys(rows) -> list[tuple[str, str]] | None:
    """(task, instruction) per row, by which batches are mixed; None if not known."""
    if not {"task", "instruction"} <= set(rows.column_names):
        return None
    named = rows.select_columns(["task", "instruction"])[:]
    return list(zip(named["task"], named["instruction"], strict=True))


@dataclass
class Collator:
    """Tokenized rows -> one row of a prefix tree, with what each place has to predict.

    Gives `labels` and `shift_labels` (the completion tokens, [tokens]), `places` (where in the row
    each is predicted, [tokens]) and `forest`. With `choices`, for rows whose `score` is a number,
    also `forks` [rows, places] and `scores` [rows], which `regress` reads.
    """

    choices: Choices | None = None

    def __call__(self, examples: Sequence[dict]) -> dict:
        items, starts = [], []
        for example in examples:
            ids, labels = example["input_ids"], example["labels"]
            start = next(n for n, label in enumerate(labels) if label != -100)
            chain = list(ids[start:])
            parents = list(range(-1, len(chain) - 1))
            if self._has_score(example):
                parents += [p + len(chain) if p >= 0 else -1 for p in self.choices.parents]
                chain += self.choices.tokens
            items.append(prefix_tree.Item(ids[:start], chain, parents))
            starts.append(start)
        row = prefix_tree.lay(items)
        places, labels, forks, scores = [], [], [], []
        for example, start, end, own in zip(examples, starts, row.ends, row.branches, strict=True):
            answer = example["input_ids"][start:]
            labels += answer
            places += [end, *own[: len(answer) - 1]]
            if self._has_score(example):
                tree = own[len(answer) :]
                forks.append([end if p < 0 else tree[p] for p in self.choices.places])
                scores.append(float(example["score"]))
        batch = {"labels": torch.tensor(labels), "places": torch.tensor(places)}
        batch |= {"shift_labels": batch["labels"], "forest": row}
        if scores:
            batch |= {"forks": torch.tensor(forks), "scores": torch.tensor(scores)}
        return batch

    def _has_score(self, example: dict) -> bool:
        return self.choices is not None and example.get("score") is not None


def regress(logits: torch.Tensor, scores: torch.Tensor, choices: Choices):
    """Sum of squared distances of the distributions' means from the gold scores.

    `logits`: [rows, places, candidates]; `scores`: [rows], in the range asked for. The
    regression-aware loss of Lukasik et al. (RAFT, 2025).
    """
    given = choices.measure(logits).exp()
    values = torch.tensor(choices.values, dtype=given.dtype, device=given.device)
    return ((given @ values - scores.to(given)) ** 2).sum()


class SharedRows:
    """For a Trainer whose micro-batches are rows of a prefix tree (its inputs' "forest")."""

    def training_step(self, model, inputs, *given, **more):
        """One forward and backward pass, see `tree_attention.attending`."""
        if "forest" not in inputs:
            return super().training_step(model, inputs, *given, **more)
        body, _ = tree_attention.take_body(self.accelerator.unwrap_model(model))
        with tree_attention.attending(body):
            return super().training_step(model, inputs, *given, **more)

    def autocast(self):
        """Mixed precision: accelerate wraps the whole model, and these passes begin below it."""
        cpu = self.args.device.type == "cpu"
        return nullcontext() if cpu else self.accelerator.autocast()
