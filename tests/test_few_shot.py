import re

import pytest

from emolib import DataError, baselines
from emolib.data import aeb, corpora, parsing
from emolib.data.prompts import form_of
from emolib.tasks import TASKS

PREPARED = ["EI-reg", "EI-oc", "V-reg", "V-oc", "E-c", "EmoBank-A", "SST", "SST5"]
PREPARED += ["TDT", "GoEmotions"]


def build(task, rows=2, **options):
    return aeb.build([task], data="sample", **options).select(range(rows))


def read_turns(prompt):
    """The answers that stand in a prompt of the paper's form."""
    return re.findall(r"Assistant:\n(.+)", prompt)


@pytest.mark.parametrize("task", PREPARED)
def test_prompt_ends_as_without_examples(task):
    rows = build(task)
    found = baselines.few_shot(rows, data="sample")
    for plain, shown in zip(rows, found, strict=True):
        tail = plain["prompt"].replace(f"Task: {plain['instruction']} ", "")
        assert shown["prompt"].endswith(tail) and form_of(shown["prompt"]) == "paper"
        assert shown["prompt"].count(plain["instruction"]) == 1
        assert {k: v for k, v in shown.items() if k != "prompt"} == {
            k: v for k, v in plain.items() if k != "prompt"
        }


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("task", ["EI-oc", "TDT"])
def test_every_class_is_shown(task, shots):
    prompt = baselines.few_shot(build(task), shots, data="sample")[0]["prompt"]
    shown = [parsing.parse(task, answer) for answer in read_turns(prompt)]
    assert sorted(shown) == sorted([*TASKS[task].classes] * shots)


@pytest.mark.parametrize(("task", "none"), [("E-c", [()]), ("GoEmotions", [])])
def test_every_label_is_shown(task, none):
    prompt = baselines.few_shot(build(task), data="sample")[0]["prompt"]
    shown = [parsing.parse(task, answer) for answer in read_turns(prompt)]
    assert {label for labels in shown for label in labels} == set(TASKS[task].labels)
    assert [labels for labels in shown if not labels] == none


def test_scores_are_shown_low_middle_and_high_as_asked_for():
    prompt = baselines.few_shot(build("EmoBank-A"), data="sample")[0]["prompt"]
    shown = sorted(float(answer) for answer in read_turns(prompt))
    assert len(shown) == 3 and 0 <= shown[0] < shown[1] < shown[2] <= 1
    released = build("EmoBank-A").map(lambda row: {"instruction": "As released."})
    prompt = baselines.few_shot(released, data="sample")[0]["prompt"]
    assert all(1 <= float(answer) <= 5 for answer in read_turns(prompt))


def test_examples_are_of_the_training_split_and_the_same_emotion():
    rows = aeb.build(["EI-reg"], data="sample")
    train = corpora.read("EI-reg", "train", "sample")
    found = baselines.few_shot(rows, data="sample").filter(lambda row: row["emotion"] == "fear")
    for text in re.findall(r"Tweet: (.*) Emotion E: fear\.", found[0]["prompt"])[:-1]:
        fitting = train[train["emotion"] == "fear"]["text"]
        assert text in set(fitting) | {f"{known}." for known in fitting}


def test_a_text_to_be_judged_is_no_example():
    rows = build("TDT", 1)
    train = corpora.read("TDT", "train", "sample")["text"].tolist()
    rows = rows.map(lambda row: {"text": train[0]})
    prompt = baselines.few_shot(rows, data="sample")[0]["prompt"]
    assert prompt.count(train[0]) == 1


def test_a_text_to_be_judged_is_none_in_other_letters_either():
    train = corpora.read("TDT", "train", "sample")["text"].tolist()
    rows = build("TDT", 1).map(lambda row: {"text": f"{train[0].upper()}."})
    prompt = baselines.few_shot(rows, data="sample")[0]["prompt"]
    assert train[0] not in prompt


@pytest.mark.slow  # the first use of an API client imports it
def test_api_message_has_no_role_words():
    from emolib.baselines.api import unwrap

    message = unwrap(baselines.few_shot(build("TDT"), data="sample")[0]["prompt"])
    assert "Human:" not in message and "Assistant:" not in message
    assert message.count("Intensity Class: ") == 3 and "Intensity Class: 1: p" in message
    assert message.startswith("Task: ") and message.endswith("Intensity Class:")


def test_same_seed_gives_the_same_examples_and_another_does_not():
    found = [
        baselines.few_shot(build("V-oc"), seed=seed, data="sample")["prompt"][0]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_plain_form_shows_the_instruction_once():
    rows = build("TDT", form="plain")
    prompt = baselines.few_shot(rows, data="sample")[0]["prompt"]
    assert prompt.startswith(rows[0]["instruction"] + "\n\nText: ")
    assert prompt.count(rows[0]["instruction"]) == 1
    assert len(re.findall(r"Intensity Class: (-1|0|1): ", prompt)) == 3
    assert prompt.endswith("\nIntensity Class:")


@pytest.mark.parametrize(
    ("task", "shots", "reason"),
    [
        ("V-A", 1, "V-A has no training split"),
        ("TDT", 3, "2 training rows for -1, expected 3: ask for fewer"),
        ("TDT", 0, "shots is 0"),
    ],
)
def test_impossible_examples_are_an_error(task, shots, reason):
    with pytest.raises(DataError, match=reason):
        baselines.few_shot(build(task), shots, data="sample")


def test_data_frame_of_rows_gives_the_same_prompts():
    rows = build("TDT")
    found = baselines.few_shot(rows.to_pandas(), data="sample")
    assert found.to_list() == baselines.few_shot(rows, data="sample").to_list()
