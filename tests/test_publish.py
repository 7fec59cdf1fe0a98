"""What is written for the Hub, what is refused, and what an upload sends."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from huggingface_hub import DatasetCard, ModelCard, constants
from peft import LoraConfig, get_peft_model
from transformers.pipelines import SUPPORTED_TASKS

from emolib import DataError, files, models
from emolib.data import corpora
from emolib.inference import profile
from emolib.publishing import cards, hub
from emolib.tasks import AAID

SCORES = Path(__file__).parents[1] / "figures" / "data" / "semeval_cpu_scores.csv"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
GIVEN = {"data": "sample", "base": BASE}
TOKEN = "hf_" + "Ab1" * 12
BUNDLED = "emo-smollm2-135m"
ADAPTER = ["README.md", "adapter_config.json", "adapter_model.safetensors", "run.json"]


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A finished run on a local folder, its adapter random."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    torch.manual_seed(0)
    lora = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(models.load(tiny_model)[0], lora)
    model.save_pretrained(folder / "adapter")
    settings = {"model": tiny_model, "prompt_form": "paper", "train": {"rows": 16}}
    settings |= {"lora_rank": 8, "lora_alpha": 8, "learning_rate": 1e-3, "seed": 0}
    record = {"kind": "finetune", "settings": settings, "finished": "2026-01-01"}
    files.write_json(folder / "run.json", record)
    return folder


@pytest.fixture
def scores(run, tmp_path):
    """The committed scores, as if they had been measured on the run's adapter."""
    frame = pd.read_csv(SCORES)
    tuned = frame["model"] == "tuned"
    frame.loc[tuned, "adapter_weights"] = models.hash_weights(run / "adapter")
    frame.to_csv(tmp_path / "mine_scores.csv", index=False)
    return tmp_path / "mine_scores.csv"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fails a test that calls the Hub where it should not."""
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("HfApi was called"))


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "run"))


class Hub:
    """Stands for HfApi; `fault` is raised, `files` are what was uploaded."""

    def __init__(self, public=False, fault=None):
        self.public, self.fault, self.created, self.files = public, fault, [], {}

    def create_repo(self, repo_id, repo_type, private, exist_ok):
        if self.fault:
            raise self.fault
        self.created.append((repo_id, repo_type, private))
        return f"https://huggingface.co/{repo_id}"

    def repo_info(self, repo_id, repo_type):
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, folder_path, allow_patterns, **_):
        self.files = {name: (folder_path / name).read_bytes() for name in allow_patterns}


@pytest.fixture
def connect(monkeypatch):
    """A function that puts a stand-in for the Hub, and a login, in place."""

    def use(**kinds):
        fake = Hub(**kinds)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(hub, "HfApi", lambda: fake)
        return fake

    return use


def push(run, folder, **given):
    """The card of an adapter that was pushed into `folder`."""
    hub.push_adapter(run, "ann/emo", folder, **GIVEN | given)
    return ModelCard.load(folder / "README.md")


def refuse(match, run, folder, **given):
    with pytest.raises(DataError, match=match):
        hub.push_adapter(run, "ann/emo", folder, **GIVEN | given)
    assert not folder.exists()


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_bundled_adapter_is_written_without_network(tmp_path):
    push = hub.push_adapter(BUNDLED, "ann/emo", tmp_path / "out", data="official")
    assert list(push.files) == ADAPTER and push.url is None
    assert "dry run, nothing uploaded" in str(push)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.base_model, card.data.library_name) == (BASE, "peft")
    assert card.data.license_name == "apache-2.0-and-semeval-2018-research-only"
    assert "None are published" in card.text and "26,240 rows" in card.text
    assert "mean of this run and 1 more" in card.text and "GGUF copy" in card.text


def test_adapter_loads_again_and_answers_like_the_run(run, tiny_model, tmp_path):
    push(run, tmp_path / "out")
    model, tokenizer = models.load(tiny_model, adapter=tmp_path / "out")
    ids = tokenizer("I got the job!!!", return_tensors="pt").input_ids
    torch.testing.assert_close(model(ids).logits, models.load(run)[0](ids).logits)


def test_config_and_record_name_the_base_on_the_hub(run, tmp_path):
    push(run, tmp_path / "out", revision="0123abc")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, "0123abc")
    assert record["settings"]["model"] == BASE


def test_merged_model_answers_like_the_adapter(run, tiny_model, tmp_path):
    given = GIVEN | {"dtype": "float16"}
    hub.push_model(run, "ann/emo", tmp_path / "out", **given)
    whole, tokenizer = models.load(tmp_path / "out")
    ids = tokenizer("I got the job!!!", return_tensors="pt").input_ids
    tuned, base = (models.load(run)[0](ids).logits, models.load(tiny_model)[0](ids).logits)
    assert (whole(ids).logits - tuned).abs().max() < 0.05 < (base - tuned).abs().max()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "transformers" and "(float16)" in card.text
    assert b"local" not in (tmp_path / "out" / "tokenizer_config.json").read_bytes()


def test_run_that_tuned_all_weights_is_published_as_it_is(run, tiny_model, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(tiny_model, whole / "model")
    shutil.copy(run / "run.json", whole)
    hub.push_model(whole, "ann/emo", tmp_path / "out", **GIVEN)
    assert "all weights tuned" in (tmp_path / "out" / "README.md").read_text()
    refuse("no weights in adapter/", whole, tmp_path / "a")


def test_no_token_and_no_path_of_this_machine_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(run, tmp_path / "a")
    hub.push_model(run, "ann/emo", tmp_path / "m", **GIVEN)
    hub.push_builder("ann/aaid", tmp_path / "b")
    for path in tmp_path.rglob("*.*"):
        text = path.read_bytes().decode(errors="replace")
        assert TOKEN not in text and str(tmp_path.parent.parent) not in text
        if path.name != "tokenizer.json":
            assert not re.search(r"[\s\"'](/(home|root|tmp|Users|work)/|~/)", text)


def test_other_files_of_the_run_stay_at_home(copy, tmp_path):
    (copy / "adapter" / "notes.txt").write_text(TOKEN)
    push(copy, tmp_path / "out")
    assert sorted(read_all(tmp_path / "out")) == ADAPTER


def test_token_in_a_record_stops_the_push(copy, tmp_path):
    change(copy / "run.json", machine=TOKEN)
    refuse("README.md would contain a token", copy, tmp_path / "out")


def test_paths_in_a_record_are_left_out():
    record = {"settings": {"model": "x", "cache": "C:\\mine"}, "notes": ["~/a", 1]}
    kept = {"settings": {"model": BASE, "cache": None}, "notes": [None, 1]}
    assert cards.remove_paths(record, BASE) == kept


def test_model_index_has_the_values_of_the_file(run, scores, tmp_path):
    found = push(run, tmp_path / "out", scores=scores).data.eval_results
    rows = pd.read_csv(scores).query("model == 'tuned'").to_dict("records")
    assert len(found) == len(rows) == 15
    for result, row in zip(found, rows, strict=True):
        assert (result.task_name, result.metric_value) == (row["task"], row["value"])
        args = {name: row[name] for name in ("low", "high", "n", "unparsed")}
        assert result.metric_args == args


def test_card_shows_each_score_with_interval_and_counts(run, scores, tmp_path):
    card = push(run, tmp_path / "out", scores=scores)
    assert "| EI-reg | pearson | 0.65 [0.61, 0.69] | 800 | 0 |" in card.text
    assert "2200 of 13269 items" in card.text and "decoding: greedy" in card.text
    assert card.data.metrics == ["f1", "jaccard", "pearsonr"]
    assert "[0.61, 0.69], n = 800" in card.data.eval_results[0].metric_name


def test_scores_of_other_weights_are_refused(tmp_path):
    given = {"data": "official", "scores": SCORES}
    refuse("scores of other weights", BUNDLED, tmp_path / "out", **given)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("data", "sample", "mine_scores.csv:2: scores on the sample say nothing"),
        ("value", "high", "a number is missing"),
        ("unparsed", "", "a number is missing"),
        ("task", "X-reg", "no such task"),
        ("model", "other", "no model 'tuned' there: scored= is one of other"),
    ],
)
def test_bad_scores_are_refused(run, scores, tmp_path, column, value, reason):
    frame = pd.read_csv(scores).query("model == 'tuned'").astype({column: object})
    frame[column] = value
    frame.to_csv(scores, index=False)
    refuse(reason, run, tmp_path / "out", scores=scores)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"base": None}, "not a Hub id: give base="),
        ({"base": "a/b/c"}, "not a Hub id: give base="),
        ({"base": "ann/model"}, "licence of ann/model is not known here: base_license="),
        ({"data": None}, "data= is official"),
        ({"data": "ann/rows"}, "name its licence too"),
        ({"date": "official"}, "no publishing setting date"),
    ],
)
def test_missing_setting_is_named(run, tmp_path, given, reason):
    refuse(reason, run, tmp_path / "out", **given)


def test_other_corpus_has_its_own_licence(run, tmp_path):
    card = push(run, tmp_path / "out", data="ann/rows", data_license="cc-by-4.0")
    assert card.data.datasets == ["ann/rows"]
    assert card.data.license_name == "apache-2.0-and-cc-by-4.0"
    assert "| training data, ann/rows | cc-by-4.0 |" in card.text


def test_recorded_data_need_not_be_named(copy, tmp_path):
    record = json.loads((copy / "run.json").read_text())
    change(copy / "run.json", settings=record["settings"] | {"data": "sample"})
    card = push(copy, tmp_path / "out", data=None)
    assert "It is no model\nto use" in card.text and card.data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("name", "base"),
    [("smollm2-135m", BASE), ("Emollama-7b", "lzw1008/Emollama-7b"), ("a/b", "a/b")],
)
def test_base_is_named_as_on_the_hub(name, base):
    assert cards.name_base(name) == base


def test_unfinished_run_is_refused(copy, tmp_path):
    change(copy / "run.json", kind="predict")
    refuse("no finished fine-tuning run", copy, tmp_path / "out")


def test_damaged_configuration_is_refused(copy, tmp_path):
    (copy / "adapter" / "adapter_config.json").write_text("[1]")
    refuse("no model's configuration", copy, tmp_path / "out")


@pytest.mark.parametrize("repo", ["emo", "a/b/c", "ann/.git", "ann/m l", ""])
def test_bad_repository_name_is_refused(run, tmp_path, repo):
    with pytest.raises(DataError, match="expected OWNER/NAME"):
        hub.push_adapter(run, repo, tmp_path / "out", **GIVEN)


def test_model_in_four_bits_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="expected one of bfloat16, float16"):
        hub.push_model(run, "a/b", tmp_path / "out", **GIVEN | {"dtype": "nf4"})


def test_encoder_decoder_has_its_own_tag_and_class(copy, tmp_path):
    change(copy / "adapter" / "adapter_config.json", task_type="SEQ_2_SEQ_LM")
    card = push(copy, tmp_path / "out")
    assert card.data.pipeline_tag == "text2text-generation"
    assert "AutoModelForSeq2SeqLM" in card.text and "input_ids.shape" not in card.text


def test_example_in_the_card_is_code_with_the_prompt_of_the_training(tmp_path):
    hub.push_adapter(BUNDLED, "ann/emo", tmp_path / "out", data="official")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    code = re.search(r"```python\n(.*?)```", card.text, re.DOTALL).group(1)
    compile(code, "card", "exec")
    assert "I got the job!!! Intensity Score: \\n\\nAssistant:\\n" in code
    assert card.data.pipeline_tag in SUPPORTED_TASKS


def test_example_of_a_profile_reads_the_score_that_annotate_gives(
    copy, tiny_model, tmp_path, capsys
):
    record = json.loads((copy / "run.json").read_text())
    record["settings"]["prompt_form"] = "profile"
    files.write_json(copy / "run.json", record)
    text = push(copy, tmp_path / "out").text
    assert "end of every question" in text and "--form profile" in text
    code = "question = " + text.partition("question = ")[2].partition("```")[0]
    model, tokenizer = models.load(tiny_model, device="cpu")
    exec(code, {"model": model, "tokenizer": tokenizer, "torch": torch})
    digits, _ = profile.predict(model, tokenizer, ["I got the job!!!"])
    assert float(capsys.readouterr().out) == pytest.approx(digits[0, 4] @ profile.DIGITS, abs=1e-5)


def test_builder_contains_instructions_and_no_text_of_a_corpus(tmp_path):
    push = hub.push_builder("ann/aaid", tmp_path / "out")
    whole = "\n".join(map(bytes.decode, read_all(push.folder).values())).lower()
    texts = pd.concat(corpora.read(task, "train", "sample") for task in AAID)["text"]
    assert not [text for text in texts.unique() if text.lower() in whole]
    data = DatasetCard.load(push.folder / "README.md").data
    rows = pd.read_json(push.folder / data.configs[0]["data_files"], lines=True)
    assert rows.groupby("task").size().to_dict() == dict.fromkeys(AAID, 10)
    assert data.license == "mit"


def test_builder_contains_no_tweet(tmp_path, real_data):
    push = hub.push_builder("ann/aaid", tmp_path / "out")
    whole = "\n".join(map(bytes.decode, read_all(push.folder).values())).lower()
    texts = corpora.read("E-c", "train")["text"].str.lower().unique()
    assert not [text for text in texts if len(text) > 20 and text in whole]


def test_published_script_builds_aaid(tmp_path, monkeypatch, capsys):
    hub.push_builder("ann/aaid", tmp_path / "out")
    given = ["build_aaid.py", str(tmp_path / "built"), "--data", "sample"]
    monkeypatch.setattr(sys, "argv", given)
    runpy.run_path(str(tmp_path / "out" / "build_aaid.py"), run_name="__main__")
    assert "train" in capsys.readouterr().out
    assert (tmp_path / "built" / "data" / "train.parquet").is_file()


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_interrupted_write_leaves_what_was_there(run, tmp_path, monkeypatch, fault):
    push(run, tmp_path / "out")
    before = read_all(tmp_path / "out")

    def stop(*_):
        raise fault

    monkeypatch.setattr(shutil, "copyfile", stop)
    with pytest.raises((DataError, KeyboardInterrupt)):
        push(run, tmp_path / "out", revision="other")
    assert read_all(tmp_path / "out") == before
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_folder_with_other_files_is_not_replaced(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"contains thesis.tex: name a new folder"):
        push(run, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_upload_sends_exactly_what_the_dry_run_wrote(run, tmp_path, connect):
    push(run, tmp_path / "dry")
    fake = connect()
    given = GIVEN | {"dry_run": False}
    found = hub.push_adapter(run, "ann/emo", tmp_path / "real", **given)
    assert fake.files == read_all(tmp_path / "dry")
    assert fake.created == [("ann/emo", "model", True)]
    assert "uploaded to https://huggingface.co/ann/emo" in str(found)


def test_builder_goes_to_a_dataset_repository(tmp_path, connect):
    fake = connect(public=True)
    hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False, private=False)
    assert fake.created == [("ann/aaid", "dataset", False)] and len(fake.files) == 4


def test_public_repository_refuses_a_private_push(tmp_path, connect):
    fake = connect(public=True)
    with pytest.raises(DataError, match="public on the Hub: say so"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert not fake.files


def test_upload_needs_a_login_before_anything_is_written(tmp_path, monkeypatch, connect):
    connect()
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(DataError, match="hf auth login"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert not (tmp_path / "out").exists()


def test_refusal_of_the_hub_says_what_to_do(tmp_path, connect):
    connect(fault=ConnectionError("403 Forbidden\nRequest ID: 1"))
    with pytest.raises(DataError, match="403 Forbidden: log in with `hf auth login`"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert len(read_all(tmp_path / "out")) == 4
