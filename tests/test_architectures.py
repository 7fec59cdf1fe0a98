"""One battery over every kind of model: quantize, train, save, load, answer, resume."""

import math

import numpy as np
import pytest
import torch
from tuning import finetune

from emolib import DataError, models, runs
from emolib.annotation.annotate import Annotator
from emolib.data import aaid
from emolib.evaluation import metrics
from emolib.inference import predict
from emolib.inference.answer_tree import list_choices, read_labels
from emolib.inference.constrained import read_questions
from emolib.models import tokens
from emolib.tasks import AAID, TASKS
from emolib.training import record
from emolib.training.record import LossLog

pytestmark = pytest.mark.slow  # trains, kills or compares whole models


# Architecture and a tokenizer as its models have it: the five of the paper's series,
# then modern ones (Llama 3, Qwen 2 and 3, Gemma 3, SmolLM3).
KINDS = {
    "llama": "unigram_tokenizer",
    "opt": "byte_tokenizer",
    "bloom": "bare_tokenizer",
    "t5": "t5_tokenizer",
    "bart": "bart_tokenizer",
    "llama3": "byte_tokenizer",
    "qwen2": "bare_tokenizer",
    "qwen3": "bare_tokenizer",
    "gemma3_text": "unigram_tokenizer",
    "smollm3": "bare_tokenizer",
}
LLAMA3 = {
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
FAST = {
    "batch_size": 8,
    "micro_batch_size": 4,
    "max_steps": 8,
    "eval_steps": 4,
    "learning_rate": 1e-2,
    "patience": 9,
}


@pytest.fixture(scope="session")
def rows(sample_aaid):
    """Training and validation rows."""
    train, validation = sample_aaid["train"], sample_aaid["validation"]
    return train.select(range(40)), validation.select(range(8))


@pytest.fixture(scope="session", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def folder(kind, save_tiny) -> str:
    if kind == "llama3":
        return save_tiny("llama", KINDS[kind], **LLAMA3)
    return save_tiny(kind, KINDS[kind])


@pytest.fixture(scope="session")
def tuned(folder, rows, tmp_path_factory):
    """A finished nf4 run on this kind of model."""
    return finetune(*rows, folder, tmp_path_factory.mktemp("runs") / "tuned", **FAST)


def read_weights(run) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def test_loss_falls_in_four_bits(tuned):
    log = record.read_log(tuned)
    losses = log["loss"].dropna()
    assert losses.tail(3).mean() < losses.iloc[0] - 0.3
    assert runs.read(tuned)["settings"]["quantization"] == "nf4"


def test_linear_layers_are_found_and_quantized(folder, tuned):
    model, _ = models.load(tuned, "nf4")
    names = {name for name, _ in model.named_modules()}
    adapted = {name.rpartition(".lora_A")[0] for name in names if ".lora_A." in name}
    four_bit = {name for name, m in model.named_modules() if _is_four_bit(m)}
    assert adapted and not any("lm_head" in name for name in adapted)
    left = adapted - {name.removesuffix(".base_layer") for name in four_bit}
    assert all(name.endswith("DenseReluDense.wo") for name in left)  # T5 says so


def _is_four_bit(module) -> bool:
    return type(module).__name__ == "Linear4bit"


def test_interrupted_run_ends_with_the_weights_of_a_straight_one(
    folder, rows, tuned, tmp_path, monkeypatch
):
    run = tmp_path / "again"
    original = LossLog.on_log

    def stop(self, args, state, *given, **more):
        original(self, args, state, *given, **more)
        if state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LossLog, "on_log", stop)
        finetune(*rows, folder, run, **FAST)
    finetune(*rows, folder, run, **FAST)
    assert read_weights(run) == read_weights(tuned)


@pytest.mark.parametrize("method", ["constrained", "generate"])
def test_tuned_model_answers_and_is_scored(tuned, sample_aeb, tmp_path, method):
    model, tokenizer = models.load(tuned, "nf4")
    names = ("V-reg",) if method == "generate" else ("V-reg", "V-oc", "E-c")
    asked = sample_aeb.filter(lambda row: row["task"] in names)
    asked = asked.select(range(0, len(asked), 3 * len(names)))
    found = predict.predict(asked, model, tokenizer, tmp_path, method=method, progress=False)
    assert found["id"].tolist() == asked["id"]
    if method == "generate":
        spoken = [write_alone(model, tokenizer, prompt) for prompt in asked["prompt"]]
        assert found["response"].tolist() == spoken
        return
    chosen = [row["task"] == "V-reg" for row in asked]
    gold = np.array(asked["gold"], dtype=object)[chosen]
    scores = metrics.score("V-reg", gold, found["mean"][chosen])
    assert -1 <= scores["pearson"] <= 1
    for table in found["probabilities"][[not c for c in chosen]]:
        assert all(0 <= p <= 1 for p in table.values())


def write_alone(model, tokenizer, prompt: str) -> str:
    """The likeliest token, one by one, for a prompt without padding."""
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    decodes = model.config.is_encoder_decoder
    start = [model.config.decoder_start_token_id] if decodes else []
    answer: list[int] = []
    limit = TASKS["V-reg"].max_new_tokens
    while len(answer) < limit and tokenizer.eos_token_id not in answer:
        own = torch.tensor([[*start, *answer]]) if start or answer else None
        with torch.no_grad():
            if decodes:
                logits = model(input_ids=ids, decoder_input_ids=own).logits
            else:
                whole = ids if own is None else torch.cat([ids, own], 1)
                logits = model(input_ids=whole.long()).logits
        answer.append(int(logits[0, -1].argmax()))
    return tokenizer.decode(answer, skip_special_tokens=True)


def test_tuned_model_annotates(tuned):
    frame = Annotator(str(tuned), progress=False)(["So glad!", "", "I hate rain"])
    assert frame["reason"].isna().tolist() == [True, False, True]
    assert frame.loc[[0, 2], "valence"].between(0, 1).all()
    assert frame.loc[[0, 2], "joy_class"].isin(range(4)).all()


@pytest.mark.parametrize("task", AAID)
def test_allowed_answers_are_what_training_taught(folder, sample_aaid, task):
    """The tokens an answer is read off are those that stood under the loss."""
    model, tokenizer = models.load(folder)
    style = model.settings["answers"]
    rows = sample_aaid["train"].filter(lambda row: row["task"] == task)
    rows = rows.select(range(6))
    encoded, _ = tokens.keep_short(rows, tokenizer, 2048, style)
    question = read_questions(rows, tokenizer, style)[0]
    for row in encoded:
        answer = [token for token in row["labels"] if token != -100]
        asked = row["input_ids"]
        if style != "decoder":
            asked = asked[: len(asked) - len(answer)]
        assert asked == tokenizer(row["prompt"]).input_ids
        walk(question.choices, answer)


def walk(choices, answer: list[int]) -> None:
    """Follows an answer's tokens through the tree until nothing is left to choose."""
    place, depth = -1, 0
    while depth < len(answer):
        below = [t for t, p in enumerate(choices.parents) if p == place]
        edges = [
            token
            for fork, token in zip(choices.forks, choices.targets, strict=True)
            if fork == place
        ]
        if not edges and not below:
            return
        if edges:
            assert answer[depth] in edges
        following = [t for t in below if choices.tokens[t] == answer[depth]]
        if not following:
            return
        place, depth = following[0], depth + 1


def test_prompt_form_of_the_adapter_is_kept(tuned):
    model, _ = models.load(tuned)
    assert model.settings["prompt_form"] == "paper"


@pytest.fixture(scope="module", params=["t5", "bart"])
def pair(request, save_tiny):
    """A model with encoder and decoder, in float32, and its tokenizer."""
    return models.load(save_tiny(request.param, KINDS[request.param]))


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_checkpointed_activations_change_nothing(rows, save_tiny, tmp_path, architecture):
    folder = save_tiny(architecture, KINDS[architecture])
    found = [
        finetune(
            *(*rows, folder, tmp_path / f"run {again}"),
            activation_checkpointing=again,
            **FAST | {"max_steps": 3},
        )
        for again in (False, True)
    ]
    assert read_weights(found[0]) == read_weights(found[1])


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_pair_goes_on_from_an_adapter_and_is_chosen_by_score(
    rows, sample_aaid, save_tiny, tmp_path, architecture
):
    """Through the other trainer: the adapter's own loss, the score of its answers."""
    folder = save_tiny(architecture, KINDS[architecture])
    given = rows[0], aaid.spread(sample_aaid["validation"], 40, even=True)
    options = FAST | {"quantization": None, "choose_by": "score"}
    first = finetune(*given, folder, tmp_path / "first", **options)
    options |= {"max_steps": 1, "eval_steps": 1, "learning_rate": 1e-12}
    fresh = finetune(*given, folder, tmp_path / "fresh", **options)
    on = finetune(*given, folder, tmp_path / "on", start=str(first), **options)
    one, two, none = (runs.read(run) for run in (first, on, fresh))
    assert two["best_eval_loss"] == pytest.approx(one["best_eval_loss"], abs=1e-4)
    assert none["best_eval_loss"] > one["best_eval_loss"] + 0.1
    log = record.read_log(first).dropna(subset="eval_loss")
    assert log["step"].tolist() == [4, 8]
    best = log.loc[log["eval_score"].idxmax()]
    assert one["best_step"] == best["step"]
    for each in (one, two):
        assert each["best_eval_score"] == pytest.approx(best["eval_score"], abs=1e-4)
    model, tokenizer = models.load(first)
    found = predict.predict(given[1], model, tokenizer, tmp_path / "p", progress=False)
    again = score_frame(given[1], found)
    assert abs(again) > 0.01 and again == pytest.approx(best["eval_score"], abs=1e-4)
    with pytest.raises(DataError, match="has r=16 in its LoRA, this run 8"):
        finetune(*given, folder, tmp_path / "b", start=str(first), lora_rank=8, **options)


def score_frame(rows, found) -> float:
    """The mean over tasks of answers' Pearson's r by emotion, or Jaccard index."""
    each = []
    for task in AAID:
        own = [number for number, name in enumerate(rows["task"]) if name == task]
        gold = [rows["gold"][number] for number in own]
        answered = found.iloc[own]
        if TASKS[task].kind == "labels":
            predicted = answered["prediction"].map(tuple).tolist()
            each.append(metrics.score(task, gold, predicted)["jaccard"])
            continue
        means = [
            sum(float(name) * p for name, p in table.items()) for table in answered["probabilities"]
        ]
        emotions = [rows["emotion"][number] for number in own]
        each.append(metrics.correlate(task, gold, means, emotions))
    return float(np.mean(each))


@pytest.mark.parametrize("task", ["EI-reg", "V-oc", "GoEmotions"])
def test_decoder_gives_each_answer_its_probability(pair, sample_aeb, task, tmp_path):
    model, tokenizer = pair
    rows = sample_aeb.filter(lambda row: row["task"] == task).select(range(3))
    found = predict.predict(rows, model, tokenizer, tmp_path, progress=False)
    asked = (0.0, 1.0) if task == "EI-reg" else None
    for row, each in zip(rows, found.to_dict("records"), strict=True):
        choices = list_choices(task, asked, row["prompt"], tokenizer, "decoder")
        alone = measure_alone(model, tokenizer, row["prompt"], choices)
        ours = list(each["probabilities"].values())
        if task == "GoEmotions":
            alone = read_labels(choices, np.array([alone]))[0].tolist()
        assert ours == pytest.approx(alone, abs=1e-4)


def measure_alone(model, tokenizer, prompt: str, choices) -> list[float]:
    """Probabilities of the answers, every edge from a forward pass of its own."""
    ids = torch.tensor([tokenizer(prompt).input_ids])
    steps = []
    for fork, token in zip(choices.forks, choices.targets, strict=True):
        path = [model.config.decoder_start_token_id, *choices.find_path(fork)]
        beside = [t for f, t in zip(choices.forks, choices.targets, strict=True) if f == fork]
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([path])).logits[0, -1]
        steps.append(float(logits[token] - logits[beside].logsumexp(0)))
    return [
        math.exp(sum(s for s, on in zip(steps, path, strict=True) if on)) for path in choices.paths
    ]


def test_decoder_answers_alike_in_batches_of_any_size(pair, sample_aeb, tmp_path):
    model, tokenizer = pair
    rows = sample_aeb.select(range(0, len(sample_aeb), 40))
    sizes = [
        predict.predict(
            rows, model, tokenizer, tmp_path / str(budget), tokens_per_batch=budget, progress=False
        )
        for budget in (1, 4096)
    ]
    for one, other in zip(*(r["probabilities"] for r in sizes), strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-4)


def test_number_of_rows_that_two_trainers_see_is_the_same(rows, folder, tmp_path):
    """Too long rows are left out and counted, whatever trains."""
    tokenizer = models.load_tokenizer(folder)
    style = models.load(folder)[0].settings["answers"]
    whole, _ = tokens.keep_short(rows[0], tokenizer, 4096, style)
    limit = sorted(map(len, whole["input_ids"]))[20]
    short, cut = tokens.keep_short(rows[0], tokenizer, limit, style)
    assert len(short) + cut == 40 and 0 < cut < 20
    assert max(map(len, short["input_ids"])) <= limit


def test_all_of_aaid_fits_each_tokenizer(folder, sample_aaid):
    own = models.load(folder)[0].settings["answers"]
    tokenizer = models.load_tokenizer(folder)
    for form, style in (("paper", own), ("plain", own), ("published", "apart")):
        made = aaid.build("sample", form=form)["validation"].select(range(200))
        kept, cut = tokens.keep_short(made, tokenizer, 4096, style)
        assert (len(kept), cut) == (200, 0)
