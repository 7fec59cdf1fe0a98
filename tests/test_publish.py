import ast
import json
import re
import runpy
import shutil
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from datasets.utils.metadata import known_task_ids
from huggingface_hub import DatasetCard, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.repocard_data import model_index_to_eval_results
from transformers.pipelines import SUPPORTED_TASKS

from emolib import DataError, models
from emolib.data import corpora
from emolib.publishing import hub
from emolib.publishing.cards import about, describe_model, upload
from emolib.tasks import AAID
from emolib.training import finetune

ROOT = Path(__file__).parents[1]
SCORES = ROOT / "figures" / "data" / "semeval_cpu_scores.csv"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
GIVEN = {"data": "sample", "base": BASE}
TOKEN = "hf_" + "Ab1" * 12
BUNDLED = "emo-smollm2-135m"
ADAPTER_FILES = [
    *("LICENSE.md", "README.md", "adapter_config.json", "adapter_model.safetensors"),
    "run.json",
]


@pytest.fixture(scope="module")
def run(sample_aaid, tiny_model, tmp_path_factory):
    """A finished run, trained from a local folder on a 4-bit base."""
    rows = [sample_aaid["train"].select(range(16))]
    rows.append(sample_aaid["validation"].select(range(4)))
    settings = {"batch_size": 8, "micro_batch_size": 8, "max_steps": 3}
    settings |= {"learning_rate": 5e-2, "eval_steps": 3, "progress": False}
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    return finetune.finetune(*rows, tiny_model, folder, **settings)


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
    """Fails a test that reaches for the Hub where it should not."""
    monkeypatch.setattr(upload, "HfApi", lambda: pytest.fail("HfApi was called"))
    fail = {"get_session": lambda: pytest.fail("the network was used")}
    monkeypatch.setattr("huggingface_hub.repocard.get_session", fail["get_session"])


class Hub:
    """Stands for HfApi and for the validator; keeps what it was asked."""

    def __init__(self, public=False, fault=None):
        self.public, self.fault = public, fault
        self.calls, self.files = [], {}

    def validate(self, card):
        self.calls.append(("validate", card.repo_type))

    def create_repo(self, repo_id, repo_type, private, exist_ok):
        self.calls.append(("create", repo_id, repo_type, private))
        if self.fault:
            raise self.fault
        return f"https://huggingface.co/{repo_id}"

    def repo_info(self, repo_id, repo_type):
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, folder_path, allow_patterns, **where):
        self.calls.append(("upload", where["repo_id"], where["repo_type"]))
        self.files = {
            name: (folder_path / name).read_bytes() for name in allow_patterns
        }


@pytest.fixture
def connect(monkeypatch):
    """A function: puts a Hub, or only a login, in the place of the real one."""

    def use(hub=None, **kinds):
        hub = hub or Hub(**kinds)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(upload, "HfApi", lambda: hub)
        monkeypatch.setattr("huggingface_hub.RepoCard.validate", hub.validate)
        monkeypatch.setattr(ModelCard, "validate", lambda card: hub.validate(card))
        monkeypatch.setattr(DatasetCard, "validate", lambda card: hub.validate(card))
        return hub

    return use


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refuse(match: str, *given, **settings):
    with pytest.raises(DataError, match=match) as caught:
        hub.push_adapter(*given, **settings)
    return str(caught.value)


# What is written


def test_bundled_adapter_is_written_without_network(tmp_path):
    push = hub.push_adapter(BUNDLED, "ann/emo", tmp_path / "out", data="official")
    assert list(push.files) == ADAPTER_FILES and push.url is None
    assert push.files["adapter_model.safetensors"] > 9_000_000
    assert "dry run, nothing uploaded" in str(push) and "README.md" in str(push)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.base_model, card.data.library_name) == (BASE, "peft")
    assert card.data.license_name == "apache-2.0-and-semeval-2018-research-only"
    assert card.data.eval_results is None and "None are published" in card.text
    assert "1.6 hours" in card.text and "26,240 rows" in card.text
    assert "went on from an adapter" in card.text and "highest validation" in card.text


def test_adapter_loads_again_and_answers_like_the_run(run, tiny_model, tmp_path):
    out = hub.push_adapter(run, "ann/emo", tmp_path / "out", **GIVEN).folder
    model, tokenizer = models.load(tiny_model, adapter=out, dtype="float32")
    ours, _ = models.load(run, dtype="float32")
    ids = tokenizer("I got the job!!!", return_tensors="pt").input_ids
    torch.testing.assert_close(model(ids).logits, ours(ids).logits)


def test_config_names_the_base_on_the_hub_and_its_revision(run, tmp_path):
    given = GIVEN | {"revision": "0123abc"}
    out = hub.push_adapter(run, "ann/emo", tmp_path / "out", **given).folder
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, "0123abc")
    assert json.loads((out / "run.json").read_text())["settings"]["model"] == BASE


def test_merged_model_answers_like_the_adapter(run, tiny_model, tmp_path):
    given = GIVEN | {"dtype": "float16"}
    out = hub.push_model(run, "ann/emo", tmp_path / "out", **given).folder
    whole, tokenizer = models.load(out, dtype="float32")
    ids = tokenizer("I got the job!!!", return_tensors="pt").input_ids
    found, tuned, base = (
        model(ids).logits
        for model in (
            whole,
            models.load(run, dtype="float32")[0],
            models.load(tiny_model, dtype="float32")[0],
        )
    )
    assert (found - tuned).abs().max() < 0.05 < 0.5 < (base - tuned).abs().max()
    assert json.loads((out / "config.json").read_text())["dtype"] == "float16"


def test_merged_card_is_written_last_and_is_a_finetune(run, tmp_path):
    out = hub.push_model(run, "ann/emo", tmp_path / "out", **GIVEN).folder
    card = ModelCard.load(out / "README.md")
    assert card.data.base_model_relation == "finetune"
    assert card.data.library_name == "transformers" and "bfloat16" in card.text
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= set(read_all(out))
    assert not [name for name in read_all(out) if name.startswith("adapter")]
    assert b"local" not in (out / "tokenizer_config.json").read_bytes()


def test_run_that_tuned_all_weights_is_published_as_it_is(run, tiny_model, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(tiny_model, whole / "model")
    shutil.copy(run / "run.json", whole)
    out = hub.push_model(whole, "ann/emo", tmp_path / "out", **GIVEN).folder
    card = ModelCard.load(out / "README.md")
    assert "all weights tuned" in card.text and "lora" not in card.data.tags
    refuse("no weights in adapter/", whole, "ann/emo", tmp_path / "a", **GIVEN)


def test_no_place_of_this_machine_and_no_token_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.push_adapter(run, "ann/emo", tmp_path / "a", **GIVEN)
    hub.push_model(run, "ann/emo", tmp_path / "m", **GIVEN)
    hub.push_builder("ann/aaid", tmp_path / "b")
    for path in tmp_path.rglob("*.*"):
        text = path.read_bytes().decode(errors="replace")
        assert TOKEN not in text and str(tmp_path.parent.parent) not in text
        if path.name != "tokenizer.json":
            assert not re.search(r"[\s\"'](/(home|root|tmp|Users|work)/|~/)", text)


def test_only_what_is_listed_leaves_the_run(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / "adapter" / "notes.txt").write_text(TOKEN)
    push = hub.push_adapter(copy, "ann/emo", tmp_path / "out", **GIVEN)
    assert list(push.files) == ADAPTER_FILES


def test_token_in_a_record_stops_the_push(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | {"machine": TOKEN}))
    said = refuse("README.md would hold a token", copy, "a/b", tmp_path / "o", **GIVEN)
    assert TOKEN not in said and not (tmp_path / "o").exists()


def test_paths_in_a_record_are_left_out():
    record = {"settings": {"model": "x", "cache": "C:\\mine"}, "notes": ["~/a"]}
    assert about.clean(record, BASE) == {
        "settings": {"model": BASE, "cache": None},
        "notes": None,
    }


# Scores


def test_model_index_has_the_values_of_the_file(run, scores, tmp_path):
    out = tmp_path / "out"
    hub.push_adapter(run, "ann/emo", out, scores=scores, **GIVEN)
    written = ModelCard.load(out / "README.md").data.to_dict()["model-index"]
    name, found = model_index_to_eval_results(written)
    rows = pd.read_csv(scores).query("model == 'tuned'").to_dict("records")
    assert name == "emo" and len(found) == len(rows) == 15
    for result, row in zip(found, rows, strict=True):
        args = result.metric_args
        assert (result.task_name, result.metric_value) == (row["task"], row["value"])
        assert (args["low"], args["high"]) == (row["low"], row["high"])
        assert (args["n"], args["unparsed"]) == (row["n"], row["unparsed"])
        assert result.dataset_args["items"] == row["items"] and result.verified is None


def test_card_shows_each_score_with_interval_and_counts(run, scores, tmp_path):
    hub.push_adapter(run, "ann/emo", tmp_path / "out", scores=scores, **GIVEN)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "| EI-reg | pearson | 0.65 [0.61, 0.69] | 800 | 0 |" in card.text
    assert "2200 of 13269 items" in card.text and "greedy" in card.text
    assert card.data.metrics == ["pearsonr", "jaccard", "f1"]
    assert (
        "95 % interval [0.61, 0.69], n = 800" in card.data.eval_results[0].metric_name
    )


def test_scores_on_the_sample_are_refused(run, scores, tmp_path):
    frame = pd.read_csv(scores).assign(data="sample")
    frame.to_csv(scores, index=False)
    given = GIVEN | {"scores": scores}
    refuse(
        "mine_scores.csv:17: scores on 'sample'", run, "a/b", tmp_path / "o", **given
    )


def test_scores_of_other_weights_are_refused(tmp_path):
    given = {"data": "official", "scores": SCORES}
    refuse("scores of other weights", BUNDLED, "ann/emo", tmp_path / "out", **given)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("value", "high", "column value holds no number"),
        ("unparsed", "", "column unparsed holds no number"),
        ("task", "X-reg", "no task 'X-reg'"),
        ("model", "other", "no model 'tuned' there: scored= is one of other"),
    ],
)
def test_bad_scores_are_refused(run, scores, tmp_path, column, value, reason):
    frame = pd.read_csv(scores).query("model == 'tuned'").astype({column: object})
    frame[column] = value
    frame.to_csv(scores, index=False)
    refuse(reason, run, "ann/emo", tmp_path / "out", scores=scores, **GIVEN)


# What must be said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base": None}, "not a Hub id: give base="),
        ({"base": "a/b/c"}, "no Hub id, give one as base="),
        (
            {"base": "ann/model"},
            "licence of ann/model is not known here: base_license=",
        ),
        ({"data": None}, "data= is official"),
        ({"data": "ann/rows"}, "name its licence too"),
        ({"date": "official"}, "no publishing setting date"),
    ],
)
def test_what_is_missing_is_asked_for(run, tmp_path, change, reason):
    refuse(reason, run, "ann/emo", tmp_path / "out", **(GIVEN | change))
    assert not (tmp_path / "out").exists()


def test_other_corpus_stands_with_its_licence(run, tmp_path):
    given = GIVEN | {"data": "ann/rows", "data_license": "cc-by-4.0"}
    out = hub.push_adapter(run, "ann/emo", tmp_path / "out", **given).folder
    card = ModelCard.load(out / "README.md")
    assert card.data.datasets == ["ann/rows"]
    assert card.data.license_name == "apache-2.0-and-cc-by-4.0"
    assert "| training data, ann/rows | cc-by-4.0 |" in card.text


def test_a_sample_run_says_that_it_is_no_model_to_use(run, tmp_path):
    out = hub.push_adapter(run, "ann/emo", tmp_path / "out", **GIVEN).folder
    card = ModelCard.load(out / "README.md")
    assert "no model to\nuse" in card.text and card.data.datasets is None
    assert card.data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("name", "base", "converted"),
    [
        ("smollm2-135m", BASE, True),
        ("Emollama-7b", "lzw1008/Emollama-7b", False),
        ("ann/model", "ann/model", False),
    ],
)
def test_base_is_named_as_on_the_hub(name, base, converted):
    record = {"settings": {"model": name}, "weights": converted and "0123"}
    chosen = hub.Settings(data="official", base_license="mit")
    found = about.gather("ann/emo", "adapter", record, chosen)
    assert (found.base, bool(found.converted)) == (base, converted)


def test_unfinished_run_is_refused(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    record = json.loads((copy / "run.json").read_text())
    del record["finished"]
    (copy / "run.json").write_text(json.dumps(record))
    refuse("no finished fine-tuning run", copy, "a/b", tmp_path / "out", **GIVEN)


def test_damaged_configuration_is_refused(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / "adapter" / "adapter_config.json").write_text("[1]")
    refuse("no adapter's configuration", copy, "a/b", tmp_path / "out", **GIVEN)


@pytest.mark.parametrize("repo", ["emo", "a/b/c", "a/b--c", "ann/.git", "ann/m l", ""])
def test_bad_repository_name_is_refused(run, tmp_path, repo):
    refuse("repo", run, repo, tmp_path / "out", **GIVEN)


def test_merged_model_has_16_bits_or_none_is_written(run, tmp_path):
    with pytest.raises(DataError, match="expected bfloat16 or float16"):
        hub.push_model(run, "a/b", tmp_path / "out", **GIVEN | {"dtype": "nf4"})


# The cards


def test_values_of_the_model_card_are_ones_that_the_libraries_know(run, tmp_path):
    out = hub.push_adapter(run, "ann/emo", tmp_path / "out", **GIVEN).folder
    data = ModelCard.load(out / "README.md").data
    assert data.pipeline_tag in SUPPORTED_TASKS and data.language == "en"
    assert data.base_model_relation in ("adapter", "finetune", "merge", "quantized")
    assert "[More Information Needed]" not in (out / "README.md").read_text()


def test_encoder_decoder_gets_its_own_tag():
    record = json.loads((models.BUNDLED[BUNDLED] / "run.json").read_text())
    told = about.About(
        "a/b", "merged", BASE, "mit", "official", "x", record, seq2seq=True
    )
    card = describe_model(told)
    assert card.data.pipeline_tag == "text2text-generation"
    assert "AutoModelForSeq2SeqLM" in card.text and "length:" not in card.text


def test_example_in_the_card_is_a_prompt_as_trained_on(tmp_path):
    out = hub.push_adapter(BUNDLED, "ann/emo", tmp_path / "out", data="official")
    text = (out.folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    shown = next(
        ast.literal_eval(line.value)
        for line in ast.parse(code).body
        if isinstance(line, ast.Assign) and line.targets[0].id == "prompt"
    )
    assert shown.startswith("Human:") and shown.endswith(
        "Tweet: I got the job!!! Intensity Score: \n\nAssistant:\n"
    )


def test_card_of_averaged_weights_says_so(run, tmp_path):
    out = hub.push_adapter(BUNDLED, "ann/emo", tmp_path / "out", data="official")
    said = "weights are the mean of this run's and of 1 more"
    assert said in (out.folder / "README.md").read_text()
    out = hub.push_adapter(run, "ann/emo", tmp_path / "own", **GIVEN)
    assert "weights are the mean" not in (out.folder / "README.md").read_text()


def test_dataset_card_has_values_that_the_library_knows(tmp_path):
    out = hub.push_builder("ann/aaid", tmp_path / "out").folder
    data = DatasetCard.load(out / "README.md").data
    known = resources.files("datasets.utils.resources")
    creators = json.loads((known / "creators.json").read_text())
    assert set(data.task_categories) <= known_task_ids.keys()
    assert set(data.annotations_creators) <= set(creators["annotations"])
    assert set(data.language_creators) <= set(creators["language"])
    sizes = json.loads((known / "size_categories.json").read_text())
    assert set(data.size_categories) <= set(sizes)
    assert data.multilinguality == ["monolingual"] and data.license == "mit"


def test_licence_text_is_the_project_s_own():
    ours = resources.files("emolib.publishing.cards") / "mit.md"
    assert ours.read_text() == (ROOT / "LICENSE").read_text()


def test_templates_are_in_the_package_data():
    text = (ROOT / "pyproject.toml").read_text()
    assert '"cards/*.md"' in text


# The builder


def test_builder_holds_instructions_and_no_text_of_a_corpus(tmp_path):
    out = hub.push_builder("ann/aaid", tmp_path / "out").folder
    whole = "\n".join(path.read_text() for path in out.iterdir()).lower()
    texts = pd.concat(corpora.read(task, "train", "sample") for task in AAID)["text"]
    assert not [text for text in texts.unique() if text.lower() in whole]
    assert sorted(read_all(out)) == [
        *("LICENSE.md", "README.md", "build_aaid.py", "instructions.jsonl"),
        "instructions.yaml",
    ]


def test_builder_holds_no_tweet(tmp_path, real_data):
    out = hub.push_builder("ann/aaid", tmp_path / "out").folder
    whole = "\n".join(path.read_text() for path in out.iterdir()).lower()
    texts = corpora.read("E-c", "train")["text"].str.lower().unique()
    assert not [text for text in texts if len(text) > 20 and text in whole]


def test_published_instructions_are_a_readable_configuration(tmp_path):
    out = hub.push_builder("ann/aaid", tmp_path / "out").folder
    config = DatasetCard.load(out / "README.md").data.configs[0]
    rows = pd.read_json(out / config["data_files"][0]["path"], lines=True)
    assert rows.groupby("task").size().to_dict() == dict.fromkeys(AAID, 10)
    assert not rows["instruction"].str.contains("{", regex=False).any()


def test_published_script_builds_aaid(tmp_path, monkeypatch, capsys):
    out = hub.push_builder("ann/aaid", tmp_path / "out").folder
    given = ["build_aaid.py", str(tmp_path / "built"), "--data", "sample"]
    monkeypatch.setattr(sys, "argv", given)
    runpy.run_path(str(out / "build_aaid.py"), run_name="__main__")
    assert "train" in capsys.readouterr().out
    assert (tmp_path / "built" / "data" / "train.parquet").is_file()


# The folder


def test_failed_write_leaves_what_was_there(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    hub.push_adapter(run, "ann/emo", out, **GIVEN)
    before = read_all(out)
    monkeypatch.setattr(shutil, "copyfile", lambda *_: (tmp_path / "no").read_bytes())
    refuse("cannot write there", run, "ann/other", out, **GIVEN)
    assert read_all(out) == before and list(tmp_path.iterdir()) == [out]


def test_kill_leaves_nothing_and_the_next_push_cleans_up(run, tmp_path, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    (tmp_path / ".out.123.tmp").mkdir()  # of a push killed without a chance to clean up
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hub, "_write_about", kill)
        hub.push_adapter(run, "ann/emo", tmp_path / "out", **GIVEN)
    assert list(tmp_path.iterdir()) == []


def test_folder_with_other_files_is_not_replaced(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    refuse("holds thesis.tex, not from this push", run, "a/b", tmp_path, **GIVEN)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


# The upload


def test_upload_sends_exactly_what_the_dry_run_wrote(run, tmp_path, connect):
    hub.push_adapter(run, "ann/emo", tmp_path / "dry", **GIVEN)
    hub = connect()
    push = hub.push_adapter(run, "ann/emo", tmp_path / "r", dry_run=False, **GIVEN)
    assert (
        hub.files == read_all(tmp_path / "dry") and sorted(hub.files) == ADAPTER_FILES
    )
    assert hub.calls == [
        ("validate", "model"),
        ("create", "ann/emo", "model", True),
        ("upload", "ann/emo", "model"),
    ]
    assert "uploaded to https://huggingface.co/ann/emo" in str(push)


def test_builder_goes_to_a_dataset_repository(tmp_path, connect):
    hub = connect(public=True)
    hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False, private=False)
    assert hub.calls[1:] == [
        ("create", "ann/aaid", "dataset", False),
        ("upload", "ann/aaid", "dataset"),
    ]


def test_public_repository_is_no_place_for_a_private_push(tmp_path, connect):
    hub = connect(public=True)
    with pytest.raises(DataError, match="public on the Hub: say so"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert not hub.files


def test_upload_needs_a_login_before_anything_is_done(tmp_path, monkeypatch, connect):
    connect()
    monkeypatch.setattr(upload, "get_token", lambda: None)
    with pytest.raises(DataError, match="hf auth login"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (403, "the token may not write there"),
        (401, "hf auth login"),
        (500, "is the Hub reachable"),
        (ConnectionError("refused"), "refused: is the Hub reachable"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(tmp_path, connect, fault, advice):
    if isinstance(fault, int):
        response = SimpleNamespace(status_code=fault, headers={}, request=None)
        fault = HfHubHTTPError("no", response=response)
    hub = connect(fault=fault)
    with pytest.raises(DataError, match=advice):
        hub.push_builder("ann/aaid", tmp_path / "out", dry_run=False)
    assert not hub.files and len(read_all(tmp_path / "out")) == 5


@contextmanager
def serve(status: int, answer: str):
    """A local stand-in for the Hub's validator; yields its address and its requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "uploads"), [(200, True), (400, False)])
def test_the_hub_s_validator_reads_the_card_first(
    run, tmp_path, monkeypatch, status, uploads
):
    from huggingface_hub.utils import get_session

    hub = Hub()
    monkeypatch.setattr("huggingface_hub.repocard.get_session", get_session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(upload, "HfApi", lambda: hub)
    with serve(status, '"license" is wrong') as (address, requests):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        try:
            hub.push_adapter(run, "a/b", tmp_path / "o", dry_run=False, **GIVEN)
        except DataError as error:
            assert '"license" is wrong' in str(error) and "does not accept" in str(
                error
            )
    [(path, body)] = requests
    assert path == "/api/validate-yaml" and body["repoType"] == "model"
    assert body["content"] == (tmp_path / "o" / "README.md").read_text()
    assert bool(hub.files) is uploads
