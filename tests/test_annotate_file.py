import io
import json
import multiprocessing
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pooch
import pytest

from emolib import DataError, models, runs
from emolib.annotation import annotate as annotating
from emolib.annotation import annotate_file
from emolib.baselines import lexicons

WORDS = ["good", "bad", "so sad", "great joy", "a table", "good", "", "awful 😭"]
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["pytest", "emolib.annotation.annotate_file"])


@pytest.fixture
def source(tmp_path) -> Path:
    """Eight rows, two of them with the same text, one without any."""
    path = tmp_path / "in.csv"
    table = pd.DataFrame({"id": [f"00{n}" for n in range(8)], "text": WORDS})
    table.assign(remark=['a "quoted", cell\nof two lines'] * 8).to_csv(path, index=False)
    return path


@pytest.fixture
def judged(monkeypatch) -> list:
    """The texts that VADER was asked about."""
    original, asked = lexicons.load, []

    def load(name):
        measure = original(name)
        return lambda text: (asked.append(text), measure(text))[1]

    monkeypatch.setattr(lexicons, "load", load)
    return asked


def annotate(source, target, text_column="text", model="vader", **options) -> Path:
    """In chunks of three rows."""
    settings = {key: options.pop(key) for key in ("tasks", "max_tokens") if key in options}
    files = annotate_file.Settings(**{"chunk": 3, "progress": False} | options)
    return annotate_file.annotate_file(source, target, text_column, model, files, **settings)


def interrupt(monkeypatch, after: int) -> None:
    """Ctrl-C once so many chunks are judged."""
    original, calls = annotating.Annotator.__call__, []

    def call(*given):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)

    monkeypatch.setattr(annotating.Annotator, "__call__", call)


def stop(source, target, after: int = 2, **options) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after)
        annotate(source, target, **options)


def feed(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_columns_and_rows_of_the_source_come_first_and_in_order(source, tmp_path):
    target = annotate(source, tmp_path / "out.csv")
    given, found = pd.read_csv(source, dtype=str), pd.read_csv(target, dtype=str)
    assert target == tmp_path / "out.csv"
    assert list(found) == [*given, "valence", "valence_confidence", "reason", "note"]
    assert found[list(given)].equals(given)
    assert found["reason"].dropna().tolist() == ["empty text"]


def test_values_are_those_of_annotate(source, tmp_path):
    found = pd.read_csv(annotate(source, tmp_path / "out.csv"))
    expected = annotating.annotate(WORDS, "vader", progress=False)
    assert found["valence"].equals(expected["valence"])


def test_equal_texts_are_judged_once_over_all_chunks(source, tmp_path, judged):
    annotate(source, tmp_path / "out.csv", chunk=1)
    assert judged == ["good", "bad", "so sad", "great joy", "a table", "awful 😭"]


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_resumed_run_judges_what_is_missing_and_ends_with_the_same_bytes(
    source, tmp_path, judged, name, after
):
    straight = annotate(source, tmp_path / f"straight.{name}").read_bytes()
    stop(source, tmp_path / f"out.{name}", after)
    judged.clear()
    target = annotate(source, tmp_path / f"out.{name}", resume=True)
    texts = ["good", "bad", "so sad", "great joy", "a table", "awful 😭"]
    assert judged == texts[[0, 3, 5][after] :]
    assert target.read_bytes() == straight


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "parquet"])
def test_interrupted_run_leaves_the_finished_rows_until_it_is_resumed(source, tmp_path, name):
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}
    read["tsv"] = lambda path: pd.read_csv(path, sep="\t")
    read["jsonl"] = lambda path: pd.read_json(path, lines=True)
    stop(source, tmp_path / f"out.{name}")
    partial = tmp_path / f"out.partial.{name}"
    assert not (tmp_path / f"out.{name}").exists()
    rows = read[name](partial)
    target = annotate(source, tmp_path / f"out.{name}", resume=True)
    assert rows["text"].tolist() == read[name](target)["text"].tolist()[:6]
    assert rows["valence"].equals(read[name](target)["valence"][:6])
    assert not partial.exists()


def test_interruption_before_the_first_chunk_leaves_no_partial_file(source, tmp_path):
    stop(source, tmp_path / "out.parquet", after=0)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["in.csv", "out.parquet.run"]


def test_interruption_after_a_torn_chunk_leaves_no_partial_file(source, tmp_path):
    stop(source, tmp_path / "out.parquet", after=0)
    torn = tmp_path / "out.parquet.run" / "parts" / ".00000000.parquet.123.tmp"
    torn.write_bytes(b"PAR1")
    stop(source, tmp_path / "out.parquet", after=0, resume=True)
    assert not torn.exists() and not list(tmp_path.glob("*partial*"))


def test_nothing_but_target_and_record_is_left(source, tmp_path):
    target = annotate(source, tmp_path / "out.csv")
    beside = ["out.csv.codebook.csv", "out.csv.codebook.json", "out.csv.run"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv", *beside]
    folder = Path(f"{target}.run")
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "run.json"]


def test_record_says_what_was_made_how_and_how_fast(source, tmp_path):
    target = annotate(source, tmp_path / "out.csv")
    found = runs.read(f"{target}.run")
    settings = found["settings"]
    assert found["kind"] == "annotate" and "finished" in found
    assert settings["input"] == pooch.file_hash(source) and settings["rows"] == 8
    assert settings["model"] == "vader" and settings["tasks"] == ["V-reg"]
    assert settings["chunk"] == 3 and settings["text_column"] == "text"
    assert {"made", "commit", "machine", "python", "versions"} < set(found)
    assert found["rows_judged"] == 8 and found["rows_per_second"] > 0
    assert 10 < found["peak_memory_mb"] < 20_000 and found["seconds"] >= 0


def test_resumed_run_counts_only_what_it_judged(source, tmp_path):
    stop(source, tmp_path / "out.csv")
    target = annotate(source, tmp_path / "out.csv", resume=True)
    assert runs.read(f"{target}.run")["rows_judged"] == 2


@pytest.mark.parametrize("progress", [True, False])
def test_resuming_shows_progress_or_not(source, tmp_path, progress, capsys):
    stop(source, tmp_path / "out.csv")
    annotate(source, tmp_path / "out.csv", resume=True, progress=progress)
    assert ("8/8" in capsys.readouterr().err) == progress


def test_finished_run_is_resumed_without_judging(source, tmp_path, judged):
    annotate(source, tmp_path / "out.csv")
    judged.clear()
    (tmp_path / "out.csv.run" / "parts").mkdir()  # killed while it tidied up
    annotate(source, tmp_path / "out.csv", resume=True)
    assert not judged and not (tmp_path / "out.csv.run" / "parts").exists()


def test_finished_run_with_other_settings_is_refused(source, tmp_path):
    before = annotate(source, tmp_path / "out.csv").read_bytes()
    with pytest.raises(DataError, match="max_tokens was 512, now 9"):
        annotate(source, tmp_path / "out.csv", resume=True, max_tokens=9)
    assert (tmp_path / "out.csv").read_bytes() == before


def test_run_killed_between_target_and_record_finishes(source, tmp_path, judged):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(runs, "finish", lambda *_, **__: sys.exit(9))
        annotate(source, tmp_path / "out.csv")
    before = (tmp_path / "out.csv").read_bytes()
    judged.clear()
    annotate(source, tmp_path / "out.csv", resume=True)
    assert not judged and (tmp_path / "out.csv").read_bytes() == before
    assert "finished" in runs.read(tmp_path / "out.csv.run")


def test_overwriting_starts_anew(source, tmp_path, judged):
    annotate(source, tmp_path / "out.csv")
    stop(source, tmp_path / "other.csv")
    judged.clear()
    annotate(source, tmp_path / "out.csv", overwrite=True, chunk=2)
    annotate(source, tmp_path / "other.csv", overwrite=True, chunk=2)
    assert judged == 2 * ["good", "bad", "so sad", "great joy", "a table", "awful 😭"]


REFUSED = {
    "no such file": ({"source": "none.csv"}, "none.csv: no such file"),
    "no such column": ({"text_column": "body"}, "no column 'body': there are id, text"),
    "not a format": ({"target": "out.doc"}, "no format 'doc': name one of csv"),
    "lines": ({"target": "out.txt"}, "lines hold no columns: take csv"),
    "no folder": ({"target": "none/out.csv"}, "no folder .*none"),
    "a folder": ({"target": "sub.csv"}, "sub.csv: a folder, expected a file's name"),
    "no chunk": ({"chunk": 0}, "chunk is 0, expected 1 or more"),
    "both": ({"resume": True, "overwrite": True}, "resume and overwrite: one of them"),
    "task": ({"tasks": ["E-c"]}, "task 'E-c': vader predicts V-reg"),
    "setting": ({"speed": 3}, "speed"),
    "there": ({"target": "there.csv"}, "there.csv: there already: overwrite it"),
    "not ours": ({"target": "there.csv", "resume": True}, "there.csv: there already"),
    "clash": ({"source": "judged.csv"}, "already has the columns valence, reason"),
    "encoding": ({"source": "latin.csv"}, "latin.csv:2: not utf-8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_judged(
    case, source, tmp_path, monkeypatch, judged
):
    monkeypatch.chdir(tmp_path)
    Path("sub.csv").mkdir()
    Path("there.csv").write_text("mine")
    Path("judged.csv").write_text("text,valence,reason\ngood,1,\n")
    Path("latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    change, reason = REFUSED[case]
    with pytest.raises((DataError, TypeError), match=reason):
        annotate(**{"source": source, "target": "out.csv"} | change)
    assert not judged and Path("there.csv").read_text() == "mine"
    assert not Path("out.csv").exists()


def test_unfinished_run_is_neither_resumed_nor_lost_unasked(source, tmp_path):
    stop(source, tmp_path / "out.csv")
    with pytest.raises(DataError, match="an unfinished run with 2 finished chunks: res"):
        annotate(source, tmp_path / "out.csv")
    assert annotate(source, tmp_path / "out.csv", resume=True).is_file()


def test_overwriting_with_a_bad_source_loses_nothing(source, tmp_path):
    stop(source, tmp_path / "out.csv")
    with pytest.raises(DataError, match="no such file"):
        annotate(tmp_path / "none.csv", tmp_path / "out.csv", overwrite=True)
    assert len(list((tmp_path / "out.csv.run" / "parts").iterdir())) == 2


WRITTEN = {
    "csv": lambda table, path: table.to_csv(path, index=False),
    "tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    "parquet": lambda table, path: table.to_parquet(path, index=False),
    "txt": lambda table, path: path.write_text("".join(f"{x}\n" for x in table["text"])),
}


@pytest.mark.parametrize("given", WRITTEN)
@pytest.mark.parametrize("wanted", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_becomes_every_other(given, wanted, tmp_path):
    WRITTEN[given](pd.DataFrame({"text": WORDS}), tmp_path / f"in.{given}")
    target = annotate(tmp_path / f"in.{given}", tmp_path / f"out.{wanted}")
    if wanted == "parquet":
        found = pd.read_parquet(target)
    elif wanted == "jsonl":
        found = pd.DataFrame(map(json.loads, target.open(encoding="utf-8")))
    else:
        found = pd.read_csv(target, sep="\t" if wanted == "tsv" else ",")
    assert found["text"].fillna("").tolist() == WORDS
    assert found["valence"].isna().tolist() == [not text for text in WORDS]
    assert found["valence"].loc[[0, 1]].tolist() == [0.7202, 0.2288]


@pytest.mark.parametrize("wanted", ["csv", "tsv", "jsonl", "parquet"])
def test_file_without_rows_gives_one_without_rows(wanted, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n")
    target = annotate(tmp_path / "in.csv", tmp_path / f"out.{wanted}")
    names = ["id", "text", "valence", "valence_confidence", "reason", "note"]
    if wanted == "parquet":
        assert list(pd.read_parquet(target)) == names
    else:
        heads = {"jsonl": "", "csv": ",".join(names) + "\n"}
        assert target.read_text() == heads.get(wanted, "\t".join(names) + "\n")


def test_standard_input_is_kept_until_the_end(tmp_path, monkeypatch):
    straight = tmp_path / "in.txt"
    straight.write_text("\n".join(WORDS[:6]) + "\n")
    expected = annotate(straight, tmp_path / "straight.csv").read_bytes()
    feed(monkeypatch, straight.read_bytes())
    stop("-", tmp_path / "out.csv", after=1)
    feed(monkeypatch, b"")  # nobody has to say it all again
    target = annotate("-", tmp_path / "out.csv", resume=True)
    assert target.read_bytes() == expected
    assert not (tmp_path / "out.csv.run" / "input").exists()


def test_standard_input_can_be_of_any_format(tmp_path, monkeypatch):
    feed(monkeypatch, b'{"body": "good"}\n')
    target = tmp_path / "out.csv"
    annotate("-", target, "body", input_format="jsonl")
    assert pd.read_csv(target)["body"].tolist() == ["good"]


def test_refused_standard_input_does_not_stay(tmp_path, monkeypatch):
    feed(monkeypatch, b"{")
    with pytest.raises(DataError, match="no JSON"):
        annotate("-", tmp_path / "out.csv", input_format="jsonl", resume=True)
    feed(monkeypatch, b'{"text": "good"}\n')
    annotate("-", tmp_path / "out.csv", input_format="jsonl", resume=True)
    assert pd.read_csv(tmp_path / "out.csv")["text"].tolist() == ["good"]


def test_other_standard_input_to_a_finished_run_is_refused(tmp_path, monkeypatch):
    for content in (b"good\n", b"bad\n", b"good\n"):
        feed(monkeypatch, content)
        if content == b"bad\n":
            with pytest.raises(DataError, match=r"made with other .*input was"):
                annotate("-", tmp_path / "out.csv", resume=True)
        else:
            annotate("-", tmp_path / "out.csv", resume=True)
    assert pd.read_csv(tmp_path / "out.csv")["text"].tolist() == ["good"]


@pytest.mark.slow
def test_model_fills_all_columns_and_resumes_alike(source, tiny_model, tmp_path):
    options = {"model": tiny_model, "tasks": ["V-oc", "E-c"]}
    straight = annotate(source, tmp_path / "straight.csv", **options)
    stop(source, tmp_path / "out.csv", **options)
    target = annotate(source, tmp_path / "out.csv", **options, resume=True)
    assert target.read_bytes() == straight.read_bytes()
    found = pd.read_csv(target)
    assert found["valence_class"].dropna().between(-3, 3).all()
    assert found.filter(like="has_").shape[1] == 22
    settings = runs.read(f"{target}.run")["settings"]
    assert settings["weights"] == models.hash_weights(tiny_model)
    assert settings["precision"] == "cpu, float32"


def measure(rows: int, folder: str, pipe) -> None:
    """What a child does: its peak memory in MB after a file of so many rows."""
    source = Path(folder, f"{rows}.csv")
    with source.open("w") as file:
        file.write("id,text\n")
        file.writelines(f"{n},{WORDS[n % 4]} and so on\n" for n in range(rows))
    annotate(source, source.with_suffix(".jsonl"), chunk=1000)
    assert source.with_suffix(".jsonl").read_bytes().count(b"\n") == rows
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for rows in (20_000, 200_000):
        ours, theirs = CHILDREN.Pipe()
        child = CHILDREN.Process(target=measure, args=(rows, str(tmp_path), theirs))
        child.start()
        assert ours.poll(120), "no answer after two minutes"
        peaks.append(ours.recv())
        child.join()
    assert peaks[1] < peaks[0] + 40


def test_annotator_that_is_loaded_is_taken_as_it_is(source, tmp_path):
    annotator = annotating.Annotator("vader", progress=False)
    target = annotate(source, tmp_path / "out.csv", model=annotator)
    again = annotate(source, tmp_path / "again.csv")
    assert target.read_bytes() == again.read_bytes()
    with pytest.raises(DataError, match="has its own settings, not tasks"):
        annotate(source, tmp_path / "third.csv", model=annotator, tasks=["V-reg"])


def test_source_is_never_the_target(source):
    before = source.read_bytes()
    with pytest.raises(DataError, match="input and output in one"):
        annotate(source, source, overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"encoding": "latin-1"}, "encoding was"), ({"quotes": False}, "quotes was True")],
)
def test_run_is_not_resumed_in_another_reading_of_its_source(tmp_path, change, reason):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n" + "schön\n" * 8, encoding="utf-8")
    stop(source, target)
    with pytest.raises(DataError, match=reason):
        annotate(source, target, resume=True, **change)
