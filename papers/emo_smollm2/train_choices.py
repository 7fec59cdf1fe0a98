"""The profile's training again and again, each time with one setting changed.

    python papers/emo_smollm2/train_choices.py [NAME ...] [--workers N]

Trains `emo_profile.yaml` for every line of CHOICES, or those named, into runs/profile_choices. A
training takes an hour and more on two CPU cores. One does not fill a large GPU: on an H100 with as
many cores, sixteen side by side did some 910 of their 972 steps in 5 min 40 s (NVIDIA's MPS lets
them compute at the same time). What was interrupted goes on. `compare_profiles.py` scores the
runs.

The trainings behind figures/data/emo_profile_choices.csv were started by a script of that day,
which is not kept, with these settings (emo_profile_choices.json).
"""

import multiprocessing
import os
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import torch
from tqdm.auto import tqdm

from emolib import notebooks

RUN = "notebooks/runs/emo_profile.yaml"
FOLDER = "runs/profile_choices"
CHOICES: dict[str, dict] = {
    **{f"seed_{seed}": {"seed": seed} for seed in range(5)},
    "no_penalty": {"absence_weight": 0.0},
    "no_average": {"weight_average": 0.0},
    "learning_rate_5e-4": {"learning_rate": 5e-4},
    "learning_rate_2e-3": {"learning_rate": 2e-3},
    "batch_32": {"batch_size": 32, "micro_batch_size": 32, "eval_steps": 121},
    "dropout_0.1": {"lora_dropout": 0.1},
    "rank_64": {"lora_rank": 64, "lora_alpha": 128},
    "all_weights": {"lora_rank": 0, "learning_rate": 1e-4},
}


def train(name: str, threads: int) -> str:
    """Trains one choice in float32, whose products may be TF32 on a GPU; its name."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
    notebooks.train(RUN, out=f"{FOLDER}/{name}", dtype="float32", **CHOICES[name])
    return name


if __name__ == "__main__":
    parser = ArgumentParser(description="Trains the profile with one setting changed at a time.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(CHOICES))
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    given = parser.parse_args()
    if unknown := set(given.names) - set(CHOICES):
        parser.error(f"no choice {', '.join(sorted(unknown))}: there are {', '.join(CHOICES)}")
    spawning = multiprocessing.get_context("spawn")  # a GPU cannot be forked
    names = given.names or list(CHOICES)
    threads = max(1, len(os.sched_getaffinity(0)) // given.workers)
    with ProcessPoolExecutor(given.workers, mp_context=spawning) as pool:
        for done in tqdm(pool.map(train, names, repeat(threads)), total=len(names)):
            tqdm.write(done)
