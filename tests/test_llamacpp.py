"""GGUF files through llama.cpp and through transformers; copies in fewer bits."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emolib import DataError, models
from emolib.annotation.annotate import Annotator
from emolib.data import aeb
from emolib.inference import predict
from emolib.models import llamacpp
from emolib.publishing import gguf

pytestmark = pytest.mark.slow  # trains, kills or compares whole models

SCRIPT = Path(sys.prefix) / "llama.cpp" / gguf.SCRIPT
READY = SCRIPT.is_file() and importlib.util.find_spec("llama_cpp")


def test_missing_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(DataError, match="make llamacpp"):
        llamacpp.LlamaCpp(tmp_path / "x.gguf", "cpu")


def test_missing_converter_says_where_it_comes_from(tiny_model, tmp_path):
    with pytest.raises(DataError, match="make llamacpp"):
        gguf.convert(tiny_model, tmp_path / "x.gguf", converter=tmp_path)


def test_unknown_kind_and_folder_are_errors(tiny_model, tmp_path):
    with pytest.raises(DataError, match="kind 'q9': expected one of f32"):
        gguf.convert(tiny_model, tmp_path / "x.gguf", "q9")
    with pytest.raises(DataError, match="no model folder"):
        gguf.convert(tmp_path, tmp_path / "x.gguf")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "smollm2-135m", "quantization": "nf4"},
        {"name": "smollm2-135m", "dtype": "bfloat16"},
        {"name": "Emollama-7b"},
    ],
)
def test_llama_cpp_takes_gguf_files_alone(change):
    with pytest.raises(DataError, match=r"llama.cpp takes a .gguf file as it is"):
        models.load(**change, backend="llama.cpp")


def test_unknown_backend_is_an_error():
    with pytest.raises(DataError, match=r"expected one of transformers, llama.cpp"):
        models.load("smollm2-135m", backend="vllm")


@pytest.fixture(scope="session")
def built():
    """Skips, or fails where it is promised, without llama.cpp."""
    if not READY:
        required = os.environ.get("EMOLIB_REQUIRE_LLAMACPP") == "1"
        say = pytest.fail if required else pytest.skip
        say("needs llama-cpp-python and its converter: make llamacpp")
    torch.set_num_threads(1)  # waits of its threads on busy cores take for ever


@pytest.fixture(scope="session", params=["llama", "bloom"])
def pair(request, built, make_tiny, smollm2_tokenizer, tmp_path_factory):
    """A member's tiny weights: folder, and a GGUF file in float32, named like it."""
    folder = tmp_path_factory.mktemp("gguf") / request.param
    make_tiny(request.param, smollm2_tokenizer).save_pretrained(folder)
    smollm2_tokenizer.save_pretrained(folder)
    name = {"llama": "Emollama-chat-7b", "bloom": "Emobloom-7b"}[request.param]
    file = gguf.convert(folder, folder.parent / f"{name}.F32.gguf", "f32")
    return folder, file


@pytest.fixture(scope="session")
def asked(sample_aeb):
    return sample_aeb.select(range(0, len(sample_aeb), 20))


def ask(rows, model, tokenizer, folder, **settings):
    settings |= {"progress": False}
    return predict.predict(rows, model, tokenizer, folder, **settings)


def measure_distance(one, other) -> np.ndarray:
    pairs = zip(one["probabilities"], other["probabilities"], strict=True)
    return np.array([abs(a[key] - b[key]) for a, b in pairs for key in a])


def publish(rows):
    """The same items in the form of the published models."""
    chosen = set(rows["id"])
    whole = aeb.build(data="sample", form="published")
    kept = [n for n, one in enumerate(whole["id"]) if one in chosen]
    return whole.select(kept)


def test_both_backends_give_the_same_probabilities(pair, asked, tmp_path):
    """In float32, so that nothing but the way of computing differs.

    BLOOM's GELU is a table of 16-bit numbers in llama.cpp.
    """
    most = 2e-3 if "bloom" in pair[1].name else 1e-4
    rows = publish(asked)
    found = {}
    for backend in models.BACKENDS:
        loaded = models.load(pair[1], backend=backend)
        assert loaded[0].settings["answers"] == "apart"
        assert loaded[0].settings["prompt_form"] == "published"
        assert loaded[1]("Human").input_ids[0] != loaded[1].bos_token_id
        found[backend] = ask(rows, *loaded, tmp_path / backend)
    assert measure_distance(*found.values()).max() < most


def test_both_backends_write_the_same(pair, asked, tmp_path):
    rows = publish(asked).select(range(8))
    options = {"method": "generate", "max_new_tokens": 5}
    spoken = [
        ask(rows, *models.load(pair[1], backend=b), tmp_path / b, **options)["response"]
        for b in models.BACKENDS
    ]
    assert spoken[0].tolist() == spoken[1].tolist()


def test_batches_of_any_size_give_the_same(pair, asked, tmp_path):
    loaded = models.load(pair[1], backend="llama.cpp")
    rows = publish(asked)
    one, many = (ask(rows, *loaded, tmp_path / str(n), tokens_per_batch=n) for n in (1, 4096))
    assert measure_distance(one, many).max() < 1e-4


def test_gguf_of_a_member_annotates(pair):
    for backend in models.BACKENDS:
        judge = Annotator(str(pair[1]), tasks=("V-oc", "E-c"), backend=backend, progress=False)
        frame = judge(["So glad!", "", "I hate rain"])
        assert frame["reason"].isna().tolist() == [True, False, True]
        assert frame.loc[0, "has_joy_confidence"] >= 0.5


@pytest.fixture(scope="session")
def t5_file(built, make_tiny, texts, tmp_path_factory):
    """A tiny T5 with a SentencePiece vocabulary, as GGUF in float32."""
    import sentencepiece
    from transformers import T5Tokenizer

    folder = tmp_path_factory.mktemp("gguf") / "t5"
    folder.mkdir()
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(" ".join(text.split()) for text in texts),
            model_writer=file,
            vocab_size=400,
            character_coverage=1.0,
            **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
            minloglevel=2,
        )
    tokenizer = T5Tokenizer.from_pretrained(folder, extra_ids=0)
    make_tiny("t5", tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return gguf.convert(folder, folder.parent / "Emot5-large.F32.gguf", "f32")


def test_gguf_of_the_first_t5_is_refused_by_both(t5_file):
    """transformers 5.23 takes every T5 for version 1.1, which has other layers."""
    with pytest.raises(DataError, match="backend='transformers'"):
        models.load(t5_file, backend="llama.cpp")
    with pytest.raises(DataError, match="not a readable GGUF model: no weights for"):
        models.load(t5_file)


@pytest.mark.slow
def test_real_quantized_file_answers_alike_in_both(built, asked, tmp_path):
    """SmolLM2 in Q4_1. llama.cpp rounds activations to eight bits too."""
    rows = asked.select(range(0, len(asked), 2))
    found = [
        ask(rows, *models.load("smollm2-135m", backend=b), tmp_path / b) for b in models.BACKENDS
    ]
    distances = measure_distance(*found)
    assert distances.mean() < 0.01 and distances.max() < 0.1


@pytest.mark.slow
def test_adapter_becomes_smaller_files_that_answer_alike(built, asked, tmp_path):
    folder = gguf.merge("emo-smollm2-135m", tmp_path / "merged")
    apart = models.load("emo-smollm2-135m")
    rows = asked.filter(lambda row: row["task"] in ("EI-reg", "V-oc"))
    before = ask(rows, *apart, tmp_path / "apart")
    sizes = []
    for kind, most in (("f16", 0.01), ("q8_0", 0.1), ("q4_k_m", 0.3)):
        file = gguf.convert(folder, tmp_path / f"{kind}.gguf", kind)
        sizes.append(file.stat().st_size)
        loaded = models.load(file, backend="llama.cpp")
        after = ask(rows, *loaded, tmp_path / kind)
        assert measure_distance(before, after).max() < most, kind
    assert sizes == sorted(sizes, reverse=True)
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.tmp"))


def test_model_without_gguf_form_is_refused_with_the_reason(
    built, make_tiny, smollm2_tokenizer, tmp_path
):
    make_tiny("opt", smollm2_tokenizer).save_pretrained(tmp_path / "opt")
    smollm2_tokenizer.save_pretrained(tmp_path / "opt")
    with pytest.raises(DataError, match="OPTForCausalLM"):
        gguf.convert(tmp_path / "opt", tmp_path / "x.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_damaged_file_and_long_prompt_are_errors(pair, asked, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(pair[1].read_bytes()[:4000])
    with pytest.raises(DataError, match=r"bad.gguf: llama.cpp cannot read it"):
        models.load(bad, backend="llama.cpp")
    model, _ = models.load(pair[1], backend="llama.cpp")
    with pytest.raises(DataError, match=r"llama.cpp holds 2560 here"):
        model.write([[5] * 5000], 4, set())


def test_sampling_is_left_to_transformers(pair, asked, tmp_path):
    loaded = models.load(pair[1], backend="llama.cpp")
    with pytest.raises(DataError, match="only greedy"):
        ask(publish(asked), *loaded, tmp_path, method="generate", decoding="paper")


def test_merged_folder_is_not_overwritten(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="there already"):
        gguf.merge("emo-smollm2-135m", tmp_path / "there")
    shutil.rmtree(tmp_path / "there")
    with pytest.raises(DataError, match="dtype 'int4'"):
        gguf.merge("emo-smollm2-135m", tmp_path / "there", "int4")
