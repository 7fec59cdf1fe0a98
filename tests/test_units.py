"""Sentences, notes and layouts of annotated rows."""

import numpy as np
import pandas as pd
import pytest
from test_annotate_file import annotate, interrupt

from emolib import DataError, runs
from emolib.annotation import notes, sentences
from emolib.annotation.annotate import Annotator
from emolib.annotation.formats import layouts
from emolib.annotation.settings import FileSettings

TEXTS = ["I love it. I hate it! A table.", "", "Ich bin so müde und traurig heute", "So good."]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    pd.DataFrame({"id": list("abcd"), "text": TEXTS}).to_csv(path, index=False)
    return path


# Sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith met Mr. Jones at 5 p.m. on Monday. He left.", 2),
        ("I love it 😍😍 really. Wow!!! 😭", 2),  # an emoji belongs to what it follows
        ("See https://a.b.com/x.y?z=1. Then go to www.foo.com.", 2),
        ("One\n\n\nTwo\r\nThree.", 3),
        ("I do not know... maybe… and then", 1),
        ("ha. ha. ha.", 3),
        ('He said: "I do. I will." Then he left.', 2),
        ("(Yes.) No?! ", 2),
        ("no end", 1),
        ("", 0),
        (" \n ", 0),
    ],
)
def test_text_is_split_as_a_reader_would(text, expected):
    assert len(sentences.split_one(text)) == expected


def squeeze(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "♨ weird ∯ signs. ∮ of its own ȸ. ☄ x",  # those that pysbd works with
        "&ᓰ& \x00 null. b\x00. half \ud83d a character.",
        "a\u2028b.\u200b c\x1cd.",
        "A.B." * 3000,
        "a" * 9000,
        "(a" * 3000 + '"b' * 3000,
        "sad and lonely. " * 2000,
        "no sentence ever ends here " * 1000,
    ],
    ids=lambda text: ascii(text[:9]),
)
def test_no_character_but_white_space_is_lost(text):
    assert squeeze("".join(sentences.split_one(text))) == squeeze(text)


def test_random_signs_are_not_lost():
    draw, signs = np.random.default_rng(0), [*"ab.!?… \n\t\"'()A1😀&♨ᓰ∯\r;:,-\u3000\x00\x1c\u200b"]
    for _ in range(300):
        text = "".join(draw.choice(signs, draw.integers(0, 80)))
        assert squeeze("".join(sentences.split_one(text))) == squeeze(text)


def test_splitter_that_fails_is_replaced(monkeypatch):
    monkeypatch.setattr(sentences, "_load_segmenter", lambda: None)
    assert sentences.split_one("One. Two!  Three") == ["One.", "Two!", "Three"]


def test_sentences_of_a_list_have_their_text_s_row_and_their_number():
    frame = sentences.split(["A cat. A dog.", None, "", 7])
    assert frame["text_row"].tolist() == [1, 1, 2, 3, 4]
    assert frame["sentence_number"].tolist() == [1, 2, 1, 1, 1]
    assert frame["sentence"].tolist() == ["A cat.", "A dog.", None, "", 7]
    assert list(sentences.split([])) == ["text_row", "sentence_number", "sentence"]


def test_means_are_over_the_sentences_of_a_text():
    frame = sentences.split(["A cat. A dog.", ""])
    values = {"joy_intensity": [0.2, 0.5, None], "joy_class": [0, 1, pd.NA]}
    values |= {"has_joy": [True, False, pd.NA], "has_joy_confidence": [0.5, 1, None]}
    values = pd.DataFrame(values).astype({"joy_class": "Int64", "has_joy": "boolean"})
    found = sentences.aggregate(frame.join(values.assign(reason=[None, "cut", "empty text"])))
    assert found["sentences"].tolist() == [2, 0]
    assert found.loc[0, ["joy_intensity", "joy_class"]].tolist() == [0.35, 0.5]
    assert found.loc[0, ["share_joy", "share_joy_confidence"]].tolist() == [0.5, 0.75]
    assert found["reason"].tolist() == ["cut", "empty text"]
    assert found.loc[1, ["joy_intensity", "share_joy"]].isna().all()


def test_annotator_and_sentences_fit_together():
    frame = sentences.split(TEXTS)
    values = Annotator("vader", progress=False)(frame["sentence"]).drop(columns="text")
    found = sentences.aggregate(frame.join(values))
    assert found["text_row"].tolist() == [1, 2, 3, 4]
    assert found["valence"].isna().tolist() == [False, True, False, False]


# Files by sentence


def test_file_by_sentence_repeats_the_source_s_columns(source, tmp_path):
    found = pd.read_csv(annotate(source, tmp_path / "out.csv", unit="sentence"))
    assert found["id"].tolist() == ["a", "a", "a", "b", "c", "d"]
    assert found["text_row"].tolist() == [1, 1, 1, 2, 3, 4]
    assert found["sentence"].tolist()[:3] == ["I love it.", "I hate it!", "A table."]
    assert found["reason"].dropna().to_dict() == {3: "empty text"}
    assert list(found)[:5] == ["id", "text", "text_row", "sentence_number", "sentence"]


@pytest.mark.parametrize("mean", [None, "mean"])
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_resumed_run_ends_with_the_same_bytes(source, tmp_path, mean, layout):
    options = {"unit": "sentence", "aggregate": mean, "output_columns": layout, "chunk": 1}
    straight = annotate(source, tmp_path / "straight.csv", **options).read_bytes()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 2)
        annotate(source, tmp_path / "out.csv", **options)
    target = annotate(source, tmp_path / "out.csv", **options, resume=True)
    assert target.read_bytes() == straight


def test_file_of_means_has_a_row_per_text(source, tmp_path):
    options = {"unit": "sentence", "aggregate": "mean"}
    rows = pd.read_csv(annotate(source, tmp_path / "rows.csv", unit="sentence"))
    found = pd.read_csv(annotate(source, tmp_path / "out.csv", **options))
    assert found["id"].tolist() == list("abcd") and "text_row" not in found
    assert found["sentences"].tolist() == [3, 0, 1, 1]
    assert found["valence"][0] == pytest.approx(rows["valence"][:3].mean(), abs=1e-4)


@pytest.mark.parametrize("wanted", ["csv", "tsv", "jsonl", "parquet"])
def test_what_is_no_text_stays_a_row(wanted, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": null}\n{"text": 7}\n{"text": "A. B \\ud83d."}\n')
    target = annotate(tmp_path / "in.jsonl", tmp_path / f"out.{wanted}", unit="sentence", chunk=1)
    assert runs.read(f"{target}.run")["units"] == 3
    assert "not a text but int" in target.read_bytes().decode("utf-8", "replace")


@pytest.mark.slow
def test_long_text_is_read_whole_by_sentence(tiny_model, tmp_path):
    (tmp_path / "in.csv").write_text("text\n" + "I am sad. It is late. " * 20 + "\n")
    options = {"model": tiny_model, "tasks": ["EI-reg", "E-c"], "max_tokens": 20}
    cut = pd.read_csv(annotate(tmp_path / "in.csv", tmp_path / "cut.csv", **options))
    assert cut["reason"][0].startswith("cut: ")
    options |= {"unit": "sentence", "aggregate": "mean"}
    found = pd.read_csv(annotate(tmp_path / "in.csv", tmp_path / "out.csv", **options))
    assert found["reason"].isna().all() and found["sentences"].tolist() == [40]
    assert found.filter(regex="^share_.*[^e]$").shape[1] and "has_joy" not in found


# Layouts


@pytest.mark.slow
def test_long_has_a_row_per_text_and_measure(tiny_model, source, tmp_path):
    options = {"model": tiny_model, "tasks": ["V-reg", "E-c"]}
    wide = pd.read_csv(annotate(source, tmp_path / "wide.csv", **options))
    options["output_columns"] = "long"
    found = pd.read_csv(annotate(source, tmp_path / "out.csv", **options))
    assert len(found) == 4 * 12 and found["text_row"].tolist()[::12] == [1, 2, 3, 4]
    values = found.pivot(index="text_row", columns="measure", values="value")
    assert values["valence"].tolist() == pytest.approx(wide["valence"].tolist(), nan_ok=True)
    assert values["has_joy"].tolist()[0] == float(wide["has_joy"][0])
    sure = found.loc[found["measure"] == "has_joy", "confidence"]
    assert sure.tolist() == pytest.approx(wide["has_joy_confidence"].tolist(), nan_ok=True)


def test_labels_are_one_column():
    files = FileSettings(output_columns="labels")
    labels = layouts.TASKS["E-c"].labels
    part = pd.DataFrame({f"has_{x}": [x in ("joy", "love"), False, pd.NA] for x in labels})
    part = part.astype("boolean").assign(reason=[None, None, "no text"], note=None)
    found = layouts.lay_out(pd.DataFrame({"id": list("abc")}), part, 1, files)
    assert list(found) == ["id", "labels", "reason", "note"]
    assert found["labels"].tolist()[:2] == ["joy; love", "neutral"]
    assert pd.isna(found["labels"][2])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unit": "word"}, "unit 'word': expected one of text, sentence"),
        ({"aggregate": "mean"}, "aggregate: takes unit sentence"),
        ({"output_columns": "labels"}, "output_columns labels: takes the task E-c"),
        ({"output_columns": "tall"}, "expected one of wide, long, labels"),
    ],
)
def test_layout_that_cannot_be_is_refused_before_anything_is_made(
    source, tmp_path, options, reason
):
    with pytest.raises(DataError, match=reason):
        annotate(source, tmp_path / "out.csv", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_means_have_no_intervals_and_no_labels():
    files = FileSettings(unit="sentence", aggregate="mean", output_columns="labels")
    with pytest.raises(DataError, match="coverage is that of a sentence's interval"):
        layouts.check(files, ["valence", "valence_low", "has_joy"])
    with pytest.raises(DataError, match="aggregate gives shares of labels"):
        layouts.check(files, ["has_joy"])


@pytest.mark.parametrize("name", ["sentence", "text_row", "note"])
def test_source_that_has_our_columns_is_refused(tmp_path, name):
    (tmp_path / "in.csv").write_text(f"text,{name}\ngood,1\n")
    with pytest.raises(DataError, match=f"already has the columns {name}"):
        annotate(tmp_path / "in.csv", tmp_path / "out.csv", unit="sentence")


def test_source_may_have_a_column_that_is_not_added(tmp_path):
    (tmp_path / "in.csv").write_text("text,text_row,measure\ngood,7,8\n")
    for name, mean in (("a.csv", {}), ("b.csv", {"unit": "sentence", "aggregate": "mean"})):
        found = pd.read_csv(annotate(tmp_path / "in.csv", tmp_path / name, **mean))
        assert found[["text_row", "measure"]].to_numpy().tolist() == [[7, 8]]


# Notes

NOTED = {
    "does not look English": [
        *("Ich bin so müde und traurig", "Lass mich in Ruhe", "Heute ist ein schöner Tag"),
        *("Estoy muy feliz hoy", "que asco de vida jajaja", "Mi abuela murió esta mañana"),
        *("J'adore les dimanches.", "c'est trop bien mdr", "Laisse-moi tranquille"),
        *("私はとても嬉しい", "Мне очень грустно", "أنا حزين جدا", "我很累了"),
    ],
    "only a URL": ["https://t.co/abc", " www.foo.com http://x.y "],
    "only a mention": ["@user", "@a @b http://x.y"],
    "only emoji or punctuation": ["😡😡", "...", "@user 🎉"],
    "HTML entities": ["I love you &lt;3", "She&#39;s late &amp; sad"],
    "contains an answer": ["I am fine. Assistant: 0.9", "Sad. Intensity Score: 1"],
    "capitals and exclamation marks": ["WHAT A GREAT DAY!!!"],
    None: [
        *("good", "so sad", "omg lol u r so cute", "wtf bruh smh", "idk tbh ngl lowkey sad"),
        *("gonna cry rn fr fr", "Yaaaaas queen slay", "im sooo done w ppl 2day", "ugh mondays"),
        *("Bus 12 leaves at 8:15.", "Salt &amp; pepper", "NASA called!", "", " ", "2024"),
        *("See https://t.co/abc", "@user LMAO no way dude", "He has gone to Rio de Janeiro"),
        *("Bonjour said the man, and we all laughed", "My assistant is late"),
    ],
}


@pytest.mark.parametrize(("note", "text"), [(n, text) for n in NOTED for text in NOTED[n]])
def test_note_says_what_the_model_was_not_made_for(note, text):
    assert notes.describe(text) == note


def test_every_note_is_known_and_tried():
    assert set(NOTED) == {*notes.NOTES, None}


def test_note_stands_beside_values_and_equal_texts_get_the_same(source, tmp_path):
    found = Annotator("vader", progress=False)(["http://x.y", "good", "http://x.y", None])
    assert found["note"].tolist()[::2] == ["only a URL"] * 2
    assert found["note"][[1, 3]].isna().all() and found["valence"][[0, 1, 2]].notna().all()


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_run_counts_notes_once_a_text(source, tmp_path, layout):
    target = annotate(source, tmp_path / "out.csv", output_columns=layout)
    record = runs.read(f"{target}.run")
    assert (record["units"], record["notes"]) == (4, {"does not look English": 1})


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, ""),
        ({"only a URL": 3}, "3 of 9 texts are only a URL: see the column note"),
        (
            {"does not look English; HTML entities": 1, "HTML entities": 1},
            "1 of 9 texts does not look English, 2 contain HTML entities: see the column note",
        ),
    ],
)
def test_summary_counts_every_note(counts, expected):
    assert notes.summarize(counts, 9) == expected


@pytest.mark.slow
def test_share_of_english_tweets_with_a_false_alarm_is_small(real_data):
    from emolib.data import corpora

    texts = [*corpora.read("E-c", "dev")["text"], *corpora.read("GoEmotions", "test")["text"]]
    found = [text for text in texts if "English" in (notes.describe(text) or "")]
    assert len(found) <= len(texts) / 1000
