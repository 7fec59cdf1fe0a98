"""A GGUF file asked through llama.cpp, which keeps it quantized. Optional.

Needs llama-cpp-python (the extra `llamacpp`). Prompts and their allowed answers become a tree of
tokens, as in `prefix_tree`: llama.cpp lets a token attend to every sequence that runs through it,
so that what is shared is computed once. transformers reads the file's own tokenizer.
"""

import ctypes
import os
from collections.abc import Sequence
from itertools import islice, takewhile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from emolib import DataError

MOST_SEQUENCES = 256  # llama.cpp's own limit
CONTEXT = 2560  # tokens that are held at once; longer prompts are refused
_F32 = 0  # ggml's number of a type


class LlamaCpp:
    """A loaded GGUF file; what `predict` and `annotate` take in a model's place."""

    config = SimpleNamespace(is_encoder_decoder=False)
    shares = True

    def __init__(self, path: Path, device: str, context: int = CONTEXT):
        self._cpp = cpp = _import()
        self.path, self.context = path, context
        self._model = self._context = self._writer = None
        cpp.llama_backend_init()
        options = cpp.llama_model_default_params()
        options.n_gpu_layers = self._layers = -1 if device.startswith("cuda") else 0
        self._model = cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not self._model:
            raise DataError(f"{path}: llama.cpp cannot read it (damaged, or too new)")
        if cpp.llama_model_has_encoder(self._model):
            raise DataError(f"{path}: a model with an encoder: take backend='transformers'")
        options = cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = context
        options.n_seq_max, options.kv_unified = MOST_SEQUENCES, True
        # Its defaults round keys and values to 16 bits, which moved probabilities of a small model
        # by 0.006; in float32 they are those of transformers to 0.00002.
        options.type_k = options.type_v = _F32
        options.flash_attn_type = 0
        options.n_threads = options.n_threads_batch = torch.get_num_threads()
        self._context = cpp.llama_init_from_model(self._model, options)
        if not self._context:
            raise DataError(f"{path}: llama.cpp finds no memory for {context} tokens")
        self._width = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(self._model))
        about = ctypes.create_string_buffer(256)
        cpp.llama_model_desc(self._model, about, len(about))
        self.kind = about.value.decode("utf-8", "replace")  # such as "llama 135M Q4_1"
        self.size = int(cpp.llama_model_size(self._model))  # bytes

    def score_answers(self, questions: Sequence) -> list[np.ndarray]:
        """Probabilities of the allowed answers [answers] per `constrained.Question`."""
        return [each for part in _split(questions, self.context) for each in self._score(part)]

    def _score(self, questions) -> list[np.ndarray]:
        tree, ends, found = _Tree(), [], []
        for question in questions:
            paths, spots = question.choices.list_paths()
            nodes = [tree.add([*question.ids, *path]) for path in paths]
            start = len(question.ids) - 1
            ends.append([nodes[path][start + depth] for path, depth in spots])
        logits = self._decode(tree, {node for each in ends for node in each})
        for question, each in zip(questions, ends, strict=True):
            picked = np.stack([logits[n][question.choices.candidates] for n in each])
            measured = question.choices.measure(torch.from_numpy(picked)[None])
            found.append(measured[0].exp().double().numpy())
        return found

    def write(self, prompts: list[list[int]], tokens: int, ends: set[int]) -> list:
        """The likeliest continuation of each prompt, at most `tokens`, without its end."""
        if self._writer is None:
            options = dict.fromkeys(("n_ctx", "n_batch"), self.context)
            options |= dict.fromkeys(("n_threads", "n_threads_batch"), torch.get_num_threads())
            options |= {"n_gpu_layers": self._layers, "type_k": _F32, "type_v": _F32}
            self._writer = self._cpp.Llama(str(self.path), **options, verbose=False)
        texts: list = [None] * len(prompts)
        # What a prompt shares with the one before is not computed again.
        for number in sorted(range(len(prompts)), key=lambda n: prompts[n]):
            self._check(len(prompts[number]) + tokens)
            following = islice(self._writer.generate(prompts[number], temp=0.0), tokens)
            texts[number] = list(takewhile(lambda token: token not in ends, following))
        return texts

    def _check(self, tokens: int) -> None:
        if tokens > self.context:
            limit = f"llama.cpp holds {self.context} here: shorten the text (max_tokens)"
            raise DataError(f"{self.path}: a prompt of {tokens} tokens, {limit}")

    def _decode(self, tree: "_Tree", wanted: set[int]) -> dict:
        """Logits [vocabulary] after each wanted node."""
        count = len(tree.nodes)
        self._check(count)
        batch = self._cpp.llama_batch_init(count, 0, MOST_SEQUENCES)
        try:
            batch.n_tokens = count
            for n, (token, place, sequences) in enumerate(tree.nodes):
                batch.token[n], batch.pos[n], batch.logits[n] = token, place, n in wanted
                batch.n_seq_id[n] = len(sequences)
                for k, sequence in enumerate(sequences):
                    batch.seq_id[n][k] = sequence
            self._cpp.llama_memory_clear(self._cpp.llama_get_memory(self._context), True)
            if self._cpp.llama_decode(self._context, batch):
                raise MemoryError(f"llama.cpp could not compute {count} tokens")
            rows = {n: self._cpp.llama_get_logits_ith(self._context, n) for n in sorted(wanted)}
            shape = (self._width,)
            return {n: np.ctypeslib.as_array(row, shape).copy() for n, row in rows.items()}
        finally:
            self._cpp.llama_batch_free(batch)


class _Tree:
    """Sequences that begin alike, every token once: (token, position, sequences through it)."""

    def __init__(self):
        self.nodes: list[tuple[int, int, list[int]]] = []
        self._below, self._count = {}, 0

    def add(self, ids: Sequence[int]) -> list[int]:
        """The nodes of a sequence's tokens."""
        node, path = -1, []
        for place, token in enumerate(ids):
            node = self._below.setdefault((node, token), len(self.nodes))
            if node == len(self.nodes):
                self.nodes.append((token, place, []))
            self.nodes[node][2].append(self._count)
            path.append(node)
        self._count += 1
        return path


def _split(questions: Sequence, context: int):
    """Groups of neighbours whose sequences and tokens llama.cpp can hold at once."""
    part, sequences, tokens = [], 0, 0
    for question in questions:
        more = len(question.choices.list_paths()[0])
        size = len(question.ids) + len(question.choices.tokens)
        if part and (sequences + more > MOST_SEQUENCES or tokens + size > context):
            yield part
            part, sequences, tokens = [], 0, 0
        part.append(question)
        sequences, tokens = sequences + more, tokens + size
    if part:
        yield part


def quantize(source: Path, target: Path, kind: str) -> None:
    """Writes a GGUF file in 16 bits again in fewer, such as "q4_k_m"; DataError where it cannot.

    A layer whose width does not fit the kind's blocks gets more bits.
    """
    cpp = _import()
    names = {n.lower(): n for n in dir(cpp) if n.startswith("LLAMA_FTYPE_MOSTLY_")}
    options = cpp.llama_model_quantize_default_params()
    options.ftype = getattr(cpp, names[f"llama_ftype_mostly_{kind}"])
    if cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), options):
        raise DataError(f"{source}: llama.cpp cannot write it as {kind}")


def _import():
    """The package, made silent: it reports every tensor that it loads."""
    try:
        import llama_cpp
    except ImportError as error:
        hint = "make llamacpp, or pip install 'emolib[llamacpp]', which needs a C++ compiler"
        raise DataError(f"llama.cpp is not installed ({error}): {hint}") from None
    llama_cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))
    return llama_cpp


_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
