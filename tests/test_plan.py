"""The planner: sizes to check by hand, measured peaks, and the run files it fills."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
)

from emolib import DataError, budget, footprint, sizes
from emolib.gpus import GPUS
from emolib.plan import describe, plan
from emolib.series import SERIES, find

ROOT = Path(__file__).parents[1]
RUNS = sorted((ROOT / "notebooks" / "runs").glob("train_*.yaml"))
CARDS = {"24gb": "l4", "t4": "t4"}  # a run file's hardware: the least card of it
SMALL = {"vocab_size": 128, "hidden_size": 64}
TINY = {
    "llama": {**SMALL, "intermediate_size": 96, "num_hidden_layers": 2},
    "opt": {**SMALL, "ffn_dim": 96, "num_hidden_layers": 2, "word_embed_proj_dim": 32},
    "bloom": {**SMALL, "n_layer": 2, "n_head": 4},
    "t5": {"vocab_size": 128, "d_model": 64, "d_ff": 96, "d_kv": 8, "num_layers": 2},
    "bart": {
        "vocab_size": 128,
        "d_model": 64,
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 96 for side in ("encoder", "decoder")},
    },
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


@cache
def plan_once(*args):
    return plan(*args)


@cache
def count_member(name: str) -> sizes.Counts:
    return sizes.count(SERIES[name].configure())


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Emollama-7b", 6.738),
        ("Emollama-chat-7b", 6.738),
        ("Emollama-chat-13b", 13.016),
        ("Emoopt-13b", 12.853),
        ("Emobloom-7b", 7.069),
        ("Emot5-large", 0.738),
        ("Emobart-large", 0.406),
    ],
)
def test_members_have_the_published_number_of_parameters(name, billions):
    assert count_member(name).total / 1e9 == pytest.approx(billions, abs=5e-4)


def test_all_of_llama_but_embeddings_head_and_norms_is_quantized():
    counts = count_member("Emollama-7b")
    outside = 2 * 32000 * 4096 + 65 * 4096  # 32 layers' two norms and the last
    assert counts.quantized == counts.total - outside
    assert counts.largest == 4096 * 11008 and counts.head == 32000 * 4096


def test_t5_keeps_a_layer_out_of_nf4():
    counts = count_member("Emot5-large")
    assert counts.single == 48 * 4096 * 1024  # `wo` of 24 and 24 blocks
    assert counts.quantized + counts.single == counts.reading + counts.answering


@pytest.mark.parametrize("kind", TINY)
def test_adapter_has_as_many_parameters_as_peft_says(kind):
    config = AutoConfig.for_model(kind, **TINY[kind])
    if kind in ("llama", "opt"):
        for name, value in HEADS.items():
            setattr(config, name, value)
    make = AutoModelForSeq2SeqLM if kind in ("t5", "bart") else AutoModelForCausalLM
    lora = LoraConfig(r=16, target_modules="all-linear")
    trained, whole = get_peft_model(
        make.from_config(config), lora
    ).get_nb_trainable_parameters()
    counts = sizes.count(config)
    assert (16 * counts.ranks, counts.total) == (trained, whole - trained)


def test_weights_of_a_7b_model_in_nf4():
    memory = plan_once("Emollama-chat-7b", "t4").memory
    packed = 6_476_005_376 * 0.5 + (6_738_415_616 - 6_476_005_376) * 2
    assert memory.weights == pytest.approx(packed / 2**30)
    assert 3.5 < memory.weights + memory.constants < 3.9
    assert memory.optimizer == 2 * memory.adapter == 2 * memory.gradients


def test_qlora_of_7b_fits_a_t4_in_float16():
    found = plan_once("Emollama-chat-7b", "t4")
    assert found.fits and found.precision == "float16" and found.quantization == "nf4"
    job = budget.prepare(SERIES["Emollama-chat-7b"].configure(), "float16")
    plain, checkpointed = (
        budget.weigh_largest(job, 16, 16, each).total for each in (False, True)
    )
    assert checkpointed < 8 < GPUS["t4"].memory_gib < plain


def test_qlora_of_13b_fits_24_gb_and_a_t4_with_checkpointing():
    large, small = (plan_once("Emollama-chat-13b", gpu) for gpu in ("l4", "t4"))
    assert large.fits and not large.activation_checkpointing
    assert small.fits and small.activation_checkpointing
    assert small.hours > large.hours
    assert any("Without activation checkpointing" in line for line in small.why)


def test_full_tuning_of_7b_needs_several_gpus():
    one, four = (plan_once("Emollama-7b", "a100-80", n, "full") for n in (1, 4))
    held = [m.weights + m.gradients + m.optimizer for m in (one.memory, four.memory)]
    whole = 16 * 6_738_415_616 / 2**30  # 100.4
    assert held == pytest.approx([whole, whole / 4])
    assert four.fits and not one.fits
    told = " ".join(one.why)
    assert "2 such GPUs" in told and "qlora" in told and "h200" in told


def test_what_does_not_fit_names_a_smaller_model():
    found = plan_once("Emollama-7b", "4")
    assert not found.fits and found.micro_batch_size == 1 and found.hours is None
    assert "Emot5-large" in " ".join(found.why)


def test_memory_grows_with_the_micro_batch_and_falls_with_checkpointing():
    job = budget.prepare(SERIES["Emobloom-7b"].configure(), "bfloat16")
    sizes_ = [
        [budget.weigh_largest(job, 2**n, 16, each).total for n in range(5)]
        for each in (False, True)
    ]
    assert all(line == sorted(line) for line in sizes_)
    assert all(plain > less for plain, less in zip(*sizes_, strict=True))


@pytest.mark.parametrize("name", ["Emollama-7b", "Emoopt-13b"])
def test_checkpointing_formula_is_near_a_checkpointed_step(name):
    config = SERIES[name].configure()
    found = footprint.measure(config, False, 16, 0.05, True)
    model = footprint._shrink(config, 4, 16, 0.05, True)
    model.get_base_model().gradient_checkpointing_enable()
    model.get_base_model().enable_input_require_grads()
    inputs = footprint._pad(config, 4)
    peak = footprint._trace(model, inputs, True)
    copies = sum(p.numel() for p in model.parameters() if p.requires_grad) * 2
    said = found.weigh(footprint._count_tokens(inputs), 4, True) + copies
    assert said == pytest.approx(peak, rel=0.15)


def test_dropout_is_as_before_after_a_trace():
    before = torch.nn.functional.dropout
    footprint.measure(LlamaConfig(**TINY["llama"], **HEADS), True, 16, 0.05, True)
    assert torch.nn.functional.dropout is before


# Counted over all of AAID with SmolLM2's tokenizer: rows of an optimizer step and of a
# micro-batch, tokens a row on average and in the largest (shared), on average (padded).
COUNTED = [
    (16, 1, 110.1, 229.0, 110.1),
    (16, 2, 92.0, 172.5, 119.7),
    (16, 4, 82.9, 124.8, 132.2),
    (16, 8, 78.4, 106.8, 146.4),
    (16, 16, 74.5, 89.8, 156.2),
    (256, 2, 80.1, 179.5, None),
    (256, 16, 53.8, 75.5, None),
    (256, 64, 50.9, 59.3, None),
    (256, 256, 50.1, 52.6, None),
]


@pytest.mark.parametrize(("batch", "micro", "mean", "most", "padded"), COUNTED)
def test_tokens_are_within_a_tenth_of_those_counted(batch, micro, mean, most, padded):
    ours, largest = budget.count_tokens(micro, batch, shared=True)
    assert ours / micro == pytest.approx(mean, rel=0.1)
    assert largest / micro == pytest.approx(most, rel=0.16)
    if padded:
        ours, largest = budget.count_tokens(micro, batch, shared=False)
        assert ours / micro == pytest.approx(padded, rel=0.1)
        assert largest == micro * 264


def test_time_is_operations_over_speed():
    found = plan_once("Emollama-chat-7b", "t4")
    assert found.micro_batch_size == 4 and not found.activation_checkpointing
    forward_and_back = 4 * 6_476_005_376 * found.tokens_per_row
    seconds = 3 * 234_040 * forward_and_back / (0.2 * 65e12)
    assert found.seconds == pytest.approx(seconds, rel=0.05)  # adapter and head
    assert any("no GPU timing was measured" in line for line in found.why)


def test_several_gpus_share_the_work_and_no_instructions():
    config = LlamaConfig(**TINY["llama"], **HEADS)
    one, two = (plan(config, "l4", n) for n in (1, 2))
    assert (one.micro_batch_size, two.micro_batch_size) == (16, 8)
    assert one.tokens_per_row < two.tokens_per_row


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "gtx9000"}, "'gtx9000': expected one of t4, l4,.*cpu"),
        ({"gpu": "-3"}, "number of GiB"),
        ({"gpu": "nan"}, "number of GiB"),
        ({"method": "dora"}, "'dora': expected one of qlora, lora, full"),
        ({"model": "no/such-model"}, "cannot load model 'no/such-model'"),
        ({"gpus": 3}, "gpus 3 does not divide batch_size 16"),
        ({"gpus": 0}, "gpus 0"),
        ({"rank": 0}, "rank 0: expected at least 1"),
    ],
)
def test_what_is_unknown_is_named(options, message):
    with pytest.raises(DataError, match=message):
        plan(**{"model": "Emollama-7b", "gpu": "t4"} | options)


def test_other_names_of_a_member_mean_it():
    base = plan_once("google-t5/t5-large", "t4")
    assert base.memory == plan_once("Emot5-large", "t4").memory
    assert "fits t4" in describe(base) and "in all" in describe(base)


def smollm2(layers: int = 30) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )


@cache
def prepare_smollm2(share: bool) -> budget.Job:
    return budget.prepare(smollm2(), "float32", "lora", share=share)


def test_estimates_are_near_the_committed_peaks():
    table = pd.read_csv(ROOT / "figures" / "data" / "bench_memory.csv")
    assert len(table) == 12
    for row in table.itertuples():
        job = prepare_smollm2(row.share)
        memory = budget.weigh(job, row.tokens, row.answers, row.checkpointing)
        assert memory.total == pytest.approx(row.planned_gib, rel=1e-3)
        assert memory.total == pytest.approx(row.measured_gib, rel=0.25)
        tensors = memory.total - memory.reserve
        assert tensors == pytest.approx(row.allocated_gib, rel=0.1)


def test_every_member_has_a_run_file():
    bases = [yaml.safe_load(path.read_text())["model"] for path in RUNS]
    assert sorted(bases) == sorted(member.base for member in SERIES.values())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_run_files_have_the_planners_settings(path):
    given = yaml.safe_load(path.read_text())
    assert given["name"] == path.stem and find(given["model"]) is None
    found = plan_once(given["model"], CARDS[path.stem.rpartition("_")[2]])
    check_run(path, given, found)


def test_colab_run_has_the_planners_settings():
    path = ROOT / "notebooks" / "runs" / "colab_t4.yaml"
    config = LlamaConfig(  # SmolLM2-1.7B
        vocab_size=49152,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=24,
        num_attention_heads=32,
        num_key_value_heads=32,
        tie_word_embeddings=True,
    )
    check_run(path, yaml.safe_load(path.read_text()), plan(config, "t4"))


def check_run(path, given, found):
    assert found.fits and given["quantization"] == found.quantization
    for name in ("batch_size", "micro_batch_size", "activation_checkpointing"):
        assert given[name] == getattr(found, name)
    assert given["epochs"] == found.epochs and given["train_rows"] == 0
    total, room = found.memory.total, found.gpu.memory_gib
    assert f"{total:.1f} of {room:.1f} GiB, {found.hours:.0f} hours" in path.read_text()
