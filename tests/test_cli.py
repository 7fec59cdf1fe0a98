import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from emolib import __version__, cli, notebooks, runs
from emolib.annotation import annotate as annotating
from emolib.annotation.settings import FileSettings, ModelSettings

WORDS = ["good", "bad", "so sad", "great joy", "a table", "good", "", "awful 😭"]
OPTIONS = [
    *("--text-column", "--model", "--task", "--resume", "--overwrite", "--chunk"),
    *("--max-tokens", "--dtype", "--quantization", "--backend", "--device", "--form"),
    *("--input-format", "--output-format", "--encoding", "--delimiter"),
    *("--encoding-errors", "--quotes", "--backslash-quotes", "--sheet"),
    *("--coverage", "--plain-quotes", "--escape-formulas", "--quiet"),
    *("--unit", "--aggregate", "--output-columns"),
]


@pytest.fixture
def source(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"id": range(8), "text": WORDS})
    table.to_csv("in.csv", index=False)
    return "in.csv"


def call(*arguments, input=None, model="vader"):
    """`emolib annotate` in chunks of three rows."""
    words = ["annotate", *arguments, "--chunk", "3", "--model", model]
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, words, input=input)


def stop(monkeypatch, after: int) -> None:
    """Ctrl-C once so many chunks are judged."""
    original, calls = annotating.Annotator.__call__, []

    def work(*given):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)

    monkeypatch.setattr(annotating.Annotator, "__call__", work)


def test_help_names_every_option_and_argument():
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["annotate", "--help"])
    assert shown.exit_code == 0
    for name in (*OPTIONS, "INPUT", "OUTPUT", "Example: emolib annotate"):
        assert name in shown.stdout
    assert set(re.findall(r"--[a-z][a-z-]+", shown.stdout)) == {
        *OPTIONS,
        *("--help", "--input-format", "--calibration", "--fit"),  # of emolib validate
    }


def test_every_setting_is_an_option_once_or_named_as_none():
    offered = set(inspect.signature(cli.annotate).parameters)
    known = {field.name for field in fields(FileSettings) + fields(ModelSettings)}
    assert offered - known == {"source", "target", "text_column", "model"}
    assert known - offered == {"adapter", "tokens_per_batch"}


@pytest.mark.parametrize("kind", [FileSettings, ModelSettings])
def test_options_start_at_the_defaults_of_the_settings(kind):
    parameters = inspect.signature(cli.annotate).parameters
    for field in fields(kind):
        if field.name in parameters:
            assert parameters[field.name].default == field.default


def test_no_command_shows_help_and_version_the_version():
    shown = CliRunner().invoke(cli.app, [])
    assert "annotate" in shown.output
    assert CliRunner().invoke(cli.app, ["version"]).stdout == f"{__version__}\n"


def test_file_becomes_a_file_and_what_is_said_goes_to_the_error_stream(source):
    done = call(source, "out.csv")
    assert done.exit_code == 0 and done.stdout == ""
    assert "out.csv: 8 rows, 8 of them annotated in " in done.stderr
    assert "rows/s), peak memory " in done.stderr
    found = pd.read_csv("out.csv")
    assert list(found)[:3] == ["id", "text", "valence"]
    assert found["valence"].tolist()[:2] == [0.7202, 0.2288]


def test_progress_is_shown_unless_quiet(source):
    assert "8/8" in call(source, "out.csv").stderr
    assert "8/8" not in call(source, "other.csv", "--quiet").stderr


def test_standard_output_is_the_table_and_nothing_else(source, tmp_path):
    call(source, "out.csv")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = call(source, "-")
    assert done.exit_code == 0
    assert done.stdout_bytes == (tmp_path / "out.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_standard_input_becomes_lines_of_json():
    done = call("-", "-", "--output-format", "jsonl", input="good\nawful 😭\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["text"] for record in found] == ["good", "awful 😭"]
    assert found[0]["valence"] == 0.7202 and found[0]["valence_confidence"] is None


def test_standard_input_of_a_named_format():
    given = "body;n\nrühmlich;1\n".encode("latin-1")
    options = ("--input-format", "csv", "--delimiter", ";", "--encoding", "latin-1")
    done = call("-", "-", *options, "--text-column", "body", input=given)
    assert done.stdout.startswith("body,n,valence,") and "\nrühmlich,1," in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.csv", "out.csv"], "none.csv: no such file"),
        (["in.csv", "out.doc"], "out.doc: no format 'doc'"),
        (["in.csv", "none/out.csv"], "no folder"),
        (["in.csv", "in.csv"], "in.csv: input and output in one"),
        (["in.csv", "out.csv", "--text-column", "body"], "no column 'body'"),
        (["in.csv", "out.csv", "--task", "E-c"], "task 'E-c': vader predicts V-reg"),
        (["in.csv", "out.csv", "--max-tokens", "0"], "max_tokens is 0"),
        (["in.csv", "out.csv", "--form", "odd"], "form 'odd': expected one of"),
        (["in.csv", "out.csv", "--resume", "--overwrite"], "one of them, not both"),
        (["in.csv", "-", "--text-column", "body"], "no column 'body'"),
    ],
)
def test_errors_are_one_line_on_the_error_stream(source, arguments, reason):
    done = call(*arguments)
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.startswith("emolib annotate: ") and reason in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_unknown_model_is_an_error_too(source, tmp_path):
    (tmp_path / "empty").mkdir()
    done = call(source, "out.csv", model=str(tmp_path / "empty"))
    assert done.exit_code == 1 and done.stdout == ""
    assert "emolib annotate: " in done.stderr and "Traceback" not in done.stderr


def test_wrong_use_is_told_apart_from_wrong_data(source):
    assert call(source, "out.csv", "--no-such-option").exit_code == 2
    assert call(source, "out.csv", "--output-format", "xls").exit_code == 2
    assert call(source).exit_code == 2


def test_tasks_can_be_several(source):
    done = call(source, "out.csv", "--task", "V-reg")
    assert done.exit_code == 0
    assert runs.read("out.csv.run")["settings"]["tasks"] == ["V-reg"]
    refused = call(source, "b.csv", "--task", "V-reg", "--task", "EI-oc")
    assert "task 'EI-oc'" in refused.stderr


@pytest.mark.slow
def test_model_annotates_for_the_tasks_named(source, tiny_model, tmp_path):
    options = ("--task", "V-oc", "--task", "V-reg", "--max-tokens", "20", "--quiet")
    done = call(source, "out.jsonl", *options, model=tiny_model)
    assert done.exit_code == 0
    record = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    names = ["id", "text", "valence", "valence_confidence", "valence_class"]
    assert list(record) == [*names, "valence_class_confidence", "reason", "note"]


def test_ctrl_c_says_how_to_go_on_and_resuming_does(source, tmp_path):
    call(source, "straight.csv")
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, 2)
        stopped = call(source, "out.csv")
    assert stopped.exit_code == 130 and "Traceback" not in stopped.stderr
    assert "the same command with --resume goes on" in stopped.stderr
    assert len(pd.read_csv("out.partial.csv")) == 6
    assert call(source, "out.csv").exit_code == 1  # unfinished: resume or overwrite
    done = call(source, "out.csv", "--resume", "--quiet")
    assert "8 rows, 2 of them annotated" in done.stderr
    straight = (tmp_path / "straight.csv").read_bytes()
    assert (tmp_path / "out.csv").read_bytes() == straight


def test_ctrl_c_does_not_promise_what_standard_output_cannot_keep(source, monkeypatch):
    stop(monkeypatch, 2)
    stopped = call(source, "-")
    assert stopped.exit_code == 130 and stopped.stdout == ""
    assert "nothing kept" in stopped.stderr and "--resume" not in stopped.stderr


def test_overwriting_replaces_a_finished_file(source):
    call(source, "out.csv")
    pd.DataFrame({"text": ["fine"]}).to_csv(source, index=False)
    assert "there already: overwrite it" in call(source, "out.csv").stderr
    refused = call(source, "out.csv", "--resume")
    assert refused.exit_code == 1 and "rows was 8, now 1" in refused.stderr
    assert call(source, "out.csv", "--overwrite").exit_code == 0
    assert pd.read_csv("out.csv")["text"].tolist() == ["fine"]


def test_formulas_are_escaped_and_quotes_plain_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text('text\n=1+1\n"half\n')
    plain = ("--plain-quotes", "--quiet")
    assert call("in.csv", "no.csv").exit_code == 1
    call("in.csv", "a.csv", *plain)
    call("in.csv", "b.csv", *plain, "--escape-formulas")
    assert pd.read_csv("a.csv")["text"].tolist() == ["=1+1", '"half']
    assert pd.read_csv("b.csv")["text"].tolist() == ["'=1+1", '"half']


@pytest.mark.slow
def test_program_stops_quietly_when_nobody_reads_on(tmp_path):
    (tmp_path / "in.txt").write_text("a rather good day\n" * 20_000)
    program = [sys.executable, "-m", "emolib", "annotate", "in.txt", "-", "--quiet"]
    ask = [*program, "--model", "vader", "--chunk", "9999"]
    with subprocess.Popen(
        ask, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout.readline().startswith(b"text,valence")
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()


def test_run_and_train_hand_their_file_to_the_notebooks(monkeypatch):
    given = []
    monkeypatch.setattr(notebooks, "run", lambda *each: given.append(each) or ["a"])
    monkeypatch.setattr(notebooks, "report", lambda done, file: f"done: {done}")
    monkeypatch.setattr(notebooks, "train", lambda file: Path("runs", file.name))
    done = CliRunner().invoke(cli.app, ["run", "a.yaml", "--only", "02", "--only", "03"])
    assert given == [(Path("a.yaml"), ["02", "03"])]
    assert done.stdout == "done: ['a']\n"
    done = CliRunner().invoke(cli.app, ["train", "a.yaml"])
    assert done.stdout == "runs/a.yaml\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("train none.yaml", "emolib train: "),
        ("run none.yaml", "none.yaml"),
        ("export none out", "none: no run.json"),
        ("push model me/mine out", "--run: name the run whose model is meant"),
    ],
)
def test_every_command_reports_an_error_in_one_line(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, words.split())
    assert done.exit_code == 1 and reason in done.stderr
    assert done.stderr.startswith(f"emolib {words.split()[0]}: ")
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []
