import json
import subprocess
import sys

import pytest
from datasets import Dataset

from emolib import DataError, files, runs

SETTINGS = {"model": "tiny", "seed": 0, "rate": 2e-4, "pair": (1, 2)}


def test_new_run_says_what_made_it(tmp_path):
    with runs.opened(tmp_path / "a" / "run", "predict", SETTINGS) as folder:
        found = runs.read(folder)
    assert found["kind"] == "predict"
    assert found["settings"] == SETTINGS | {"pair": [1, 2]}
    assert {"made", "commit", "machine", "python", "versions"} < set(found)
    assert {"emolib", "torch", "transformers", "trl"} < set(found["versions"])
    assert "finished" not in found


def test_run_with_the_same_settings_is_taken_up_again(tmp_path):
    with runs.opened(tmp_path, "predict", SETTINGS):
        first = runs.read(tmp_path)
    with runs.opened(tmp_path, "predict", SETTINGS):
        assert runs.read(tmp_path) == first


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"model": "other", "rate": 1e-3}, "model was 'tiny', now 'other'; rate was"),
        ({"extra": True}, "extra was None, now True"),
        ({"pair": (1, 3)}, r"pair was \[1, 2\], now \[1, 3\]"),
    ],
)
def test_run_with_other_settings_is_refused_by_name(tmp_path, change, reason):
    with runs.opened(tmp_path, "predict", SETTINGS):
        before = runs.read(tmp_path)
        (tmp_path / "output").touch()
    with (
        pytest.raises(DataError, match=f"made with other settings .{reason}"),
        runs.opened(tmp_path, "predict", SETTINGS | change),
    ):
        pass
    assert runs.read(tmp_path) == before


def test_run_that_made_nothing_takes_other_settings(tmp_path):
    with pytest.raises(ZeroDivisionError), runs.opened(tmp_path, "k", {"size": 8}):
        raise ZeroDivisionError  # as a model that does not fit
    with runs.opened(tmp_path, "k", {"size": 4}) as folder:
        assert runs.read(folder)["settings"] == {"size": 4}


def test_run_of_another_kind_is_refused(tmp_path):
    with runs.opened(tmp_path, "finetune", SETTINGS):
        (tmp_path / "output").touch()
    with (
        pytest.raises(DataError, match="a finetune run, not a predict run"),
        runs.opened(tmp_path, "predict", SETTINGS),
    ):
        pass


def test_second_process_is_refused_until_the_first_is_done(tmp_path):
    script = "import sys; from emolib import DataError, runs\n"
    script += "try:\n with runs.opened(sys.argv[1], 'k', {}): print('opened')\n"
    script += "except DataError as error: print(error)\n"

    def open_elsewhere() -> str:
        ask = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout

    with runs.opened(tmp_path, "k", {}):
        assert "another process works in this run folder" in open_elsewhere()
    assert open_elsewhere() == "opened\n"


def test_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), runs.opened(tmp_path, "k", {}):
        raise KeyboardInterrupt
    with runs.opened(tmp_path, "k", {}) as folder:
        assert folder == tmp_path


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match="file/run: cannot write this run folder"),
        runs.opened(tmp_path / "file" / "run", "k", {}),
    ):
        pass


def test_finish_adds_results_and_keeps_the_rest(tmp_path):
    with runs.opened(tmp_path, "k", SETTINGS):
        before = runs.read(tmp_path)
        runs.finish(tmp_path, steps=3)
    after = runs.read(tmp_path)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"finished", "steps"}


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "not a run folder"), ("{", "not readable JSON")]
)
def test_folder_without_a_readable_record_is_an_error(tmp_path, content, reason):
    if content:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=reason):
        runs.read(tmp_path)


def test_replacing_puts_the_file_in_place_at_the_end(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with files.replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


def write_file(path):
    path.write_text("half")


def write_folder(path):
    path.mkdir()
    (path / "weights").write_text("half")


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_replacing_leaves_nothing_on_failure(tmp_path, write):
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "a") as temporary:
        write(temporary)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_folder_that_is_there_puts_the_new_one(tmp_path):
    for content in ("old", "new"):
        with files.replacing(tmp_path / "adapter") as temporary:
            temporary.mkdir()
            (temporary / "weights").write_text(content)
    assert (tmp_path / "adapter" / "weights").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_write_json_is_readable_and_ends_in_a_line_break(tmp_path):
    files.write_json(tmp_path / "a.json", {"text": "é 😭"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "é 😭" in text and text.endswith("}\n")
    assert json.loads(text) == {"text": "é 😭"}


def test_hash_of_rows_hangs_on_content_and_order_only():
    rows = Dataset.from_list([{"a": "1", "b": "x"}, {"a": "2", "b": None}])
    turned = rows.select_columns(["b", "a"])
    assert files.hash_rows(rows) == files.hash_rows(turned)
    others = [rows.select([1, 0]), rows.select([0]), rows.remove_columns("b")]
    assert len({files.hash_rows(x) for x in [rows, *others]}) == 4


def test_relative_path_starts_at_the_top_of_the_checkout(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert files.place("runs") == tmp_path / "runs"
    assert files.place("/elsewhere") == type(tmp_path)("/elsewhere")
