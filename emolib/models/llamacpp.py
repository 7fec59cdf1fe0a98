"""A GGUF file asked through llama.cpp, which keeps it quantized. Optional.

Needs llama-cpp-python (the extra `llamacpp`). Prompts and the answers they allow become a tree of
tokens, as in `prefix_tree`: a token belongs to every sequence that runs through it, and llama.cpp
lets it attend to its sequences, so that what is shared is computed once. Tokens come from the
file's own tokenizer as transformers reads it.
"""

import ctypes
import os
from collections.abc import Sequence
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
        self._cpp = _import()
        self.path, self.context = path, context
        self._model = self._context = self._writer = None
        self._cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))
        self._cpp.llama_backend_init()
        options = self._cpp.llama_model_default_params()
        self._layers = -1 if device.startswith("cuda") else 0
        options.n_gpu_layers = self._layers
        self._model = self._cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not self._model:
            raise DataError(f"{path}: llama.cpp cannot read it (damaged, or too new)")
        if self._cpp.llama_model_has_encoder(self._model):
            raise DataError(f"{path}: a model with an encoder: take backend='transformers'")
        self._context = self._cpp.llama_init_from_model(self._model, self._configure())
        if not self._context:
            raise DataError(f"{path}: llama.cpp finds no memory for {context} tokens")
        vocabulary = self._cpp.llama_model_get_vocab(self._model)
        self._width = self._cpp.llama_vocab_n_tokens(vocabulary)
        self.kind = _read_text(self._cpp.llama_model_desc, self._model)  # such as "llama 135M Q4_1"
        self.size = int(self._cpp.llama_model_size(self._model))  # bytes

    def _configure(self):
        options = self._cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = self.context
        options.n_seq_max, options.kv_unified = MOST_SEQUENCES, True
        # Its defaults round keys and values to 16 bits, which moved probabilities of a small model
        # by 0.006; in float32 they are those of transformers to 0.00002.
        options.type_k = options.type_v = _F32
        options.flash_attn_type = 0
        options.n_threads = options.n_threads_batch = torch.get_num_threads()
        return options

    def close(self) -> None:
        """Gives the memory back; the model answers nothing after that."""
        if self._context:
            self._cpp.llama_free(self._context)
        if self._model:
            self._cpp.llama_model_free(self._model)
        if self._writer:
            self._writer.close()
        self._context = self._model = self._writer = None

    def score_answers(self, questions: Sequence) -> list[np.ndarray]:
        """Probabilities of the allowed answers [answers] per `constrained.Question`."""
        found: list = []
        for part in _split(questions, self.context):
            found += self._score(part)
        return found

    def _score(self, questions) -> list[np.ndarray]:
        tree, ends = _Tree(), []
        for question in questions:
            paths, spots = question.choices.list_paths()
            nodes = [tree.add([*question.ids, *path]) for path in paths]
            start = len(question.ids) - 1
            ends.append([nodes[path][start + depth] for path, depth in spots])
        logits = self._decode(tree, {node for each in ends for node in each})
        found = []
        for question, each in zip(questions, ends, strict=True):
            picked = np.stack([logits[n][question.choices.candidates] for n in each])
            measured = question.choices.measure(torch.from_numpy(picked)[None])
            found.append(measured[0].exp().double().numpy())
        return found

    def write(self, prompts: list[list[int]], tokens: int, ends: set[int]) -> list:
        """The likeliest continuation of each prompt, at most `tokens`, without its end.

        Prompts are taken in the order of their tokens; what one shares with the one before is not
        computed again.
        """
        if self._writer is None:
            cpus = torch.get_num_threads()
            self._writer = self._cpp.Llama(
                str(self.path), n_ctx=self.context, n_batch=self.context,
                n_gpu_layers=self._layers, n_threads=cpus, n_threads_batch=cpus,
                type_k=_F32, type_v=_F32, verbose=False,
            )  # fmt: skip
        texts: list = [None] * len(prompts)
        for number in sorted(range(len(prompts)), key=lambda n: prompts[n]):
            self._check(len(prompts[number]) + tokens)
            answer: list[int] = []
            for token in self._writer.generate(prompts[number], temp=0.0):
                if token in ends or len(answer) == tokens:
                    break
                answer.append(token)
            texts[number] = answer
        return texts

    def _check(self, tokens: int) -> None:
        if tokens > self.context:
            raise DataError(
                f"{self.path}: a prompt of {tokens} tokens, llama.cpp holds"
                f" {self.context} here: shorten the text (max_tokens)"
            )

    def _decode(self, tree: "_Tree", wanted: set[int]) -> dict:
        """Logits [vocabulary] after each wanted node."""
        count = len(tree.tokens)
        self._check(count)
        batch = self._cpp.llama_batch_init(count, 0, MOST_SEQUENCES)
        try:
            batch.n_tokens = count
            for n in range(count):
                batch.token[n], batch.pos[n] = tree.tokens[n], tree.places[n]
                batch.n_seq_id[n] = len(tree.members[n])
                for k, sequence in enumerate(tree.members[n]):
                    batch.seq_id[n][k] = sequence
                batch.logits[n] = n in wanted
            memory = self._cpp.llama_get_memory(self._context)
            self._cpp.llama_memory_clear(memory, True)
            if self._cpp.llama_decode(self._context, batch):
                raise MemoryError(f"llama.cpp could not compute {count} tokens")
            return {n: self._read(n) for n in sorted(wanted)}
        finally:
            self._cpp.llama_batch_free(batch)

    def _read(self, node: int) -> np.ndarray:
        row = self._cpp.llama_get_logits_ith(self._context, node)
        return np.ctypeslib.as_array(row, (self._width,)).copy()


class _Tree:
    """Sequences that begin alike, every token once, with the sequences through it."""

    def __init__(self):
        self.tokens: list[int] = []
        self.places: list[int] = []  # position in the sequence
        self.members: list[list[int]] = []
        self._below: dict[tuple[int, int], int] = {}
        self._count = 0

    def add(self, ids: Sequence[int]) -> list[int]:
        """The nodes of a sequence's tokens."""
        node, path = -1, []
        for place, token in enumerate(ids):
            following = self._below.get((node, token))
            if following is None:
                following = self._below[node, token] = len(self.tokens)
                self.tokens.append(token)
                self.places.append(place)
                self.members.append([])
            self.members[following].append(self._count)
            path.append(following)
            node = following
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


def _read_text(ask, model) -> str:
    buffer = ctypes.create_string_buffer(256)
    ask(model, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def quantize(source: Path, target: Path, kind: str) -> None:
    """Writes a GGUF file in 16 bits again in fewer, such as "q4_k_m".

    DataError where llama.cpp cannot. A layer whose width does not fit the kind's blocks gets more
    bits.
    """
    cpp = _import()
    names = {n.lower(): n for n in dir(cpp) if n.startswith("LLAMA_FTYPE_MOSTLY_")}
    options = cpp.llama_model_quantize_default_params()
    options.ftype = getattr(cpp, names[f"llama_ftype_mostly_{kind}"])
    cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))
    if cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), options):
        raise DataError(f"{source}: llama.cpp cannot write it as {kind}")


def _import():
    try:
        import llama_cpp
    except ImportError as error:
        raise DataError(
            f"llama.cpp is not installed ({error}): make llamacpp, or"
            " pip install 'emolib[llamacpp]', which needs a C++ compiler"
        ) from None
    return llama_cpp


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _SILENT(level, text, data):
    """llama.cpp reports every tensor that it loads."""
