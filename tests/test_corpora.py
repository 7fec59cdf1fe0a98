import shutil
from pathlib import Path

import pooch
import pytest

from emolib import DataError
from emolib.data import corpora
from emolib.data.corpora import download
from emolib.tasks import AAID, TASKS

V_REG = "V-reg/Valence-reg-En-train.txt"
EI_OC = "EI-oc/EI-oc-En-joy-train.txt"
E_C = "E-c/E-c-En-train.txt"
EVERY = [(task, split) for task in AAID for split in ("train", "dev", "test")]


def damage(root: Path, name: str, line: int, change) -> None:
    """Applies `change`, bytes to bytes, to one line of a file, counted from 1."""
    path = root / "semeval2018" / name
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_bytes(b"\n".join(lines))


def set_field(number: int, value: str):
    """A change that replaces the field with this number, from 0."""

    def change(line: bytes) -> bytes:
        fields = line.split(b"\t")
        fields[number] = value.encode()
        return b"\t".join(fields)

    return change


BAD_LINES = {
    "missing column": (
        V_REG, 1, set_field(3, "Score"), "no column Intensity Score .found: ID, Tweet",
    ),
    "missing label column": (E_C, 1, set_field(2, "angre"), "no column anger"),
    "too few fields": (
        V_REG, 4, lambda line: line.replace(b"\tvalence", b""),
        "3 tab-separated fields, expected 4 .ID, Tweet",
    ),
    "too many fields": (
        E_C, 3, lambda line: line + b"\t0", "14 tab-separated fields, expected 13",
    ),
    "empty line": (V_REG, 5, lambda _: b"", "1 tab-separated fields, expected 4"),
    "score too high": (V_REG, 2, set_field(3, "1.2"), r"score 1.2 .* \[0, 1\]"),
    "score too low": (V_REG, 2, set_field(3, "-0.1"), r"score -0.1 .* \[0, 1\]"),
    "score in words": (V_REG, 6, set_field(3, "high"), "score 'high' is not a number"),
    "score nan": (V_REG, 6, set_field(3, "nan"), "score 'nan' is not a number"),
    "score infinite": (V_REG, 6, set_field(3, "inf"), "score 'inf' is not a number"),
    "score empty": (V_REG, 6, set_field(3, ""), "score '' is not a number"),
    "score with comma": (V_REG, 6, set_field(3, "0,5"), "'0,5' is not a number"),
    "unknown class": (
        EI_OC, 3, set_field(3, "4: huge amount of joy can be inferred"),
        "unknown class '4: huge.*expected one of .*0: no joy can be inferred",
    ),
    "class of another emotion": (
        EI_OC, 3, set_field(3, "0: no fear can be inferred"), "unknown class '0: no f",
    ),
    "row of another emotion": (
        EI_OC, 3, set_field(2, "fear"), "Affect Dimension 'fear', expected 'joy'",
    ),
    "label 2": (E_C, 9, set_field(2, "2"), "anger is '2', expected 0 or 1"),
    "label yes": (E_C, 9, set_field(12, "yes"), "trust is 'yes', expected 0 or 1"),
    "label empty": (E_C, 9, set_field(4, ""), "disgust is '', expected 0 or 1"),
    "duplicate id": (
        V_REG, 8, set_field(0, "2018-En-90002"), "id '2018-En-90002' .* on line 3",
    ),
    "not UTF-8": (
        V_REG, 7, lambda line: line + b"\xe9", "byte 0xe9 is not UTF-8",
    ),
    "empty text": (V_REG, 7, set_field(1, "  "), "the text of '2018-En-.*' is empty"),
    "empty id": (V_REG, 7, set_field(0, ""), "the id is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_is_one_error_with_file_line_and_reason(corpus, case):
    name, line, change, reason = BAD_LINES[case]
    task = name.split("/")[0]
    assert len(corpora.read(task, "train", corpus)) > 10
    damage(corpus, name, line, change)
    with pytest.raises(DataError, match=f"{name}:{line}: .*{reason}"):
        corpora.read(task, "train", corpus)


BAD_FILES = {
    "HTML page": (b"<!DOCTYPE html>\n<html>404</html>\n", ":1: an HTML page"),
    "HTML without doctype": (b"\n <HTML><body>\n</body></HTML>\n", ":1: an HTML page"),
    "empty file": (b"", ":1: no column ID"),
    "header only": (b"ID\tTweet\tAffect Dimension\tIntensity Score\n", ":1: .*truncat"),
    "UTF-16": ("ID\tTweet\n".encode("utf-16"), ":1: byte 0xff is not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_one_error_with_file_and_reason(corpus, case):
    content, reason = BAD_FILES[case]
    (corpus / "semeval2018" / V_REG).write_bytes(content)
    with pytest.raises(DataError, match=V_REG + reason):
        corpora.read("V-reg", "train", corpus)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_truncated_file_is_one_error_with_its_last_line(corpus, kept):
    path = corpus / "semeval2018" / V_REG
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    last = path.read_bytes().count(b"\n") + 1
    with pytest.raises(DataError, match=f"{V_REG}:{last}: .*(truncated|UTF-8)"):
        corpora.read("V-reg", "train", corpus)


def test_missing_file_names_both_spellings(corpus):
    (corpus / "semeval2018" / V_REG).unlink()
    names = "Valence-reg-En-train.txt .or 2018-Valence-reg-En-train.txt"
    with pytest.raises(DataError, match=names):
        corpora.read("V-reg", "train", corpus)


@pytest.mark.parametrize("prefix", ["", "2018-"])
@pytest.mark.parametrize("folder", [".", "English/V-reg/training"])
def test_files_are_found_by_pattern(corpus, tmp_path, prefix, folder):
    moved = tmp_path / "mirror" / folder
    moved.mkdir(parents=True)
    shutil.move(corpus / "semeval2018" / V_REG, moved / f"{prefix}{Path(V_REG).name}")
    found = corpora.read("V-reg", "train", tmp_path / "mirror")
    assert found.equals(corpora.read("V-reg", "train", "sample"))


def test_two_copies_pass_only_if_they_agree(corpus):
    path = corpus / "semeval2018" / V_REG
    copy = shutil.copy(path, corpus / f"2018-{path.name}")
    assert len(corpora.read("V-reg", "train", corpus))
    Path(copy).write_bytes(path.read_bytes().replace(b"0.125", b"0.126", 1))
    with pytest.raises(DataError, match="differ, keep one"):
        corpora.read("V-reg", "train", corpus)


def test_windows_line_ends_and_byte_order_mark_change_nothing(corpus):
    path = corpus / "semeval2018" / V_REG
    changed = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(changed)
    found = corpora.read("V-reg", "train", corpus)
    assert found.equals(corpora.read("V-reg", "train", "sample"))


def test_line_separator_inside_a_text_does_not_cut_it(corpus):
    damage(corpus, V_REG, 2, set_field(1, "one\u2028two\x85three"))
    rows = corpora.read("V-reg", "train", corpus)
    assert rows["text"][0] == "one\u2028two\x85three"


def test_unknown_split_names_the_splits():
    with pytest.raises(DataError, match=r"no split 'validation'.*train, dev, test"):
        corpora.read("V-reg", "validation", "sample")


def test_sample_rows_are_as_the_files_write_them():
    rows = corpora.read("E-c", "train", "sample")
    assert list(rows.columns) == corpora.COLUMNS
    assert rows.iloc[0][["id", "gold", "split"]].tolist() == [
        "2018-En-90001", "anger, disgust", "train",
    ]  # fmt: skip
    assert rows["emotion"].isna().all()
    assert (rows["gold"] == "neutral or no emotion").any()


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_mystery_rows_never_enter_a_split(corpus, split):
    name = f"Valence-reg-En-{'test-gold' if split == 'test' else split}.txt"
    before = corpora.read("V-reg", split, corpus)
    damage(corpus, f"V-reg/{name}", 3, set_field(0, "2018-En-mystery-77777"))
    after = corpora.read("V-reg", split, corpus)
    assert after.equals(before.drop(1).reset_index(drop=True))


@pytest.mark.parametrize(("task", "count"), [("EI-reg", 32), ("V-reg", 8), ("E-c", 0)])
def test_equity_rows_come_from_a_call_of_their_own(task, count):
    rows = corpora.read_equity(task, "sample")
    assert len(rows) == count and rows["id"].str.contains("mystery").all()


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.delenv("EMOLIB_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", fail)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")


def test_no_data_at_all_says_both_ways(no_network):
    with pytest.raises(DataError, match="EMOLIB_DATA") as error:
        corpora.read("V-reg", "train")
    assert download.ARCHIVE in str(error.value)
    assert error.value.__cause__ is None and "OSError" in str(error.value)


@pytest.mark.parametrize("data", ["official", "nowhere"])
def test_folder_that_is_none_is_named(monkeypatch, tmp_path, data):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere.*folder"):
        corpora.read("V-reg", "train", data)


def test_download_is_asked_for_with_its_checksum(no_network, monkeypatch, tmp_path):
    zipped = shutil.make_archive(tmp_path / "all", "zip", corpora.locate("sample"))

    def retrieve(url, known_hash, path, fname, processor, **_):
        asked.append((url, known_hash))
        path.mkdir(parents=True)
        return processor(str(shutil.copy(zipped, path / fname)), "download", None)

    asked = []
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    root = corpora.locate("official")
    assert asked == [(download.ARCHIVE, f"sha256:{download._SHA256[download.ARCHIVE]}")]
    assert len(corpora.read("V-oc", "dev", root)) == 17


def test_sample_does_not_pass_as_official(monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(corpora.locate("sample")))
    with pytest.raises(DataError, match="56 rows, the official V-reg/train has 1181"):
        corpora.read("V-reg", "train")


@pytest.mark.parametrize(("task", "split"), EVERY)
def test_real_files_have_the_published_counts_and_content(real_data, task, split):
    rows = corpora.read(task, split)  # checks the content hash, too
    assert len(rows) == TASKS[task].sizes[split]
    assert not rows["id"].str.contains("mystery").any()


@pytest.mark.parametrize(
    ("task", "emotion", "train", "dev"),
    [
        ("EI-reg", "anger", 1701, 388),
        ("EI-reg", "fear", 2252, 389),
        ("EI-oc", "joy", 1616, 290),
        ("EI-oc", "sadness", 1533, 397),
    ],
)
def test_real_emotions_have_the_published_counts(real_data, task, emotion, train, dev):
    counts = [(corpora.read(task, split)["emotion"] == emotion).sum() for split in ("train", "dev")]
    assert counts == [train, dev]


@pytest.mark.parametrize(("task", "files"), [("EI-reg", 4), ("V-reg", 1)])
def test_real_equity_rows_are_16937_per_file(real_data, task, files):
    rows = corpora.read_equity(task)
    assert len(rows) == files * 16_937
    assert set(rows.groupby("emotion", dropna=False).size()) == {16_937}


@pytest.fixture
def mirror(real_data, tmp_path, monkeypatch):
    """Real V-reg files as the publisher's archive names them, set as official."""
    folder = tmp_path / "AIT" / "English" / "V-reg"
    folder.mkdir(parents=True)
    for path in (real_data / "semeval2018" / "V-reg").glob("*.txt"):
        (folder / f"2018-{path.name}").write_bytes(path.read_bytes())
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "AIT"))
    return folder / "2018-Valence-reg-En-dev.txt"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_mirror_with_other_file_names_passes(mirror, line_end):
    mirror.write_bytes(mirror.read_bytes().replace(b"\n", line_end))
    assert [len(corpora.read("V-reg", s)) for s in ("train", "dev")] == [1181, 449]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[:1] + lines[2:], "448 rows, the official V-reg/dev"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "other content"),
        (lambda lines: [x.replace(b"0.5", b"0.6") for x in lines], "other content"),
        (lambda lines: [x.replace(b"#", b"") for x in lines], "other content"),
    ],
    ids=["row lost", "rows swapped", "gold changed", "text changed"],
)
def test_damaged_mirror_does_not_pass(mirror, change, reason):
    lines = mirror.read_bytes().split(b"\n")
    mirror.write_bytes(b"\n".join(change(lines)))
    with pytest.raises(DataError, match=f"{mirror.name}: .*{reason}"):
        corpora.read("V-reg", "dev")
    assert len(corpora.read("V-reg", "dev", mirror.parent)) > 440  # not verified
