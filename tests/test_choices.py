import itertools
from functools import cache

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES

from emolib import DataError
from emolib.data import aeb, parsing
from emolib.data.prompts import read_range
from emolib.inference import answer_tree, constrained
from emolib.tasks import TASKS, get


@pytest.fixture(scope="module")
def items() -> dict:
    """Task -> its first item."""
    rows = aeb.build([*TASKS], "sample").to_list()
    return {row["task"]: row for row in reversed(rows)}


@pytest.fixture(params=["byte_tokenizer", "unigram_tokenizer", "smollm2_tokenizer"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def list_for(row: dict, tokenizer) -> answer_tree.Choices:
    asked = read_range(row["task"], row["instruction"])
    return answer_tree.list_choices(row["task"], asked, row["prompt"], tokenizer)


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_of_allowed_answers_sum_to_one(items, tokenizer, task):
    found = list_for(items[task], tokenizer)
    shape = (5, len(found.places), len(found.candidates))
    measured = found.measure(torch.randn(shape, generator=torch.manual_seed(0)))
    assert measured.shape == (5, len(found.values))
    np.testing.assert_allclose(measured.exp().sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("form", ["paper", "plain", "chat"])
def test_tree_is_grown_once_for_all_prompts_of_a_task(byte_tokenizer, form):
    rows = aeb.build(["E-c"], "sample", form=form, tokenizer=byte_tokenizer)
    found = {id(list_for(row, byte_tokenizer)) for row in rows}
    assert len(rows) > 5 and len(found) == 1


@pytest.mark.parametrize("task", ["EI-reg", "V-A", "EmoBank-V"])
def test_numbers_are_told_apart_to_a_tenth_of_the_range(items, tokenizer, task):
    found = list_for(items[task], tokenizer)
    low, high = found.asked
    values = np.array(found.values)
    assert values.min() < low + 0.1 * (high - low) and values.max() == high
    assert np.diff(np.sort(values)).max() < 0.11 * (high - low)


def test_classes_of_smollm2_need_no_more_than_a_sign(items, smollm2_tokenizer):
    sizes = {t: len(list_for(items[t], smollm2_tokenizer).tokens) for t in items}
    assert (sizes["EI-oc"], sizes["SST5"], sizes["TDT"]) == (0, 0, 0)
    assert (sizes["V-oc"], sizes["EI-reg"]) == (1, 2)  # "-" and "0."


def brute_force(task: str, row: dict, model, tokenizer) -> dict:
    """Answer -> probability, token by token over all answers still possible."""
    found = get(task)
    values, texts = answer_tree._spell(found, read_range(task, row["instruction"]))
    start = tokenizer(row["prompt"]).input_ids
    whole = [tokenizer(row["prompt"] + text).input_ids[len(start) :] for text in texts]
    ends = [not (found.kind == "labels" and len(value) == 2) for value in values]
    whole = [
        [*ids, tokenizer.eos_token_id] if end else ids for ids, end in zip(whole, ends, strict=True)
    ]

    @cache
    def step(past: tuple) -> dict:
        rivals = sorted({o[len(past)] for o in whole if o[: len(past)] == list(past)})
        with torch.no_grad():
            logits = model(torch.tensor([[*start, *past]])).logits[0, -1, rivals]
        return dict(zip(rivals, logits.softmax(-1).tolist(), strict=True))

    return {
        value: np.prod([step(tuple(ids[:n]))[ids[n]] for n in range(len(ids))])
        for ids, value in zip(whole, values, strict=True)
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("task", ["EI-oc", "V-oc", "GoEmotions", "E-c", "TDT"])
def test_shared_row_gives_each_answer_its_probability(
    items, make_tiny, byte_tokenizer, architecture, task
):
    model, row = make_tiny(architecture), items[task]
    question = constrained.Question(
        byte_tokenizer(row["prompt"]).input_ids, list_for(row, byte_tokenizer)
    )
    expected = brute_force(task, row, model, byte_tokenizer)
    for ask in (constrained._compute_shared, constrained._compute_padded):
        found = ask(model, byte_tokenizer, [question, question])[1]
        for value, p in zip(question.choices.values, found, strict=True):
            assert p == pytest.approx(expected[value], abs=1e-4)


@pytest.mark.slow
def test_every_number_can_be_told_apart(items, make_tiny, byte_tokenizer, monkeypatch):
    monkeypatch.setattr(answer_tree, "STEP", 0)
    monkeypatch.setattr(answer_tree, "_list_after", answer_tree._list_after.__wrapped__)
    model, row = make_tiny("llama"), items["EI-reg"]
    found = list_for(row, byte_tokenizer)
    question = constrained.Question(byte_tokenizer(row["prompt"]).input_ids, found)
    measured = constrained._compute_shared(model, byte_tokenizer, [question])[0]
    expected = brute_force("EI-reg", row, model, byte_tokenizer)
    assert sorted(found.values) == sorted(expected) and len(expected) == 1001
    wanted = [expected[value] for value in found.values]
    np.testing.assert_allclose(measured, wanted, atol=1e-6)


def make_chain(labels: int = 4):
    """A task of few labels with random answers; its choices and probabilities."""
    task = get("E-c")
    names = task.labels[:labels]
    values = [(), *((n,) for n in names), *itertools.combinations(names, 2)]
    made = answer_tree.Choices(task, None, [], [], [], [], np.zeros((0, 0)), values)
    return made, np.random.default_rng(0).dirichlet(np.ones(len(values))), names


def test_labels_and_lists_sum_over_the_chain():
    made, given, names = make_chain()
    whole = dict(zip(made.values, given, strict=True))
    lists = [
        chosen for size in range(len(names) + 1) for chosen in itertools.combinations(names, size)
    ]
    each = {chosen: answer_tree.read_list(made, given, chosen) for chosen in lists}
    assert sum(each.values()) == pytest.approx(1)
    assert each[()] == whole[()] and each[(names[1],)] == whole[(names[1],)]
    held = answer_tree.read_labels(made, given[None])[0]
    for number, name in enumerate(names):
        mine = sum(p for chosen, p in each.items() if name in chosen)
        assert held[number] == pytest.approx(mine)
    assert held[len(names) :].sum() == 0


def test_tokenizer_that_joins_prompt_and_answer_is_refused(smollm2_tokenizer):
    with pytest.raises(DataError, match="merges the end of the prompt"):
        answer_tree.list_choices("E-c", None, "Emotions: ", smollm2_tokenizer)


@pytest.mark.parametrize("task", TASKS)
def test_every_allowed_answer_can_be_read(items, task):
    asked = read_range(task, items[task]["instruction"])
    values, texts = answer_tree._spell(get(task), asked)
    for value, text in zip(values[:200], texts[:200], strict=True):
        found = parsing.parse(task, text.replace("None", "joy"), asked)
        if get(task).kind == "score" and asked != get(task).range:
            value = np.interp(value, asked, get(task).range)
        assert found == pytest.approx(value) if isinstance(value, float) else found == value
