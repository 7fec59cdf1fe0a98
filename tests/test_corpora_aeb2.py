"""The readers of AEB-2 and AEB-3: VADER, EmoBank, SST, TDT, GoEmotions, BRIGHTER, SemEval-2026."""

import subprocess

import pooch
import pytest

from emolib import DataError
from emolib.data import corpora, parsing
from emolib.data.corpora import download, goemotions
from emolib.tasks import AAID, AEB_2, AEB_3, TASKS

AMAZON = "vader/amazonReviewSnippets_GroundTruth.txt"
EMOBANK = "emobank/emobank.csv"
GO = "goemotions/test.tsv"
BRIGHTER = "brighter/track_b/test/eng.csv"
DIARIES = "semeval2026task2/test_labels_subtask1.csv"
BAD = {  # file, line, old, new, task, what the error says
    "vader field lost": (AMAZON, 3, "\t0.1", " 0.1", "V-A", "2 tab-separated fields"),
    "vader score too high": (AMAZON, 3, "0.1", "4.1", "V-A", r"4.1 is outside \[-4, 4"),
    "vader score in words": (AMAZON, 3, "0.1", "nan", "V-A", "'nan' is not a number"),
    "vader id twice": (AMAZON, 3, "3\t", "1\t", "V-A", "id '1' again, first on line 1"),
    "vader empty text": (AMAZON, 4, "battery", "\t", "V-A", "4 tab-separated fields"),
    "emobank column lost": (EMOBANK, 1, "V,A", "V,B", "EmoBank-A", "no column A"),
    "emobank score": (EMOBANK, 15, "1.7", "0.7", "EmoBank-V", r"0.7 is outside \[1, 5"),
    "emobank field lost": (EMOBANK, 14, "3.0,", "", "EmoBank-D", "6 comma-separated"),
    "emobank quote": (EMOBANK, 14, "The", '"The', "EmoBank-D", "broken CSV|6 comma"),
    "sst score": ("sst/sentiment_labels.txt", 14, "0.06", "x", "SST", "'x' is not a"),
    "sst phrase lost": ("sst/dictionary.txt", 13, "tires", "tree", "SST5", "nce 13"),
    "sst split lost": ("sst/datasetSplit.txt", 14, ",2", "", "SST", "two fields"),
    "tdt polarity": ("tdt/test.raw", 3, "1", "2", "TDT", "'2', expected -1, 0 or 1"),
    "tdt mask lost": ("tdt/test.raw", 4, "$T$", "it", "TDT", "expected a text with"),
    "tdt cut off": ("tdt/test.raw", 24, "0\n", "", "TDT", "three per example"),
    "goemotions label": (GO, 2, "\t2,", "\t28,", "GoEmotions", "label .28., expect"),
    "goemotions field": (GO, 2, "\t2,", " 2,", "GoEmotions", "2 tab-separated fields"),
    "brighter class": (BRIGHTER, 3, "0,3", "0,4", "BRIGHTER-B", "'4', expected 0, 1, 2, 3"),
    "brighter column": (BRIGHTER, 1, ",joy", ",jo", "BRIGHTER-A", "no column joy"),
    "brighter field": (BRIGHTER, 3, "0,3", "03", "BRIGHTER-B", "7 comma-separated"),
    "semeval2026 score": (DIARIES, 4, "2.0,2.0", "3.0,2.0", "SemEval2026-V", r"3.0 is outside"),
    "semeval2026 id twice": (DIARIES, 3, "1,9", "1,8", "SemEval2026-A", "'1-8' again, first"),
    "goemotions id twice": (GO, 2, "st02", "st01", "GoEmotions", "again, first"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_line_is_one_error_with_its_file(corpus, case):
    name, line, old, new, task, reason = BAD[case]
    path = corpus / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=reason) as error:
        corpora.read(task, "test", corpus)
    assert path.name in str(error.value) or "dictionary" in str(error.value)


@pytest.mark.parametrize("task", AEB_2 + AEB_3)
def test_web_page_instead_of_a_file_is_named(corpus, task):
    for path in corpus.rglob("*.*"):
        path.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(DataError, match="an HTML page"):
        corpora.read(task, "test", corpus)


@pytest.mark.parametrize("task", AEB_2 + AEB_3)
def test_missing_file_is_named(tmp_path, task):
    with pytest.raises(DataError, match=r"no file .* in any folder of it"):
        corpora.read(task, "test", tmp_path)


@pytest.mark.parametrize(("task", "split"), [("V-A", "train"), ("TDT", "dev")])
def test_split_that_a_corpus_has_not_is_an_error(task, split):
    with pytest.raises(DataError, match=f"{task}: no split '{split}'"):
        corpora.read(task, split, "sample")


def test_vader_line_in_another_alphabet_is_read(corpus):
    path = corpus / AMAZON
    path.write_bytes(path.read_bytes() + b"9\t0.5\tcaf\xe9 \x93nice\x94\r\n")
    text = corpora.read("V-A", "test", corpus)["text"].iloc[-1]
    assert text == "caf\u00e9 \u201cnice\u201d"


def test_sst_brackets_and_accents_are_restored():
    rows = corpora.read("SST", "test", "sample")
    assert rows["text"][0] == "A tiresome parade of explosions ( and little else ) ."
    assert rows["text"][6] == "Its clichés are at least well dressed ."
    assert rows["gold"].tolist()[:2] == ["0.06", "0.94"]


def test_sst_finds_phrases_that_the_archive_codes_otherwise(corpus):
    sentences = corpus / "sst" / "datasetSentences.txt"
    phrases = corpus / "sst" / "dictionary.txt"
    for path, text in (
        (sentences, "A Peter\\/Paul clichÃ© -LRB- again -RRB- ."),
        (phrases, "A Peter\\/Paul cliché ( again ) ."),
    ):
        old = path.read_text(encoding="utf-8")
        new = old.replace("The film was shot in Portugal .", text)
        assert new != old
        path.write_text(new, encoding="utf-8")
    rows = corpora.read("SST", "test", corpus)
    assert rows["text"][2] == "A Peter/Paul cliché ( again ) ."
    assert rows["gold"][2] == "0.5"


def test_sst_without_the_phrase_list_reads_the_test_file_alone(corpus):
    rows = corpora.read("SST", "test", corpus)
    (corpus / "sst" / "dictionary.txt").unlink()
    lines = [f"{row.text}\t{row.gold}\n" for row in rows.itertuples()]
    path = corpus / "sst" / "sst_test.tsv"
    path.write_text("sentence\tscore\n" + "".join(lines), encoding="utf-8")
    assert corpora.read("SST", "test", corpus).equals(rows)
    with pytest.raises(DataError, match=r"dev split needs .*dictionary.txt"):
        corpora.read("SST", "dev", corpus)
    path.write_text("sentence\tscore\n" + "".join(lines[1:]), encoding="utf-8")
    with pytest.raises(DataError, match=r"7 sentences, .* has 8"):
        corpora.read("SST", "test", corpus)


@pytest.mark.parametrize(
    ("score", "value"), [("0.2", 0), ("0.21", 1), ("0.6", 2), ("0.8", 3), ("0.81", 4)]
)
def test_sst5_classes_end_with_their_cut(corpus, score, value):
    path = corpus / "sst" / "sentiment_labels.txt"
    path.write_text(path.read_text().replace("113|0.06", f"113|{score}"))
    gold = corpora.read("SST5", "test", corpus)["gold"][0]
    assert parsing.read_gold("SST5", gold) == value


def test_tdt_target_is_put_back():
    rows = corpora.read("TDT", "test", "sample")
    assert rows["text"][1] == "why does the post office keep losing my parcels ?"
    assert rows["gold"].tolist()[:3] == ["1", "-1", "0"]


def test_goemotions_quotes_and_labels_are_read():
    rows = corpora.read("GoEmotions", "test", "sample")
    assert rows["text"][2] == 'My cat said "no" with her eyes and left.'
    assert rows["gold"].tolist()[:4] == ["joy", "anger", "joy", "neutral"]


def test_ekman_mapping_covers_the_28_labels():
    assert len(goemotions.LABELS) == 28 == len(goemotions.EKMAN)
    assert set(goemotions.LABELS) == set(goemotions.EKMAN)
    assert set(goemotions.EKMAN.values()) == set(TASKS["GoEmotions"].labels)


def test_presence_in_the_test_file_is_an_intensity_above_0():
    strong = corpora.read("BRIGHTER-B", "test", "sample")
    present = corpora.read("BRIGHTER-A", "test", "sample").set_index("id")["gold"]
    held = strong[strong["gold"] != "0"].groupby("id", sort=False)["emotion"].agg(", ".join)
    assert held.to_dict() == present[present != "neutral or no emotion"].to_dict()
    assert strong["emotion"].tolist()[::8] == ["anger", "fear", "joy", "sadness", "surprise"]


def test_diary_entry_is_named_by_its_author():
    rows = corpora.read("SemEval2026-A", "test", "sample")
    assert rows["id"].tolist()[:2] == ["1-8", "1-9"] and rows["gold"].tolist()[:2] == ["0.0", "2.0"]


@pytest.mark.slow
def test_no_text_of_brighter_is_trained_on(real_data):
    known = {text for name in AAID for text in corpora.read(name, "train")["text"]}
    assert not known & set(corpora.read("BRIGHTER-A", "test")["text"])


@pytest.fixture
def no_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("EMOLIB_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")


@pytest.mark.parametrize("task", ["EmoBank-V", "SST", "GoEmotions"])
def test_download_that_fails_says_both_ways(no_folder, monkeypatch, task):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError, match=r"EMOLIB_DATA.*let this machine reach") as error:
        corpora.read(task, "test")
    assert download.ADDRESSES[TASKS[task].corpus][0] in str(error.value)


def test_corpus_without_an_address_says_so(no_folder):
    with pytest.raises(DataError, match="no address is known"):
        corpora.read("TDT", "test")


def test_vader_that_pip_cannot_fetch_says_both_ways(no_folder, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no such index")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=r"EMOLIB_DATA.*pip download.*no such index"):
        corpora.read("V-A", "test")


def write_raters(folder, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tweets_anonDataRatings.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_raters_are_read_one_by_one(tmp_path):
    write_raters(tmp_path, "1\t0.5\t0.5\t[0, 1]", "2\t-2\t0\t[-2, -2, -2]")
    found = corpora.read_raters("V-T", tmp_path)
    assert found.loc["1"].dropna().tolist() == [0, 1]
    assert found.loc["2"].tolist() == [-2, -2, -2]


def test_ratings_that_are_no_list_are_named_with_their_line(tmp_path):
    write_raters(tmp_path, "1\t0.5\t0.5\t[0, 1]", "2\t-2\t0\tnone")
    with pytest.raises(DataError, match=r"tweets_anonDataRatings.txt:2: 'none' is no list"):
        corpora.read_raters("V-T", tmp_path)


def test_other_corpora_have_no_raters_of_their_own():
    with pytest.raises(DataError, match="EI-reg: the raters' own scores"):
        corpora.read_raters("EI-reg")


@pytest.mark.slow
def test_vader_comes_through_pip(no_folder, real_data):
    """Reads 1,000s of ratings out of a source distribution; needs a package index."""
    rows = corpora.read("V-T", "test")  # verified by its content hash
    raters = corpora.read_raters("V-T")
    assert len(raters) == 4200 and raters.notna().sum(axis=1).min() >= 19
    assert len(rows) == 4200


SPLITS = [
    (name, split)
    for name in AEB_2 + AEB_3
    for split in TASKS[name].sizes
    if split == "test" or not name.startswith("SST")  # their phrase list is missing
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_real_files_have_the_known_counts_and_content(real_data, task, split):
    rows = corpora.read(task, split)  # checks the content hash, too
    assert len(rows) == TASKS[task].sizes[split]
    assert all(parsing.read_gold(task, gold) is not None for gold in rows["gold"])


def fold(texts):
    """White space folded, without the full stop that the release adds."""
    return [" ".join(text.split()).removesuffix(".").rstrip() for text in texts]


def pick(frame, task):
    rows = frame[frame["task"] == task]
    return fold(rows["text"]), [parsing.read_gold(task, gold) for gold in rows["gold"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["EmoBank-V", "EmoBank-A", "EmoBank-D", "TDT", "GoEmotions", "SST"]
)
def test_real_items_are_the_released_ones(whole_aeb, whole_release, task):
    ours, theirs = pick(whole_aeb, task), pick(whole_release, task)
    assert ours[0] == theirs[0]
    assert ours[1] == (pytest.approx(theirs[1]) if task == "SST" else theirs[1])


@pytest.mark.slow
def test_real_sst5_has_the_released_classes(whole_aeb, whole_release):
    """The released file has the sentences in lower case and another order."""
    sides = [pick(frame, "SST5") for frame in (whole_aeb, whole_release)]
    assert sorted(sides[0][1]) == sorted(sides[1][1])
    known = dict(zip([text.lower() for text in sides[0][0]], sides[0][1], strict=True))
    pairs = [(known[text], gold) for text, gold in zip(*sides[1], strict=True) if text in known]
    assert len(pairs) == 2126 and all(ours == gold for ours, gold in pairs)


@pytest.mark.slow
def test_real_vader_items_are_the_released_ones(real_data, whole_release):
    found = agree = 0
    for task in AEB_2[:4]:
        rows = corpora.read(task, "test")
        known = {}
        for text, gold in zip(fold(rows["text"]), rows["gold"], strict=True):
            known.setdefault(text, []).append(float(gold))
        for text, gold in zip(*pick(whole_release, task), strict=True):
            found += text in known
            agree += any(abs(one - gold) <= 0.01 for one in known.get(text, []))
    # A text that stands there more than once has the released rating once at least;
    # the data's own notes, which look at one of them, count 3,984.
    assert (found, agree) == (3999, 3999)
