import json

import pytest
import torch

from emolib import DataError, models
from emolib.data import aeb
from emolib.inference import predict
from emolib.tasks import AAID

FAST = {"method": "generate", "batch_size": 4, "max_new_tokens": 6, "progress": False}


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return models.load(tiny_model)


@pytest.fixture(scope="module")
def rows(sample_aeb):
    trained = sample_aeb.filter(lambda row: row["task"] in AAID)
    return aeb.draw(trained, 2)  # 22 items, 6 batches of four


def interrupt(monkeypatch, after: int) -> None:
    """Stops the run from outside after so many batches."""
    original, calls = predict._generate, []

    def generate(*given):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)

    monkeypatch.setattr(predict, "_generate", generate)


def echo(monkeypatch) -> list:
    """Replaces the model by one that repeats its prompt; its batches."""
    batches = []

    def generate(_, tokenizer, batch, tokens, decoding):
        batches.append((tokens, [len(ids) for ids in batch]))
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in batch]

    monkeypatch.setattr(predict, "_generate", generate)
    return batches


def test_responses_come_in_the_order_given(rows, loaded, tmp_path, monkeypatch):
    batches = echo(monkeypatch)
    options = {"method": "generate", "batch_size": 4, "progress": False}
    found = predict.predict(rows, *loaded, tmp_path, **options)
    assert found["response"].tolist() == list(rows["prompt"])
    for name in ("id", "task", "emotion"):
        assert found[name].fillna("").tolist() == [x or "" for x in rows[name]]
    assert all(sizes == sorted(sizes, reverse=True) for _, sizes in batches)
    assert {tokens for tokens, _ in batches} == {16, 20, 40}  # each task's own


def test_whatever_a_model_writes_reads_back(rows, loaded, tmp_path, monkeypatch):
    odd = ["a\u2028b\nc\r\n", "", " \ud83d\ude2d ".encode("utf-16", "surrogatepass")]
    odd[2] = odd[2].decode("utf-16") + '"\\\t\x00'
    monkeypatch.setattr(predict, "_generate", lambda *_: list(odd))
    found = predict.predict(rows.select(range(3)), *loaded, tmp_path, **FAST)
    assert sorted(found["response"]) == sorted(odd)


def test_padded_batch_answers_as_single_prompts_do(rows, loaded, tmp_path):
    model, tokenizer = loaded
    found = predict.predict(rows, *loaded, tmp_path, **FAST)["response"].tolist()
    for prompt, response in zip(rows["prompt"], found, strict=True):
        ids = torch.tensor([tokenizer(prompt).input_ids])
        alone = model.generate(ids, max_new_tokens=6, do_sample=False)
        text = tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == response
    assert len(set(found)) > 10  # this model does look at its prompt


@pytest.fixture(scope="module")
def straight(rows, loaded, tmp_path_factory):
    """Decoding -> the file that an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("straight")
    for name in predict.DECODINGS:
        predict.predict(rows, *loaded, folder / name, decoding=name, **FAST)
    return {x: (folder / x / "responses.jsonl").read_bytes() for x in predict.DECODINGS}


@pytest.mark.parametrize("decoding", ["greedy", "paper"])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_interrupted_run_ends_with_the_same_bytes(
    rows, loaded, straight, tmp_path, decoding, after
):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after)
        predict.predict(rows, *loaded, tmp_path, decoding=decoding, **FAST)
    assert not (tmp_path / "responses.jsonl").exists()
    predict.predict(rows, *loaded, tmp_path, decoding=decoding, **FAST)
    assert (tmp_path / "responses.jsonl").read_bytes() == straight[decoding]


TORN = {
    "half a line": lambda text: text + b'{"batch": 3, "row": 7, "resp',
    "half a batch": lambda text: text[: text.rindex(b"\n", 0, -1) + 1],
    "half a character": lambda text: text + '{"response": "é'.encode()[:-1],
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("case", TORN)
def test_torn_file_is_mended(rows, loaded, straight, tmp_path, monkeypatch, case):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 3)
        predict.predict(rows, *loaded, tmp_path, **FAST)
    partial = tmp_path / "responses.partial.jsonl"
    partial.write_bytes(TORN[case](partial.read_bytes()))
    predict.predict(rows, *loaded, tmp_path, **FAST)
    assert (tmp_path / "responses.jsonl").read_bytes() == straight["greedy"]
    assert not partial.exists()


def test_resumed_run_computes_only_what_is_missing(rows, loaded, tmp_path, monkeypatch, capsys):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 4)
        predict.predict(rows, *loaded, tmp_path, **FAST)
    batches = echo(monkeypatch)
    predict.predict(rows, *loaded, tmp_path, **FAST)
    assert len(batches) == 2
    assert "Going on after 4 of 6 batches." in capsys.readouterr().out


def test_finished_run_is_read_back(rows, loaded, tmp_path, monkeypatch):
    first = predict.predict(rows, *loaded, tmp_path, **FAST)
    interrupt(monkeypatch, 0)
    assert predict.predict(rows, *loaded, tmp_path, **FAST).equals(first)
    assert predict.read(tmp_path).equals(first)


def test_sampling_differs_from_greedy_and_by_seed(rows, loaded, straight, tmp_path):
    options = FAST | {"decoding": "paper", "seed": 1}
    predict.predict(rows, *loaded, tmp_path, **options)
    found = (tmp_path / "responses.jsonl").read_bytes()
    assert len({found, straight["paper"], straight["greedy"]}) == 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"temperature": 0.1}, "no prediction setting temperature: there are method"),
        ({"decoding": "beam"}, "decoding 'beam': expected one of greedy, paper"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"tokens_per_batch": 0}, "tokens_per_batch is 0"),
        ({"method": "guess"}, "method 'guess': expected one of constrained, generate"),
    ],
)
def test_setting_that_does_not_exist_is_an_error(rows, loaded, tmp_path, settings, reason):
    with pytest.raises(DataError, match=reason):
        predict.predict(rows, *loaded, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"batch_size": 5}, "batch_size was 4, now 5"),
        ({"decoding": "paper"}, "decoding was 'greedy', now 'paper'"),
    ],
)
def test_run_with_other_settings_is_refused(rows, loaded, tmp_path, change, reason):
    predict.predict(rows, *loaded, tmp_path, **FAST)
    with pytest.raises(DataError, match=reason):
        predict.predict(rows, *loaded, tmp_path, **FAST | change)


def test_run_with_other_prompts_or_model_is_refused(rows, loaded, tmp_path, monkeypatch):
    predict.predict(rows, *loaded, tmp_path, **FAST)
    with pytest.raises(DataError, match=r"rows was .*'sha256'"):
        predict.predict(rows.select(range(21)), *loaded, tmp_path, **FAST)
    other = loaded[0].settings | {"weights": "another"}
    monkeypatch.setattr(loaded[0], "settings", other)
    with pytest.raises(DataError, match=r"weights was '.*', now 'another'"):
        predict.predict(rows, *loaded, tmp_path, **FAST)


@pytest.mark.parametrize(("form", "fits"), [("paper", True), ("plain", False)])
def test_prompts_must_be_in_the_adapters_form(rows, loaded, tmp_path, monkeypatch, form, fits):
    settings = loaded[0].settings | {"prompt_form": form}
    monkeypatch.setattr(loaded[0], "settings", settings)
    if fits:
        assert len(predict.predict(rows, *loaded, tmp_path, **FAST)) == 22
        return
    with pytest.raises(DataError, match=r"form 'paper', the adapter .* 'plain'"):
        predict.predict(rows, *loaded, tmp_path, **FAST)


def test_no_prompts_are_an_error(rows, loaded, tmp_path):
    with pytest.raises(DataError, match="no prompts"):
        predict.predict(rows.select([]), *loaded, tmp_path, **FAST)


def test_unfinished_run_has_no_responses(tmp_path):
    with pytest.raises(DataError, match="not a finished prediction run"):
        predict.read(tmp_path)


def test_run_says_how_the_model_was_loaded(rows, loaded, tmp_path):
    predict.predict(rows, *loaded, tmp_path, **FAST)
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    expected = loaded[0].settings.items() - {("adapter", None)}
    assert expected <= settings.items()
    assert settings["rows"]["rows"] == 22
