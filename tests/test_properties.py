"""Whatever comes in: a value or a DataError, never another exception."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emolib import DataError
from emolib.annotation.formats import read_files, write_files
from emolib.data import corpora, parsing, prompts, release
from emolib.tasks import TASKS

BASE = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
few, many = settings(max_examples=60, **BASE), settings(max_examples=200, **BASE)
each_task = pytest.mark.parametrize("task", TASKS)
# Any character but halves of one, which no file in UTF-8 can hold.
words = st.text(st.characters(codec="utf-8"), max_size=20)
anything = words | st.text(max_size=20)
filled = words.filter(str.strip)

# The pieces that parsers stumble on, beside any bytes at all.
PIECES = [b"\t", b"\n", b"\r", b'"', b",", b"\xff", b"\0", b"$T$", b"nan", b"1e5", b"|"]
PIECES += [b"9" * 5000, "²".encode(), "٣".encode(), b"\xef\xbb\xbf", b"{", b"[" * 2000]
PIECES += [b"\\ud83d", b'"task": []', b'"row": 1e400', b"-1", b"null", b"<html", b""]
changes = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(PIECES) | st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


def damage(content: bytes, cuts) -> bytes:
    """Bytes put in the place of others, at a share of the length each time."""
    for share, gone, put in cuts:
        start = int(share * len(content))
        content = content[:start] + put + content[start + gone :]
    return content


def read_or_refuse(read, *arguments, **options):
    """What `read` gives, or None if it says that it cannot; no other exception."""
    try:
        return read(*arguments, **options)
    except DataError as error:
        assert str(error)
        return None


FILES = [
    ("EI-reg", "EI-reg-En-joy-train.txt"),
    ("EI-oc", "EI-oc-En-joy-train.txt"),
    ("V-reg", "Valence-reg-En-train.txt"),
    ("V-oc", "Valence-oc-En-train.txt"),
    ("E-c", "E-c-En-train.txt"),
    ("V-A", "amazonReviewSnippets_GroundTruth.txt"),
    ("EmoBank-A", "emobank.csv"),
    ("SST", "datasetSentences.txt"),
    ("SST5", "datasetSplit.txt"),
    ("SST", "dictionary.txt"),
    ("SST5", "sentiment_labels.txt"),
    ("SST", "sst_test.tsv"),
    ("TDT", "test.raw"),
    ("GoEmotions", "test.tsv"),
]


@pytest.fixture
def damaged(corpus):
    """A function: name of a corpus file, cuts -> the folder with that file damaged."""
    sentences = (corpus / "sst" / "datasetSentences.txt").read_text("utf-8")
    splits = (corpus / "sst" / "datasetSplit.txt").read_text("utf-8").split()
    tested = [line.split(",")[0] for line in splits if line.endswith(",2")]
    lines = dict(line.split("\t") for line in sentences.splitlines())
    rows = "".join(f"{lines[name]}\t0.5\n" for name in tested)
    (corpus / "sst" / "sst_test.tsv").write_text(f"sentence\tscore\n{rows}", "utf-8")
    whole: dict[str, bytes] = {}

    def make(name: str, cuts):
        (path,) = corpus.rglob(name)
        whole.setdefault(name, path.read_bytes())
        path.write_bytes(damage(whole[name], cuts))
        if name == "sst_test.tsv":  # which is read where there is no phrase list
            (corpus / "sst" / "dictionary.txt").unlink(missing_ok=True)
        return corpus

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), FILES)
def test_damaged_corpus_is_read_or_refused(damaged, task, name):
    split = "train" if "train" in name else "test"

    @settings(max_examples=100, **BASE)
    @given(changes)
    def check(cuts):
        rows = read_or_refuse(corpora.read, task, split, damaged(name, cuts))
        if rows is not None:
            golds = [parsing.read_gold(task, gold) for gold in rows["gold"]]
            assert len(golds) == len(rows) > 0 and rows["text"].str.strip().all()

    assert len(corpora.read(task, split, damaged(name, []))) > 0
    check()


FOREIGN = [
    ("GoEmotions", "test.tsv", "a\t{}\tx\n"),
    ("V-A", "amazonReviewSnippets_GroundTruth.txt", "1\t{}\ta\n"),
    ("TDT", "test.raw", "a $T$\nb\n{}\n"),
]


@pytest.mark.parametrize("digit", ["1²", "٣", "３", "9" * 5000, "1e0", "0x1", "1_0"])
@pytest.mark.parametrize(("task", "name", "line"), FOREIGN)
def test_number_that_only_python_reads_is_refused(corpus, task, name, line, digit):
    (path,) = corpus.rglob(name)
    path.write_text(line.format(digit), "utf-8")
    with pytest.raises(DataError, match=name):
        corpora.read(task, "test", corpus)


def says_something(task: str):
    """Responses that nearly are answers: pieces of answers in any order."""
    row = TASKS[task]
    pieces = [*row.labels, *row.emotions, *row.classes.values(), row.neutral, "not"]
    pieces += [f"{key}:" for key in row.classes] + ["0.5", ".", "-", "+", "%", "1/2"]
    pieces += ["−", " ", "\n", ",", "９", "٣", "²", "1e9", "9" * 400, "nan", "\u2028"]
    floats = st.floats().map(repr) | st.integers(-9, 9).map(str)
    said = st.lists(st.sampled_from(pieces) | floats | words, max_size=6)
    return st.none() | anything | said.map("".join) | said.map(" ".join)


def is_value(task: str, value) -> bool:
    row = TASKS[task]
    if row.kind == "score":
        return type(value) is float and row.range[0] <= value <= row.range[1]
    if row.kind == "ordinal":
        return type(value) is int and value in row.classes
    held = value != () or row.neutral
    return bool(held) and value == tuple(x for x in row.labels if x in value)


bounds = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(sorted).map(tuple)


@each_task
def test_any_response_is_a_value_of_the_task_or_none(task):
    @many
    @given(says_something(task), st.none() | bounds)
    def check(response, asked):
        value = parsing.parse(task, response, asked)
        assert value is None or is_value(task, value)

    check()


@each_task
def test_what_is_read_as_gold_is_a_value(task):
    @few
    @given(says_something(task) | st.floats() | st.lists(anything, max_size=3))
    def check(gold):
        value = read_or_refuse(parsing.read_gold, task, gold)
        assert value is None or is_value(task, value)

    check()


def draw_gold(task: str):
    """(gold as the corpus writes it, its value)"""
    row = TASKS[task]
    if row.kind == "score":
        return st.floats(*row.range).map(lambda value: (repr(value), value))
    if row.kind == "ordinal":
        return st.sampled_from(list(row.classes)).map(lambda key: (str(key), key))
    held = st.sets(st.sampled_from(row.labels), min_size=0 if row.neutral else 1)
    ordered = held.map(lambda found: tuple(x for x in row.labels if x in found))
    return ordered.map(lambda value: (", ".join(value) or row.neutral, value))


@each_task
def test_what_is_to_be_answered_is_read_back(task):
    row = TASKS[task]

    @few
    @given(draw_gold(task), st.sampled_from([None, (0.0, 1.0), (-4.0, 4.0)]))
    def check(pair, asked):
        found = parsing.parse(task, prompts.complete(row, pair[0], asked), asked)
        if row.kind != "score":
            assert found == pair[1] == parsing.read_gold(task, pair[0])
            return
        asks = asked or row.range
        step = 0.001 * np.ptp(row.range) / np.ptp(asks)  # three decimals are written
        assert abs(found - pair[1]) <= 0.501 * step

    check()


def draw_row(task: str):
    row = TASKS[task]
    return st.fixed_dictionaries(
        {
            "task": st.just(task),
            "text": filled,
            "instruction": st.sampled_from(prompts.instructions(task)),
            "emotion": st.sampled_from(row.emotions or (None,)),
            "gold": draw_gold(task).map(lambda pair: pair[0]),
        }
    )


@pytest.mark.parametrize("form", prompts.FORMS)
@each_task
def test_prompt_holds_its_text_and_is_a_prefix(task, form, byte_tokenizer):
    @few
    @given(draw_row(task))
    def check(row):
        made = prompts.render(row, form, byte_tokenizer)
        prompt, whole = made["prompt"], made["prompt"] + made["completion"]
        assert prompts.form_of(prompt) == form and row["text"].strip() in prompt
        asked, ids = byte_tokenizer([prompt, whole]).input_ids
        if form != prompts.PUBLISHED:  # its answers are encoded apart
            assert ids[: len(asked)] == asked and len(ids) > len(asked)
        if form == "paper":
            assert release._RELEASED.fullmatch(prompt)

    check()


@st.composite
def tables(draw):
    """Rows of texts with the same columns, one of them called text."""
    # A mark at the very start of a file is the file's, not the name's.
    names = words.filter(lambda name: name != "text" and name[:1] != "\ufeff")
    columns = ["text", *draw(st.lists(names, unique=True, max_size=3))]
    order = draw(st.permutations(columns))
    row = st.fixed_dictionaries(dict.fromkeys(order, words))
    return pd.DataFrame(draw(st.lists(row, max_size=6)), columns=order, dtype="str")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_any_texts_come_back_in_any_chunks(tmp_path, format):
    path = tmp_path / f"a.{format}"

    @many
    @given(tables(), st.integers(1, 7), st.integers(1, 7))
    def check(table, written, size):
        starts = range(0, max(1, len(table)), written)
        frames = (table.iloc[start : start + written] for start in starts)
        write_files.write(frames, path, format)
        source = read_or_refuse(read_files.inspect, path)
        if format == "jsonl" and table.empty:
            assert source is None  # no line, no columns
        else:
            found = pd.concat(read_files.read(source, size), ignore_index=True)
            assert found.to_dict("split") == table.to_dict("split")

    check()


@st.composite
def json_lines(draw):
    plain = st.none() | st.booleans() | st.integers() | st.floats() | anything
    values = st.recursive(plain, lambda x: st.lists(x) | st.dictionaries(anything, x), max_leaves=5)
    rows = st.dictionaries(st.sampled_from(["text", "a", "self"]), values, min_size=1)
    return draw(st.lists(rows, min_size=1, max_size=5))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_any_json_values_can_be_written_in_every_format(tmp_path, format):
    out = tmp_path / f"out.{format}"

    @few
    @given(json_lines(), st.integers(1, 6))
    def check(rows, size):
        lines = "".join(json.dumps(row) + "\n" for row in [{"text": ""}, *rows])
        (tmp_path / "in.jsonl").write_text(lines)
        source = read_files.inspect(tmp_path / "in.jsonl")
        write_files.write(read_files.read(source, size), out, format)
        assert read_files.inspect(out, format=format).rows == len(rows) + 1

    check()


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet", "lines"])
def test_any_bytes_are_read_in_chunks_or_refused(tmp_path, format):
    path, whole = tmp_path / "a", tmp_path / "whole"
    table = pd.DataFrame({"text": ["a", 'b "c"', "ä\n"], "n": [1, 2, 3]})
    write_files.write([table], whole, "csv" if format == "lines" else format)
    content = whole.read_bytes()

    @many
    @given(st.binary(max_size=60) | changes.map(lambda cuts: damage(content, cuts)))
    def check(found):
        path.write_bytes(found)
        source = read_or_refuse(read_files.inspect, path, format=format)
        if source:
            frames = list(read_files.read(source, 2))
            assert sum(len(frame) for frame in frames) == source.rows

    check()


LINE = {
    "task": "TDT",
    "prompt": "Human: \nTask: Say. Text: a b. c. Sentiment Class: \n\nAssistant:\n",
    "gold": 1,
}


ANSWERS = [{"row": row, "response": "0.5"} for row in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("lines", [[LINE] * 3, ANSWERS], ids=["release", "responses"])
def test_any_bytes_as_released_files_are_read_or_refused(tmp_path, sample_aeb, lines):
    path, items = tmp_path / "a.jsonl", sample_aeb.select(range(3))
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()

    @many
    @given(st.binary(max_size=60) | changes.map(lambda cuts: damage(content, cuts)))
    def check(found):
        path.write_bytes(found)
        read_or_refuse(release.read_release, path)
        read_or_refuse(release.read_responses, path, items)

    check()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "unparsed"), [("Emobloom-7b", 375), ("Emollama-chat-7b", 565)])
def test_all_real_responses_are_values_or_unparsed(real_data, whole_release, model, unparsed):
    path = real_data / "release" / f"responses-{model}.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    tasks = whole_release["task"].tolist()
    values = [parsing.parse(tasks[line["row"]], line["response"]) for line in lines]
    pairs = zip(tasks, values, strict=True)
    assert all(is_value(task, x) for task, x in pairs if x is not None)
    assert len(values) == 30_808 and values.count(None) == unparsed
