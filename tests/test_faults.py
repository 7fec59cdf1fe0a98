"""Kills, full disks, damaged folders, two processes on one, too little memory."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import trainer
from tuning import finetune

from emolib import DataError, files, models, runs
from emolib.annotation import annotate as judging
from emolib.annotation import annotate_file
from emolib.inference import constrained, predict, tree_attention
from emolib.training.sft_trainer import SharedPromptTrainer

pytestmark = pytest.mark.slow  # trains, kills or compares whole models

# A child that is forked from a process with everything imported starts in no time; the
# fork server itself has started no threads, as this process may have.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    ["pytest", "emolib.annotation.annotate_file", "emolib.training.sft_trainer"]
)

TUNING = {
    "quantization": None,
    "batch_size": 8,
    "micro_batch_size": 4,
    "max_steps": 14,
    "eval_steps": 2,
    "learning_rate": 1e-2,
    "lora_dropout": 0.1,
    "patience": 9,
}
QUIET = annotate_file.Settings(chunk=4, resume=True, progress=False)
NO_MEMORY = "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate"
NO_MEMORY += " memory: you tried to allocate 8589934592 bytes."


def constrain(folder: Path, model: str, rows: dict) -> None:
    options = {"tokens_per_batch": 300, "progress": False}
    items = Dataset.from_list(rows["items"])
    predict.predict(items, *models.load(model), folder / "run", **options)


def generate(folder: Path, model: str, rows: dict) -> None:
    options = {"method": "generate", "batch_size": 4, "max_new_tokens": 8}
    items = Dataset.from_list(rows["items"])
    loaded = models.load(model)
    predict.predict(items, *loaded, folder / "run", progress=False, **options)


def annotate(folder: Path, model: str, rows: dict) -> None:
    source = folder.parent / "texts.csv"
    for name in ("out.csv", "out.parquet"):
        options = {"tasks": ("V-reg", "E-c"), "files": QUIET}
        annotate_file.annotate_file(source, folder / name, model=model, **options)


def tune(folder: Path, model: str, rows: dict) -> None:
    train, validation = map(Dataset.from_list, rows["training"])
    finetune(train, validation, model, folder / "run", **TUNING)


WORKS = {work.__name__: work for work in (constrain, generate, annotate, tune)}
OUTPUTS = {
    "constrain": ["run/responses.jsonl"],
    "generate": ["run/responses.jsonl"],
    "annotate": ["out.csv", "out.parquet"],
    "tune": ["run/adapter/adapter_model.safetensors"],
}
every_work = pytest.mark.parametrize("name", WORKS)


def live(name: str, given: tuple, folder: Path, at: int | None, room: int | None):
    """What a child does: at its n-th change to a file it dies, or its disk is full."""
    torch.set_num_threads(1)
    seen = [0]

    def watch(event: str, about: tuple) -> None:
        writes = event == "open" and about[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes and event not in ("os.rename", "os.remove", "os.rmdir"):
            return
        seen[0] += str(folder) in str(about[0])
        if seen[0] == at and room is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif seen[0] == at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    sys.addaudithook(watch)
    said = Path(f"{folder}.said")
    said.touch()
    try:
        WORKS[name](folder, *given)
    except Exception as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        said.write_text(f"{type(error).__name__}: {error}")
        sys.exit(1)
    said.write_text(str(seen[0]))


def start(name: str, given: tuple, folder: Path, at=None, room=None):
    """A child process at work in `folder`."""
    folder.mkdir(exist_ok=True)
    child = CHILDREN.Process(target=live, args=(name, given, folder, at, room))
    child.start()
    return child


def finish(child, folder: Path) -> str:
    """What a child said in the end."""
    child.join(120)
    assert child.exitcode is not None, "still at work after two minutes"
    return Path(f"{folder}.said").read_text()


def read_outputs(name: str, folder: Path) -> list[bytes]:
    return [(folder / path).read_bytes() for path in OUTPUTS[name]]


def count_done(name: str, folder: Path) -> int:
    """How many batches, chunks or checkpoints are there, a torn one included."""
    if all((folder / path).is_file() for path in OUTPUTS[name]):
        return 10**6
    if name == "annotate":
        first = (folder / "out.csv").is_file()
        now = folder / ("out.parquet.run" if first else "out.csv.run") / "parts"
        return 1000 * first + len(list(now.glob("0*.parquet")))
    if name == "tune":
        found = (folder / "run").glob("checkpoints/checkpoint-*")
        return max((int(path.name.split("-")[1]) // 2 for path in found), default=0)
    partial = folder / "run" / "responses.partial.jsonl"
    lines = partial.read_bytes().split(b"\n")[:-1] if partial.is_file() else []
    return len({json.loads(line)["batch"] for line in lines})


@pytest.fixture(scope="module")
def given(tiny_model, sample_aeb, sample_aaid) -> tuple:
    """The model's name, and rows that can be sent to a child."""
    train, validation = sample_aaid["train"], sample_aaid["validation"]
    items = sample_aeb.select(range(0, len(sample_aeb), 2))
    training = [train.select(range(40)).to_list(), validation.select(range(8)).to_list()]
    return tiny_model, {"items": items.to_list(), "training": training}


@pytest.fixture(scope="module")
def place(sample_aeb, tmp_path_factory) -> Path:
    """A folder with the texts to annotate; children work in folders in it."""
    folder = tmp_path_factory.mktemp("faults")
    texts = sorted(set(sample_aeb["text"]))[:56]
    table = pd.DataFrame({"number": range(60), "text": [*texts, *texts[:4]]})
    table.to_csv(folder / "texts.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def undisturbed(given, place):
    """Name of a work -> its outputs, seconds and changes to files, nothing amiss."""
    found: dict = {}

    def find(name: str) -> tuple[list[bytes], float, int]:
        if name not in found:
            # The first child waits for the fork server to import everything.
            finish(start(name, given, place / f"first-{name}"), place / f"first-{name}")
            begun, folder = time.perf_counter(), place / name
            said = finish(start(name, given, folder), folder)
            seconds = time.perf_counter() - begun
            found[name] = read_outputs(name, folder), seconds, int(said)
            assert found[name][0] == read_outputs(name, place / f"first-{name}")
        return found[name]

    return find


@pytest.mark.slow
@every_work
def test_work_killed_at_random_moments_ends_with_the_same_bytes(name, given, place, undisturbed):
    expected, seconds, changes = undisturbed(name)
    chance, kills, before = random.Random(name), {"late": [], "write": []}, 0
    folder, ended = place / f"{name}-0", 0
    for _ in range(150):
        midway = [done for done in kills["late"] if 0 < done < 10**6]
        if len(kills["late"]) >= 20 and len(midway) >= 5 and len(kills["write"]) >= 2:
            break
        write = chance.random() < 0.25  # to die at a change to a file, or whenever
        at = chance.randint(1, changes) if write else None
        child = start(name, given, folder, at)
        child.join(60 if write else chance.uniform(0, 1.1 * seconds))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            child.join()
        if child.exitcode == -signal.SIGKILL:
            done = count_done(name, folder)
            assert done >= before - 1, "finished work was lost"
            kills["write" if write else "late"].append(done)
            before, ended = done, 0
            seconds *= 1 if done else 1.2  # the machine is busier than it was
            continue
        assert child.exitcode == 0, finish(child, folder)
        assert read_outputs(name, folder) == expected
        folder, before, ended = place / f"{name}-{chance.random()}", 0, ended + 1
        seconds *= 0.7 if ended > 1 else 1  # or less busy
    else:
        pytest.fail(f"too few kills midway: {kills}")
    assert finish(start(name, given, folder), folder).isdigit()
    assert read_outputs(name, folder) == expected
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["constrain", "generate"])
def test_prediction_killed_before_its_record_is_not_computed_again(name, given, tmp_path):
    few = given[0], {"items": given[1]["items"][:6]}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "finish", interrupt)
        WORKS[name](tmp_path, *few)
    before = read_outputs(name, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constrained, "predict", lambda *_: pytest.fail("computed again"))
        patch.setattr(predict, "_generate", lambda *_: pytest.fail("computed again"))
        WORKS[name](tmp_path, *few)
    assert read_outputs(name, tmp_path) == before
    assert "finished" in runs.read(tmp_path / "run")


def test_training_killed_after_its_last_checkpoint_is_not_trained_on(
    given, undisturbed, tmp_path, monkeypatch
):
    def rotate(output_dir: str, **_) -> None:
        if Path(output_dir, f"checkpoint-{TUNING['max_steps']}").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "rotate_checkpoints", rotate)
        tune(tmp_path, *given)
    tune(tmp_path, *given)
    assert runs.read(tmp_path / "run")["steps"] == TUNING["max_steps"]
    assert read_outputs("tune", tmp_path) == undisturbed("tune")[0]


def test_training_killed_twice_at_the_same_checkpoint_goes_on(
    given, undisturbed, tmp_path, monkeypatch
):
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(trainer.TrainerState, "save_to_json", interrupt)
            tune(tmp_path, *given)
    tune(tmp_path, *given)
    assert read_outputs("tune", tmp_path) == undisturbed("tune")[0]


def interrupt(*_, **__):
    raise KeyboardInterrupt


# A limit on the size of a file is a full disk that needs no rights to make: Python gets
# an OSError, torch and safetensors errors of their own. Numbers: file change, bytes.
FULL = {
    "at once": ("constrain", 1, 0),
    "responses": ("constrain", 1, 9000),
    "written answers": ("generate", 1, 9000),
    "a chunk": ("annotate", 25, 1000),
    "a record": ("annotate", 1, 100),
    "a checkpoint's weights": ("tune", 60, 5000),
    "a checkpoint's optimizer": ("tune", 60, 300_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FULL)
def test_full_disk_is_said_and_the_same_call_goes_on(case, given, place, undisturbed):
    name, at, room = FULL[case]
    folder = place / f"full {case}"
    said = finish(start(name, given, folder, at, room), folder)
    assert said.startswith("DataError: ") and str(folder) in said
    assert "cannot write" in said and (at == 1 or "make room" in said)
    done = count_done(name, folder)
    assert done or room < 1000
    assert finish(start(name, given, folder), folder).isdigit()
    assert read_outputs(name, folder) == undisturbed(name)[0]


@pytest.fixture
def mount(tmp_path):
    """A function: options -> a file system of its own, where the test may have one."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def call(options: str) -> Path:
        ask = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(ask, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"may not mount a file system: {done.stderr.strip()}")
        return folder

    yield call
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


@every_work
def test_device_without_room_is_said_and_more_room_mends_it(name, given, place, undisturbed, mount):
    expected, folder = undisturbed(name)[0], mount("size=2m")
    shutil.copy(place / "texts.csv", folder.parent)
    room = {"tune": 1_000_000, "annotate": 100_000}.get(name, 16_000)
    (folder / "filler").write_bytes(bytes(2 * 2**20 - room))
    why = ".*" if name == "tune" else ".*No space left.*"  # torch does not say why
    with pytest.raises(DataError, match=f"{folder}/.*: cannot write: {why}make room"):
        WORKS[name](folder, *given)
    assert 0 < count_done(name, folder) < 10**6
    (folder / "filler").unlink()
    WORKS[name](folder, *given)
    assert read_outputs(name, folder) == expected


@every_work
def test_folder_on_a_device_that_cannot_be_written_is_named(name, given, place, mount):
    folder = mount("size=1m")
    (folder / "run").mkdir()
    shutil.copy(place / "texts.csv", folder.parent)
    mount("remount,ro")
    with pytest.raises(DataError, match=f"{folder}.*cannot write.*Read-only"):
        WORKS[name](folder, *given)


@every_work
def test_folder_in_a_file_is_named(name, given, place, tmp_path):
    shutil.copy(place / "texts.csv", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"{tmp_path / 'file'}"):
        WORKS[name](tmp_path / "file", *given)


@every_work
@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "predict"}', "\x00" * 9])
def test_run_without_a_whole_record_is_refused(name, given, place, tmp_path, content):
    shutil.copy(place / "texts.csv", tmp_path)
    run = tmp_path / "work" / ("out.csv.run" if name == "annotate" else "run")
    run.mkdir(parents=True)
    (run / "run.json").write_text(content)
    with pytest.raises(DataError, match=f"{run}/run.json.*: remove {run} to start"):
        WORKS[name](run.parent, *given)
    # A trainer makes its empty folder of checkpoints before the run is opened.
    files_there = [p.name for p in run.rglob("*") if p.is_file() and p.name != ".lock"]
    assert files_there == ["run.json"]


@pytest.fixture
def begun(place, tmp_path):
    """The options of an annotation in chunks of four whose first three are there."""
    original, calls = judging.Annotator.__call__, []

    def call(*given):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)

    options = {"source": place / "texts.csv", "target": tmp_path / "out.csv"}
    options |= {"model": "vader", "files": QUIET}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(judging.Annotator, "__call__", call)
        annotate_file.annotate_file(**options)
    return options


def shorten(part: Path) -> None:
    pd.read_parquet(part).head(3).to_parquet(part)


def truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-9])


def empty(part: Path) -> None:
    part.write_bytes(b"")


def rename(part: Path) -> None:
    pd.read_parquet(part).rename(columns={"valence": "arousal"}).to_parquet(part)


def widen(part: Path) -> None:
    pd.read_parquet(part).assign(arousal=0.5).to_parquet(part)


def garble(part: Path) -> None:
    pd.read_parquet(part).assign(valence="high").to_parquet(part)


@pytest.mark.parametrize("damage", [shorten, truncate, empty, rename, widen, garble])
def test_damaged_chunk_is_refused_until_it_is_removed(begun, damage):
    part = Path(f"{begun['target']}.run/parts/00000001.parquet")
    damage(part)
    with pytest.raises(DataError, match=f"{part}: .*: remove it and resume"):
        annotate_file.annotate_file(**begun)
    part.unlink()
    found = pd.read_csv(annotate_file.annotate_file(**begun))
    assert found["number"].tolist() == list(range(60)) and found["valence"].all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": annotate_file.Settings(chunk=5, resume=True)}, "chunk was 4, now 5"),
        ({"max_tokens": 9}, "max_tokens was 512, now 9"),
        ({"model": "textblob"}, "model was 'vader', now 'textblob'"),
        ({"text_column": "number"}, "text_column was 'text', now 'number'"),
        ({"source": "other.csv"}, r"input was '\w+', now '\w+'.*; rows was 60, now 1"),
    ],
)
def test_annotation_with_other_settings_is_refused(begun, change, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("text,number\nfine,1\n")
    with pytest.raises(DataError, match=f"made with other settings .*{reason}"):
        annotate_file.annotate_file(**begun | change)


LINES = {"half": b'{"batch": 0, "ro', "list": b"[1]", "bytes": b"\xff\x00", "none": b""}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("file", ["responses.partial.jsonl", "responses.jsonl"])
def test_damaged_line_of_responses_is_refused_by_number(line, file, given, tmp_path):
    model, rows = given
    few = model, {"items": rows["items"][:6]}
    constrain(tmp_path, *few)
    run = tmp_path / "run"
    whole = (run / "responses.jsonl").read_bytes()
    if "partial" in file:
        record = runs.read(run)
        del record["finished"]
        files.write_json(run / "run.json", record)
    (run / file).write_bytes(LINES[line] + b"\n" + whole)
    with pytest.raises(DataError, match=f"{run / file}:1: damaged .*remove the line"):
        constrain(tmp_path, *few)


@pytest.mark.parametrize("change", [{"row": 999}, {"batch": 9999}, {"batch": "x"}])
def test_batch_of_other_rows_is_computed_again(change, given, tmp_path):
    few = given[0], {"items": given[1]["items"][:20]}
    constrain(tmp_path / "a", *few)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict, "write_responses", interrupt)
        constrain(tmp_path / "b", *few)
    partial = tmp_path / "b" / "run" / "responses.partial.jsonl"
    lines = [json.loads(line) for line in partial.open()]
    lines[1] |= change
    partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
    constrain(tmp_path / "b", *few)
    assert read_outputs("constrain", tmp_path / "b") == read_outputs("constrain", tmp_path / "a")


def wait_for(path: Path) -> None:
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"no {path} after half a minute")


@pytest.mark.slow
@every_work
def test_second_process_is_refused_and_disturbs_nothing(name, given, place, undisturbed):
    folder = place / f"both {name}"
    child = start(name, given, folder)
    wait_for(folder / ("out.csv.run" if name == "annotate" else "run") / "run.json")
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(DataError, match="another process works in this run folder"):
        WORKS[name](folder, *given)
    os.kill(child.pid, signal.SIGCONT)
    assert finish(child, folder).isdigit()
    assert read_outputs(name, folder) == undisturbed(name)[0]


@pytest.mark.parametrize("how", ["overwrite", "resume", "anew"])
@pytest.mark.parametrize("given_by", ["file", "standard input"])
def test_second_annotation_is_refused_and_leaves_the_first(
    how, given_by, place, tmp_path, monkeypatch
):
    target = tmp_path / "out.csv"
    source = place / "texts.csv" if given_by == "file" else "-"
    monkeypatch.setattr(sys, "stdin", (place / "texts.csv").open())
    files = annotate_file.Settings(overwrite=how == "overwrite", resume=how == "resume")
    with runs.locked(f"{target}.run") as folder:
        (folder / "parts").mkdir()
        (folder / "input").mkdir()
        (folder / "input" / "stdin").write_text("of the first")
        with pytest.raises(DataError, match="another process works in this run"):
            annotate_file.annotate_file(source, target, model="vader", files=files)
        assert (folder / "input" / "stdin").read_text() == "of the first"
        assert (folder / "parts").is_dir()


@pytest.fixture(params=[MemoryError(), RuntimeError(NO_MEMORY)], ids=["python", "torch"])
def limit(request, monkeypatch):
    """A function: owner, name, a batch's size -> memory for batches up to so many."""

    def call(owner, name: str, measure, most: int) -> None:
        original = getattr(owner, name)

        def work(*given, **more):
            if measure(*given) > most:
                raise request.param
            return original(*given, **more)

        monkeypatch.setattr(owner, name, work)
        monkeypatch.setattr(tree_attention, "fits", lambda *_: True)  # it tries a prompt

    return call


def count_prompts(_, __, batch, *___) -> int:
    return len(batch)


def count_ends(_, row) -> int:
    return len(row.ends)


def test_written_answers_are_the_same_with_less_memory(limit, given, tmp_path, monkeypatch, capsys):
    few = given[0], {"items": given[1]["items"][:30]}
    generate(tmp_path / "a", *few)
    limit(predict, "_generate", count_prompts, 1)
    generate(tmp_path / "b", *few)
    assert "Out of memory with 4 prompts: going on with 2." in capsys.readouterr().out
    assert read_outputs("generate", tmp_path / "b") == read_outputs("generate", tmp_path / "a")


def test_annotation_is_the_same_with_less_memory(limit, given, place, capsys):
    texts = pd.read_csv(place / "texts.csv")["text"].head(12)
    annotator = judging.Annotator(given[0], progress=False)
    expected = annotator(texts)
    limit(tree_attention, "encode", count_ends, 3)
    found = judging.annotate(texts, given[0], progress=False)
    assert "Out of memory with" in capsys.readouterr().out
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["constrain", "generate"])
def test_prompt_that_does_not_fit_alone_is_an_error(name, limit, given, tmp_path):
    limit(tree_attention, "encode", count_ends, 0)
    limit(predict, "_generate", count_prompts, 0)
    few = given[0], {"items": given[1]["items"][:3]}
    with pytest.raises((MemoryError, RuntimeError), match=r"memory|^$"):
        WORKS[name](tmp_path, *few)


@pytest.mark.parametrize("name", ["generate", "annotate", "tune"])
def test_other_errors_are_not_taken_for_memory(name, given, place, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    shutil.copy(place / "texts.csv", tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(predict, "_generate", fail)
    monkeypatch.setattr(tree_attention, "encode", fail)
    monkeypatch.setattr(tree_attention, "fits", lambda *_: True)  # it tries a prompt
    monkeypatch.setattr(SharedPromptTrainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        WORKS[name](tmp_path / "work", *given)
    assert "Out of memory" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def straight(given, tmp_path_factory) -> dict:
    """The weights of a run without dropout, whose masks hang on the micro-batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TUNING, "lora_dropout", 0.0)
        folder = tmp_path_factory.mktemp("straight")
        tune(folder, *given)
    return load_file(folder / OUTPUTS["tune"][0])


def test_training_is_the_same_with_less_memory(
    limit, given, straight, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(TUNING, "lora_dropout", 0.0)

    def measure(ours, *_) -> int:  # from the fifth step on
        late = ours.state.global_step > 4
        return ours.args.per_device_train_batch_size if late else 0

    limit(SharedPromptTrainer, "training_step", measure, 1)
    tune(tmp_path, *given)
    said = capsys.readouterr().out
    for number in (2, 1):
        assert f"Out of memory: going on with micro-batches of {number}." in said
    assert f"Going on from {tmp_path}/run/checkpoints/checkpoint-4." in said
    assert runs.read(tmp_path / "run")["micro_batch_size"] == 1
    found = load_file(tmp_path / OUTPUTS["tune"][0])
    assert found.keys() == straight.keys()
    for name, weights in found.items():
        torch.testing.assert_close(weights, straight[name], rtol=0, atol=2e-3)


def test_row_that_does_not_fit_alone_ends_the_training(limit, given, tmp_path):
    limit(SharedPromptTrainer, "training_step", lambda *_: 1, 0)
    with pytest.raises((MemoryError, RuntimeError), match=r"memory|^$"):
        tune(tmp_path, *given)
