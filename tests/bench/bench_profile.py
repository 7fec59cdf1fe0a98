"""Training on profiles, texts per second: the text once for all questions, or once for each.

The same texts, weights, LoRA, loss and optimizer, one machine, contestants in turn:

    python tests/bench/bench_profile.py --texts 96 --rounds 3

Needs the corpora (EMOLIB_DATA). A step has 16 texts of SemEval-2018. *Padded rows* is what one
would do without a tree: a text's sixteen questions are sixteen sequences, padded to the longest,
four texts at a time to spare memory. Both compute the same loss, which is checked on four texts
before the clock starts. Then one step of ours is profiled: where its time goes.
"""

import argparse
import os

from measure import FIGURES, Worker, measure_machine, run_in_turn, save, summarize

OURS, BATCH, MICRO, RANK = "emolib", 16, 4, 16


def make_model():
    """The base model with a new adapter, its tokenizer and an optimizer."""
    import torch
    from peft import LoraConfig, get_peft_model

    from emolib import models

    model, tokenizer = models.load("smollm2-135m", device="cpu", dtype="float32")
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
    model = get_peft_model(model, config).train()
    trained = [each for each in model.parameters() if each.requires_grad]
    return model, tokenizer, torch.optim.AdamW(trained, lr=1e-3)


def list_padded(reader, prompts: list[list[int]]) -> list[list[int]]:
    """Every prompt once for each question, with the question's own tokens behind it."""
    ends = []
    for place in reader.ends:
        chain = []
        while place >= 0:
            chain.insert(0, reader.branches[place])
            place = reader.parents[place]
        ends.append(chain)
    return [[*ids, *chain] for ids in prompts for chain in ends]


def make_losses(padded: bool):
    """(rows -> their loss, backward pass done, and tokens computed), and the optimizer."""
    import torch

    from emolib.inference import profile, tree_attention
    from emolib.training.profile_trainer import Collator, measure_loss

    model, tokenizer, optimizer = make_model()
    reader = profile.make_reader(tokenizer)
    collate = Collator(reader)
    body, head = tree_attention.take_body(model)

    def encode_tree(rows):
        batch = collate(rows)
        states = tree_attention.encode(model, batch["forest"])[batch["places"]]
        return states, batch["forest"].ids.numel()

    def encode_padded(rows):
        lists = list_padded(reader, [row["input_ids"] for row in rows])
        longest = max(map(len, lists))
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in lists])
        lengths = torch.tensor(list(map(len, lists)))
        mask = torch.arange(longest) < lengths[:, None]
        states = body(input_ids=ids, attention_mask=mask.long(), use_cache=False)[0]
        states = states[torch.arange(len(lists)), lengths - 1]
        return states.unflatten(0, (len(rows), -1)), ids.numel()

    encode, size = (encode_padded, MICRO) if padded else (encode_tree, BATCH)

    def learn(rows):
        total, tokens = 0.0, 0
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            states, count = encode(part)
            gold, ceiling = (torch.tensor([r[name] for r in part]) for name in ("gold", "ceiling"))
            measured = reader.measure(states, head)
            loss = (
                measure_loss(reader, *measured, gold, ceiling, absence=0.1) * len(part) / len(rows)
            )
            loss.backward()
            total, tokens = total + loss.item(), tokens + count
        return total, tokens

    return learn, optimizer


def load(padded: bool):
    """A contestant: steps of BATCH texts; what it gives back are tokens and the first loss."""
    learn, optimizer = make_losses(padded)

    def work(rows):
        tokens, first = 0, None
        for start in range(0, len(rows), BATCH):
            loss, count = learn(rows[start : start + BATCH])
            first = loss if first is None else first
            optimizer.step()
            optimizer.zero_grad()
            tokens += count
        return {"tokens": tokens, "first_loss": first}

    return work


def find_shares(rows: list[dict]) -> dict[str, float]:
    """Shares of a step's time on the CPU, of ours, by what is computed."""
    from torch.profiler import ProfilerActivity, profile

    learn, optimizer = make_losses(padded=False)
    learn(rows[:BATCH])
    optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        learn(rows[BATCH : 2 * BATCH])
        optimizer.step()
    times: dict[str, float] = {}
    for each in found.key_averages(group_by_input_shape=True):
        if each.key in ("aten::mm", "aten::addmm"):
            inside = {size for shape in each.input_shapes for size in shape}
            what = "products of LoRA" if RANK in inside else "products of the base"
        elif "bmm" in each.key:
            what = "attention's products"
        elif each.key.startswith("aten::index") or each.key in ("aten::copy_", "aten::cat"):
            what = "moving numbers"
        elif "optimizer" in each.key.lower() or "_fused" in each.key or "foreach" in each.key:
            what = "the optimizer"
        else:
            what = "additions, norms, activations and the rest"
        times[what] = times.get(what, 0) + each.self_cpu_time_total
    whole = sum(times.values())
    return {
        what: round(time / whole, 3) for what, time in sorted(times.items(), key=lambda x: -x[1])
    }


def main() -> None:
    """Runs the benchmark; results go to figures/data, or to --out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=96, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=FIGURES)
    chosen = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from emolib import models
    from emolib.data import profiles

    tokenizer = models.load_tokenizer("smollm2-135m")
    drawn = profiles.draw(profiles.build("train"), chosen.texts + 2 * BATCH).to_list()
    rows = [row | {"input_ids": tokenizer(row["prompt"]).input_ids} for row in drawn]
    warm_up, rows = rows[: 2 * BATCH], rows[2 * BATCH :]
    size = len(rows) // chosen.rounds
    machine = measure_machine()
    workers = {OURS: Worker(OURS, load, False), "padded rows": Worker("padded rows", load, True)}
    losses = [worker.ask(warm_up[:MICRO])[0]["first_loss"] for worker in workers.values()]
    if abs(losses[0] - losses[1]) > 0.001:
        raise SystemExit(f"the losses differ: {losses}")
    frame = run_in_turn(
        workers, [rows[n * size : (n + 1) * size] for n in range(chosen.rounds)], len
    )
    summary = summarize(frame, OURS)
    for worker in workers.values():
        worker.close()
    shares = find_shares(warm_up)
    print(summary.round(2).to_string(index=False), shares, losses, sep="\n")
    frame["tokens_per_second"] = frame["tokens"] / frame["seconds"]
    settings = {"texts": chosen.texts, "rounds": chosen.rounds, "shares": shares, "losses": losses}
    save(frame, summary, "profile", machine, chosen.out, **settings)


if __name__ == "__main__":
    main()
