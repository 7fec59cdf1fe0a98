import pytest

from emolib import DataError, answers, corpora, metrics, prompts
from emolib.tasks import TASKS, describe_class, get

EXAMPLE = {  # what the corpus writes, and its value
    "EI-reg": ("0.562", 0.562),
    "EI-oc": ("2: moderate amount of joy can be inferred", 2),
    "V-reg": ("0.016", 0.016),
    "V-oc": ("-3: very negative emotional state can be inferred", -3),
    "E-c": ("anger, disgust", ("anger", "disgust")),
}
every_task = pytest.mark.parametrize("task", list(TASKS))


def test_sizes_times_ten_are_the_published_counts():
    sizes = [task.sizes for task in TASKS.values()]
    assert 10 * sum(size["train"] for size in sizes) == 234_040
    assert 10 * sum(size["dev"] for size in sizes) == 47_120
    assert sum(size["test"] for size in sizes) == 13_269


def test_unknown_task_names_those_there_are():
    with pytest.raises(DataError, match=r"no task 'EI-rge'.*EI-reg, EI-oc, V-reg"):
        get("EI-rge")


def test_class_is_described_as_the_corpus_writes_it():
    assert describe_class(get("EI-oc"), 0, "fear") == "0: no fear can be inferred"
    words = "3: very positive emotional state can be inferred"
    assert describe_class(get("V-oc"), 3) == words


@every_task
def test_example_is_read_and_scored(task):
    written, value = EXAMPLE[task]
    assert answers.read_gold(task, written) == value
    found = metrics.score(task, [written] * 3, [value] * 3)
    assert set(get(task).metrics) < set(found) and found["unparsed"] == 0


@every_task
def test_instructions_are_ten_and_complete(task):
    found = prompts.instructions(task)
    assert len(set(found)) == 10
    assert not any("{" in text or "\n" in text for text in found)
    named = [text.partition("{")[0] for text in get(task).classes.values()]
    assert all(part in text for text in found for part in (*named, *get(task).labels))


@every_task
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_sample_has_rows_with_readable_gold(task, split):
    rows = corpora.read(task, split, "sample")
    assert len(rows) > 5 and rows["gold"].nunique() > 2
    assert set(rows["emotion"].dropna()) == set(get(task).emotions)
    for gold in rows["gold"]:
        answers.read_gold(task, gold)
