import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES

from emolib.inference import prefix_tree, tree_attention
from emolib.inference.prefix_tree import Item
from emolib.tasks import EMOTIONS

CHAIN = Item([5, 6, 7], [8, 9], [-1, 0])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, make_tiny):
    return make_tiny(request.param)


@pytest.fixture(scope="module")
def questions(sample_aeb, byte_tokenizer) -> list[Item]:
    """Prompts of several tasks with an answer tree, two of them equal."""
    prompts = list(sample_aeb.select(range(0, 200, 17))["prompt"])
    ids = byte_tokenizer([*prompts, prompts[0]]).input_ids
    return [Item(each, [9, 10, 11, 12], [-1, 0, 0, -1]) for each in ids]


def follow(item: Item, branch: int) -> list[int]:
    """The whole sequence up to a branch token."""
    path = []
    while branch >= 0:
        path.insert(0, item.branches[branch])
        branch = item.parents[branch]
    return [*item.ids, *path]


def test_every_token_gets_what_it_gets_alone(model, questions):
    row = prefix_tree.lay(questions)
    body, _ = tree_attention.take_body(model)
    with torch.no_grad():
        found = tree_attention.encode(model, row)
        for item, end, places in zip(questions, row.ends, row.branches, strict=True):
            for branch, place in [(-1, end), *enumerate(places)]:
                ids = torch.tensor([follow(item, branch)])
                alone = body(ids).last_hidden_state[0, -1]
                torch.testing.assert_close(found[place], alone, atol=1e-4, rtol=0)


def test_what_stands_once_is_computed_once(questions):
    row = prefix_tree.lay(questions)
    plain = sum(len(item.ids) + len(item.branches) for item in questions)
    assert row.ids.shape[1] == prefix_tree.count(questions) < 0.9 * plain


def test_shared_text_below_a_shared_instruction():
    task, text, other = range(10, 30), range(30, 50), range(60, 80)
    items = [Item([*task, *text, end, end]) for end in (1, 2, 3)]
    items += [Item([*task, *other, 4]), Item([*task, *other, 4])]
    assert prefix_tree.count(items) == 20 + 20 + 3 * 2 + 20 + 2 * 1


def test_questions_about_one_text_share_it(sample_aeb, byte_tokenizer):
    row = sample_aeb.filter(lambda row: row["task"] == "EI-reg")[0]
    asked = [row["prompt"].replace(row["emotion"], each) for each in EMOTIONS]
    ids = byte_tokenizer(asked).input_ids
    text = len(byte_tokenizer(row["text"]).input_ids) - 1
    alone = sum(map(len, ids))
    assert prefix_tree.count([Item(each) for each in ids]) < alone - 3 * text


def test_rows_hold_each_item_once_within_their_budget():
    draw = np.random.default_rng(0)
    starts = [draw.integers(0, 50, size).tolist() for size in (3, 12, 30, 30)]
    items = []
    for _ in range(200):
        tail = draw.integers(0, 50, draw.integers(1, 40)).tolist()
        items.append(Item([*starts[draw.integers(4)], *tail], [1, 2], [-1, 0]))
    rows = prefix_tree.plan(items, 150)
    assert sorted(number for row in rows for number in row) == list(range(200))
    counts = [prefix_tree.count([items[n] for n in row]) for row in rows]
    assert max(counts) <= 150 and np.mean(counts) > 100
    assert [len(row) for row in prefix_tree.plan(items, 1)] == [1] * 200


def test_a_row_of_one_item_is_the_sequence():
    row = prefix_tree.lay([CHAIN])
    assert row.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert row.positions.tolist() == [[0, 1, 2, 3, 4]]
    assert row.ends == [2] and row.branches == [[3, 4]]


def test_models_that_can_share_are_recognized(model, byte_tokenizer):
    assert tree_attention.fits(model, byte_tokenizer)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("mamba", {"state_size": 4}),
        ("gemma2", {"head_dim": 32}),  # squashes attention scores
        ("mistral", {"sliding_window": 4}),
    ],
)
def test_models_that_cannot_share_are_recognized(make_tiny, byte_tokenizer, architecture, changes):
    model = make_tiny(architecture, **changes)
    assert not tree_attention.fits(model, byte_tokenizer)
    assert model.config._attn_implementation != "emolib_forest"


def test_window_wider_than_the_texts_does_no_harm(make_tiny, byte_tokenizer):
    assert tree_attention.fits(make_tiny("mistral", sliding_window=4096), byte_tokenizer)


def test_scaled_logits_are_noticed(make_tiny, byte_tokenizer):
    assert not tree_attention.fits(make_tiny("granite", logits_scaling=8.0), byte_tokenizer)
