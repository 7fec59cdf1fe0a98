import pytest

from emolib import DataError
from emolib.data import corpora, parsing, prompts
from emolib.evaluation import metrics
from emolib.tasks import AAID, AEB, AEB_2, AEB_3, METRIC_NAMES, TASKS, describe_class, get

EXAMPLE = {  # what the corpus writes, and its value
    "EI-reg": ("0.562", 0.562),
    "EI-oc": ("2: moderate amount of joy can be inferred", 2),
    "V-reg": ("0.016", 0.016),
    "V-oc": ("-3: very negative emotional state can be inferred", -3),
    "E-c": ("anger, disgust", ("anger", "disgust")),
    "V-A": ("-0.15", -0.15),
    "V-M": ("2.26666666667", 2.26666666667),
    "V-NYT": ("0", 0.0),
    "V-T": ("-3.9", -3.9),
    "EmoBank-V": ("3.0", 3.0),
    "EmoBank-A": ("1.8", 1.8),
    "EmoBank-D": ("4.33", 4.33),
    "SST": ("0.83333", 0.83333),
    "SST5": ("4: very positive", 4),
    "TDT": ("-1", -1),
    "GoEmotions": ("surprise, joy", ("joy", "surprise")),
    "BRIGHTER-A": ("fear, surprise", ("fear", "surprise")),
    "BRIGHTER-B": ("2", 2.0),
    "SemEval2026-V": ("-1.0", -1.0),
    "SemEval2026-A": ("2.0", 2.0),
}
SPLITS = [(name, split) for name, task in TASKS.items() for split in task.sizes]
every_task = pytest.mark.parametrize("task", list(TASKS))


def test_sizes_times_ten_are_the_published_counts():
    sizes = [TASKS[name].sizes for name in AAID]
    assert 10 * sum(size["train"] for size in sizes) == 234_040
    assert 10 * sum(size["dev"] for size in sizes) == 47_120
    assert sum(size["test"] for size in sizes) == 13_269


def test_benchmark_has_the_published_sizes():
    assert len(AEB_2) == 11 and tuple(TASKS) == AAID + AEB_2 + AEB_3
    sizes = {name: TASKS[name].items for name in AEB_2}
    assert sum(TASKS[name].items for name in AEB) == 30_808
    assert {sizes[name] for name in AEB_2[:7]} == {1000}
    assert [sizes[name] for name in AEB_2[7:]] == [2210, 2210, 692, 5427]


def test_unknown_task_names_those_there_are():
    with pytest.raises(DataError, match=r"no task 'EI-rge'.*EI-reg, EI-oc, V-reg"):
        get("EI-rge")


def test_tables_show_every_primary_metric_under_one_name():
    assert list(TASKS) == [task.name for task in TASKS.values()] and len(AEB) == 16
    shown = {name for task in TASKS.values() for name in task.primary_metrics}
    assert shown == set(METRIC_NAMES)


def test_class_is_described_as_the_corpus_writes_it():
    assert describe_class(get("EI-oc"), 0, "fear") == "0: no fear can be inferred"
    words = "3: very positive emotional state can be inferred"
    assert describe_class(get("V-oc"), 3) == words


@every_task
def test_example_is_read_and_scored(task):
    written, value = EXAMPLE[task]
    assert parsing.read_gold(task, written) == value
    found = metrics.score(task, [written] * 3, [value] * 3)
    assert set(get(task).metrics) < set(found) and found["unparsed"] == 0


@every_task
def test_instructions_are_complete(task):
    found = prompts.instructions(task)
    ten = (get(task).ask or task) in AAID
    assert len(set(found)) == (10 if ten else 1)
    assert not any("{" in text or "\n" in text for text in found)
    named = [text.partition("{")[0] for text in get(task).classes.values()]
    assert all(part in text for text in found for part in (*named, *get(task).labels))


@every_task
def test_own_instructions_ask_in_0_to_1_and_others_in_the_corpus_range(task):
    row, asked = get(task), (0.0, 1.0) if get(task).kind == "score" else None
    for text in prompts.instructions(task):
        assert prompts.read_range(task, text) == asked
        assert not asked or ("0" in text and "1" in text)
    assert prompts.read_range(task, "As released.") == row.range


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_sample_has_rows_with_readable_gold(task, split):
    rows = corpora.read(task, split, "sample")
    assert len(rows) > 5 and rows["gold"].nunique() > 2
    assert set(rows["emotion"].dropna()) == set(get(task).emotions)
    for gold in rows["gold"]:
        parsing.read_gold(task, gold)
