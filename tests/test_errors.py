import pandas as pd
import pytest
from datasets import Dataset

from emolib import DataError
from emolib.data import aeb
from emolib.evaluation import item_errors

BAD = "-3: very negative emotional state can be inferred"
ROWS = [
    ("EI-reg", "1", "joy", "so happy 🎉", "0.900", "0.4"),
    ("EI-reg", "1", "fear", "so happy 🎉", "0.100", "0.1"),
    ("EI-oc", "1", "joy", "so happy 🎉", "3: high amount of joy can be inferred", "1"),
    ("V-oc", "2", None, "meh", BAD, "3"),
    ("V-reg", "2", None, "meh", "0.250", "48: disgust"),
    ("E-c", "1", None, "so happy 🎉", "joy, love", "joy, fear"),
    ("E-c", "2", None, "meh", "neutral or no emotion", "neutral or no emotion"),
]  # fmt: skip
NAMES = ["task", "id", "emotion", "text", "gold", "response"]


@pytest.fixture
def given():
    frame = pd.DataFrame(ROWS, columns=NAMES)
    rows = Dataset.from_pandas(frame[NAMES[:5]])
    return rows, frame[["id", "task", "emotion", "response"]]


def test_error_is_a_share_of_the_scale(given):
    table = item_errors.compare(*given)
    found = table["error"].tolist()
    assert found[:4] == pytest.approx([0.5, 0, 2 / 3, 1])
    assert pd.isna(found[4])  # unparsed
    assert found[5:] == pytest.approx([1 - 1 / 3, 0])


def test_comparison_keeps_the_responses_order(given):
    rows, responses = given
    turned = responses.iloc[::-1].head(4)
    table = item_errors.compare(rows, turned)
    assert table["response"].tolist() == turned["response"].tolist()
    assert table["gold"].tolist() == [(), ("joy", "love"), 0.25, -3]
    assert table["predicted"].tolist() == [(), ("fear", "joy"), None, 3]


def test_response_without_its_item_is_an_error(given):
    rows, responses = given
    with pytest.raises(DataError, match=r"1 responses to items .*'EI-reg', '1', 'joy'"):
        item_errors.compare(rows.select(range(1, 7)), responses)


def test_two_responses_to_one_item_are_an_error(given):
    rows, responses = given
    with pytest.raises(DataError, match=r"two responses to one item: .*'E-c', '2'"):
        item_errors.compare(rows, pd.concat([responses, responses.tail(1)]))


def test_worst_are_the_unparsed_and_the_farthest(given):
    table = item_errors.compare(*given)
    assert item_errors.find_worst(table, "EI-reg", 1)["response"].tolist() == ["0.4"]
    assert item_errors.find_worst(table, "V-reg")["response"].tolist() == ["48: disgust"]
    both = item_errors.find_worst(table, "E-c")
    assert both["response"].tolist() == ["joy, fear", "neutral or no emotion"]


@pytest.mark.parametrize(
    ("text", "words", "emoji", "hashtags", "negation"),
    [
        ("I can't even", 3, False, False, True),
        ("I can’t even #done", 4, False, True, True),
        ("nothing new ☕", 3, True, False, True),
        ("notable nobles #", 3, False, False, False),
        ("We're # 1 🥳🥳", 4, True, False, False),
    ],
)
def test_text_is_described(text, words, emoji, hashtags, negation):
    found = item_errors.describe(pd.Series([text])).iloc[0].tolist()
    assert found == [words, emoji, hashtags, negation]


def test_predictions_are_taken_as_they_are(sample_aeb):
    from emolib import baselines

    found = baselines.lexicon("vader", sample_aeb)
    table = item_errors.compare(sample_aeb, found)
    assert table["predicted"].tolist() == found["prediction"].tolist()
    assert table["error"].between(0, 1).all() and len(table) == len(found)


def test_answers_to_a_unit_question_are_mapped_to_the_corpus():
    rows = aeb.build(["EmoBank-V"], data="sample")
    given = rows.select_columns(["task", "id", "emotion"]).to_pandas()
    table = item_errors.compare(rows, given.assign(response="0.5"))
    assert set(table["predicted"]) == {3.0} and table["error"].max() < 0.5
