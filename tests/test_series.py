"""The seven published models: found by name, loaded as published, asked as trained."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from conftest import ROOT
from tuning import finetune

from emolib import DataError, models
from emolib.annotation.annotate import Annotator
from emolib.data import aeb
from emolib.data.prompts import to_published
from emolib.data.release import read_release
from emolib.inference import predict
from emolib.models import catalog, loading, weight_files
from emolib.models.catalog import SERIES

pytestmark = pytest.mark.slow  # trains, kills or compares whole models

KINDS = {"Emoopt": "opt", "Emobloom": "bloom", "Emot5": "t5", "Emobart": "bart"}
TOKENIZERS = {
    "llama": "unigram_tokenizer",
    "opt": "byte_tokenizer",
    "bloom": "bare_tokenizer",
    "t5": "t5_tokenizer",
    "bart": "bart_tokenizer",
}


def kind_of(member) -> str:
    """The architecture of a member's base, as transformers calls it."""
    return KINDS.get(member.name.split("-")[0], "llama")


def is_decoder(member) -> bool:
    return kind_of(member) not in ("t5", "bart")


def test_every_published_row_has_its_member():
    table = pd.read_csv(ROOT / "papers" / "emollms_kdd2024" / "table5.csv")
    tuned = table[table["kind"].str.contains("AAID")]["model"]
    assert {member.row for member in SERIES.values()} == set(tuned)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Emollama-chat-7b", "Emollama-chat-7b"),
        ("emollama-7b", "Emollama-7b"),
        ("lzw1008/Emot5-large", "Emot5-large"),
        ("models/Emoopt-13b.Q2_K.gguf", "Emoopt-13b"),
        ("someone/repo/emollama-chat-13b-q8_0.gguf", "Emollama-chat-13b"),
        ("Emollama-7b-chat.gguf", None),
        ("Emollama-chat-7b/notes", None),
        ("smollm2-135m", None),
    ],
)
def test_member_is_found_by_name_hub_id_and_file(name, found):
    member = catalog.find(name)
    assert (member and member.name) == found


@pytest.fixture(scope="module", params=SERIES)
def member(request, save_tiny):
    """A member whose weights are tiny and lie here, as if they came from the Hub."""
    real = SERIES[request.param]
    folder = save_tiny(kind_of(real), TOKENIZERS[kind_of(real)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SERIES, real.name, replace(real, hub=folder))
        yield SERIES[real.name]


@pytest.fixture(scope="module")
def loaded(member):
    return models.load(member.name)


@pytest.mark.slow
def test_member_is_loaded_with_its_own_tokens(member, loaded):
    model, tokenizer = loaded
    assert model.settings["model"] == member.name
    assert model.settings["prompt_form"] == member.form
    ids = tokenizer("Human: \nTask").input_ids
    begins = ids[0] == tokenizer.bos_token_id
    if is_decoder(member):
        assert not begins
        assert tokenizer.eos_token_id == 2 and tokenizer.pad_token_id == 0
        assert model.settings["answers"] == "apart"
    else:
        assert ids[-1] == tokenizer.eos_token_id
        assert model.settings["answers"] == "decoder"


@pytest.mark.slow
def test_member_is_evaluated_as_it_was_trained(member, loaded, sample_aeb, tmp_path):
    model, tokenizer = loaded
    with pytest.raises(DataError, match="build the rows with form") as caught:
        form = "plain"
        wrong = aeb.build(["V-oc"], data="sample", form=form)
        predict.predict(wrong, model, tokenizer, tmp_path / "no")
    assert member.form in str(caught.value)
    rows = aeb.build(["V-reg", "E-c"], data="sample", form=member.form)
    rows = rows.select(range(0, len(rows), 5))
    for method in ("constrained", "generate"):
        found = predict.predict(
            *(rows, model, tokenizer, tmp_path / method), method=method, progress=False
        )
        assert len(found) == len(rows)
    sampled = predict.predict(
        *(rows.select([0, 1]), model, tokenizer, tmp_path / "paper"),
        method="generate",
        decoding="paper",
        max_new_tokens=4,
        progress=False,
    )
    assert len(sampled) == 2


@pytest.mark.slow
def test_member_annotates(member):
    frame = Annotator(member.name, tasks=("V-reg", "E-c"), progress=False)(["So glad"])
    assert frame["valence"].between(0, 1).all() and frame["reason"].isna().all()


@pytest.mark.slow
def test_member_trains_on_and_keeps_its_form(member, sample_aaid, tmp_path):
    train = sample_aaid["train"].select(range(8))
    train = train.map(lambda row: {"prompt": _shape(row["prompt"], member)})
    run = finetune(
        *(train, train, member.name, tmp_path / "run"),
        quantization=None,
        max_steps=1,
        batch_size=4,
        micro_batch_size=4,
    )
    model, tokenizer = models.load(run)
    assert model.settings["prompt_form"] == member.form
    assert model.settings["answers"] == ("apart" if is_decoder(member) else "decoder")
    assert (tokenizer("a").input_ids[0] == tokenizer.bos_token_id) == (kind_of(member) == "bart")


def _shape(prompt: str, member) -> str:
    return to_published(prompt) if member.form == "published" else prompt


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "opt", "bloom"])
def test_tokens_are_those_of_the_authors_training_code(kind, save_tiny, sample_aaid):
    """Prompt and answer encoded apart, without special tokens, and 2 at the end."""
    from transformers import AutoTokenizer

    from emolib.models.tokens import keep_short

    real = next(m for m in SERIES.values() if kind_of(m) == kind)
    folder = save_tiny(kind, TOKENIZERS[kind])
    plain = AutoTokenizer.from_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SERIES, real.name, replace(real, hub=folder))
        _, tokenizer = models.load(real.name)
    rows = sample_aaid["validation"].select(range(30))
    rows = rows.map(lambda row: {"prompt": to_published(row["prompt"])})
    encoded, cut = keep_short(rows, tokenizer, 4096, "apart")
    assert cut == 0
    for row in encoded:
        body = re.fullmatch(r"Human: \n(.*)\n\nAssistant: \n", row["prompt"], re.DOTALL)[1]
        asked = f"Human: \n{body}\n\nAssistant: \n"
        parts = [asked, row["completion"]]
        first, second = (plain.encode(p, add_special_tokens=False) for p in parts)
        assert row["input_ids"] == [*first, *second, 2]
        assert row["labels"] == [-100] * len(first) + [*second, 2]


@pytest.mark.slow
def test_released_prompts_are_told_as_trained_or_not_at_all(real_data):
    path = real_data / "release" / "AEB.jsonl"
    asked, trained = read_release(path), read_release(path, "published")
    assert asked[5]["prompt"].replace("Assistant:\n", "Assistant: \n") == (trained[5]["prompt"])
    assert all(p.endswith("\n\nAssistant: \n") for p in trained["prompt"])
    with pytest.raises(DataError, match="released prompts are in form paper"):
        read_release(path, "chat")


def test_hub_id_is_what_is_asked_for(monkeypatch):
    asked = []

    def read(source, **_):
        asked.append(source)
        raise OSError("offline")

    monkeypatch.setattr(loading, "load_tokenizer", lambda _: None)
    monkeypatch.setattr(weight_files, "_read_weights", read)
    for member in SERIES.values():
        with pytest.raises(DataError, match="offline"):
            models.load(member.name)
    assert asked == [member.hub for member in SERIES.values()]


def test_gguf_on_the_hub_is_fetched(monkeypatch, tmp_path):
    asked = []

    def fetch(repository, file):
        asked.append((repository, file))
        (tmp_path / file).touch()
        return str(tmp_path / file)

    monkeypatch.setattr(weight_files, "hf_hub_download", fetch)
    found = weight_files.find_gguf("someone/Emollama-7b-GGUF/Emollama-7b.Q2_K.gguf")
    assert found == tmp_path / "Emollama-7b.Q2_K.gguf"
    assert asked == [("someone/Emollama-7b-GGUF", "Emollama-7b.Q2_K.gguf")]
    with pytest.raises(DataError, match="ORG/REPO/FILE"):
        weight_files.find_gguf("no-such.gguf")
