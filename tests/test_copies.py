"""Copies of one model side by side; the commands that make and send them."""

import pytest
from typer.testing import CliRunner

from emolib import DataError, cli, models
from emolib.publishing import gguf
from emolib.training import finetune


@pytest.fixture(scope="module")
def run(sample_aaid, tiny_model, tmp_path_factory):
    """A finished run of one step."""
    train = sample_aaid["train"].select(range(16))
    folder = tmp_path_factory.mktemp("runs") / "one"
    return finetune.finetune(
        *(train, train.select(range(8)), tiny_model, folder),
        quantization=None,
        max_steps=2,
        batch_size=8,
        micro_batch_size=8,
        learning_rate=1e-2,
        progress=False,
    )


@pytest.fixture(scope="module")
def merged(run, tmp_path_factory):
    return gguf.merge(run, tmp_path_factory.mktemp("merged") / "m", "float32")


@pytest.fixture(scope="module")
def items(sample_aeb):
    return sample_aeb.select(range(0, len(sample_aeb), 15))


def test_copies_are_measured_and_read_back(run, merged, items, tmp_path, monkeypatch):
    given = {
        "apart": {"name": str(run)},
        "merged": {"name": str(merged)},
        "four bits": {"name": str(merged), "quantization": "nf4"},
    }
    table, found = gguf.compare(items, given, tmp_path)
    assert table["copy"].tolist() == list(given) == list(found)
    assert table.loc[0, ["moved", "most_moved"]].tolist() == [0, 0]
    assert table.loc[1, "most_moved"] < 1e-4 < table.loc[2, "most_moved"] < 1
    assert table.loc[2, "megabytes"] < table.loc[1, "megabytes"]
    assert (
        (table["items_per_second"] * table["seconds"] / len(items))
        .between(0.9, 1.1)
        .all()
    )
    monkeypatch.setattr(models, "load", None)  # would fail if it were called
    again, _ = gguf.compare(items, given, tmp_path)
    assert again.equals(table)


def test_interrupted_copy_has_answers_and_no_time(merged, items, tmp_path, monkeypatch):
    given = {"merged": {"name": str(merged)}}
    from emolib.inference import predict

    write = predict.write_responses
    monkeypatch.setattr(
        predict, "write_responses", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        gguf.compare(items, given, tmp_path)
    monkeypatch.setattr(predict, "write_responses", write)
    table, found = gguf.compare(items, given, tmp_path)
    assert len(found["merged"]) == len(items) and table["seconds"].isna().all()


def test_full_disk_leaves_no_half_model(run, tmp_path, monkeypatch):
    def save(self, folder, **_):
        (folder / "model.safetensors").parent.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    with pytest.raises(DataError, match="No space left"):
        gguf.merge(run, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def call(*words: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, list(words))


def test_merge_and_its_refusals_on_the_command_line(run, tmp_path):
    done = call("merge", str(run), str(tmp_path / "m"), "--dtype", "float32")
    assert done.exit_code == 0 and str(tmp_path / "m") in done.stdout
    assert models.load(tmp_path / "m")[0].settings["adapter"] is None
    again = call("merge", str(run), str(tmp_path / "m"))
    assert again.exit_code == 1 and "there already" in again.stderr


def test_convert_without_llama_cpp_says_what_is_missing(merged, tmp_path):
    done = call("convert", str(merged), str(tmp_path / "x.gguf"), "--converter", "/no")
    assert done.exit_code == 1 and "make llamacpp" in done.stderr
    assert not list(tmp_path.iterdir())


def test_push_is_a_dry_run_unless_told_otherwise(tmp_path, monkeypatch):
    from emolib.publishing.cards import upload

    monkeypatch.setattr(upload, "upload", None)
    out = tmp_path / "out"
    words = ["--run", "emo-smollm2-135m", "--data", "official"]
    done = call("push", "adapter", "me/emo", str(out), *words)
    assert done.exit_code == 0 and "adapter_model.safetensors" in done.stdout
    assert (out / "README.md").is_file()
    nothing = call("push", "adapter", "me/emo", str(tmp_path / "no"))
    assert nothing.exit_code == 1 and "--run" in nothing.stderr
    builder = call("push", "builder", "me/aaid", str(tmp_path / "b"))
    assert builder.exit_code == 0 and "instructions.jsonl" in builder.stdout


def test_train_reports_a_bad_run_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("lora_rnk: 3\n")
    done = call("train", str(path))
    assert done.exit_code == 1 and "no parameter 'lora_rnk'" in done.stderr
