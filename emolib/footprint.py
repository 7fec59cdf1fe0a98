"""The activations of a training step, from a model's configuration alone.

They are not listed by hand: a step of the same model with two and with three layers
runs on fake tensors, which have shapes and no contents, and every storage that comes
and goes is noted. So LoRA's inputs and dropout masks, norms in float32 and the
attention that is really used are all in it, for whatever architecture transformers has.
It is the CPU's operations that run: a GPU's autocast keeps softmax and nn.LayerNorm in
float32, some per cent more, which is in `budget`'s slack.
"""

import copy
import json
import weakref
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import PretrainedConfig

from emolib import DataError, attention, forest, sizes

ANSWER = 8  # tokens of a completion: 7.05 on average over AAID, 15 at most
AGAIN = 1.2  # of a layer's activations: 1.07 to 1.2 in the series' five architectures
INSTRUCTION, OWN = 61, 42  # tokens of a prompt: shared with others, and its own


@dataclass(frozen=True)
class Activations:
    """Bytes that a step holds at most, beside parameters, gradients and optimizer.

    `measure` gives them for one number of tokens, to which they are proportional, or
    for two, and then they may have a quadratic part (attention over a dense mask, as
    BLOOM's shared rows have it).
    """

    tokens: tuple[int, ...]
    ends: tuple[float, ...]  # what is there once: embeddings, the last norm
    layer: tuple[float, ...]  # what each layer adds
    kept: float  # bytes a token between two layers, all that checkpointing keeps

    def weigh(self, tokens: float, layers: int, checkpointing: bool) -> float:
        """Bytes at the peak of a step over so many tokens.

        With checkpointing: what lies between the layers, and one layer worked out
        again, with the gradients inside it.
        """
        own = _interpolate(self.tokens, self.layer, tokens)
        ends = _interpolate(self.tokens, self.ends, tokens)
        if checkpointing:
            return ends + AGAIN * own + layers * self.kept * tokens
        return ends + layers * own


def _interpolate(places, values, wanted: float) -> float:
    """On the parabola through 0 and two points; a line where that bends down."""
    slopes = [value / place for place, value in zip(places, values, strict=True)]
    bend = max(0.0, (slopes[-1] - slopes[0]) / max(1, places[-1] - places[0]))
    start = slopes[-1] - bend * places[-1] if bend else max(slopes)
    return wanted * (start + bend * wanted)


def measure(
    config: PretrainedConfig, shared: bool, rank: int, dropout: float, half: bool
) -> Activations:
    """Activations of a training step; rank 0 tunes all weights.

    `half`: computes in 16 bit under autocast, else in float32. `shared`: rows share
    their instructions, see `forest`. DataError if the architecture cannot be run on
    fake tensors.
    """
    text = json.dumps(config.to_dict(), default=str, sort_keys=True)
    if (text, shared, rank, dropout, half) not in _measured:
        tokens, peaks = [], []
        for rows in (4, 16) if shared and _is_dense(config) else (8,):
            inputs = _lay(config, rows) if shared else _pad(config, rows)
            tokens.append(_count_tokens(inputs))
            peaks.append(
                [
                    _try(_shrink(config, layers, rank, dropout, half), inputs, half)
                    for layers in (2, 3)
                ]
            )
        _measured[text, shared, rank, dropout, half] = Activations(
            tokens=tuple(tokens),
            ends=tuple(max(0, 3 * two - 2 * three) for two, three in peaks),
            layer=tuple(three - two for two, three in peaks),
            kept=config.hidden_size * (2 if half else 4),
        )
    return _measured[text, shared, rank, dropout, half]


_measured: dict[tuple, Activations] = {}


def _is_dense(config: PretrainedConfig) -> bool:
    """Whether shared rows are seen through a mask over the whole row, as in BLOOM."""
    body, _ = attention.take_body(sizes.make(config))
    return hasattr(body, "build_alibi_tensor")


def _try(model, inputs: dict, half: bool) -> int:
    try:
        return _trace(model, inputs, half)
    except Exception as error:  # fake tensors cannot do what asks for contents
        raise DataError(
            f"a training step of type {model.config.model_type!r} cannot be tried"
            f" without the weights: {str(error).splitlines()[0]}"
        ) from error


def _lay(config: PretrainedConfig, rows: int) -> dict:
    """Rows by fours under one instruction, as AAID's batches have them."""
    answer = list(range(ANSWER - 1))
    items = [
        forest.Item(
            [row // 4] * INSTRUCTION + [100 + row] * OWN, answer, [-1, *answer[:-1]]
        )
        for row in range(rows)
    ]
    row = forest.lay(items)
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    for each in ((heads, groups), (1, 1)):  # made now, for they depend on contents
        row.find_order(*each)
    return {"forest": row}


def _pad(config: PretrainedConfig, rows: int) -> dict:
    shape = (rows, INSTRUCTION + OWN + ANSWER)
    if not config.is_encoder_decoder:
        return {"input_ids": shape, "attention_mask": shape}
    shape = (rows, INSTRUCTION + OWN)
    answers = {"decoder_input_ids": (rows, ANSWER)}
    return {"input_ids": shape, "attention_mask": shape, **answers}


def _count_tokens(inputs: dict) -> int:
    if "forest" in inputs:
        return inputs["forest"].ids.shape[1]
    return inputs["input_ids"][0] * inputs["input_ids"][1]


def _shrink(config, layers: int, rank: int, dropout: float, half: bool):
    """The model with so many layers, in training, its adapter in float32; meta."""
    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    config.use_cache = False
    for name in sizes.DECODERS:
        if hasattr(config, name):
            setattr(config, name, layers)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = sizes.make(config, dtype=torch.bfloat16 if half else torch.float32)
    if rank:
        lora = LoraConfig(r=rank, lora_dropout=dropout, target_modules="all-linear")
        model = get_peft_model(model, lora)
    return model.train()


def _trace(model, inputs: dict, half: bool) -> int:
    """Most bytes alive in a step beside parameters and their gradients."""
    watch = _Watch()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fake(model)
        watch.sizes = {_identify(each): 0 for each in model.parameters()}
        body, _ = attention.take_body(model)
        with (
            watch,
            _dropping(half),
            torch.autocast("cpu", torch.bfloat16, enabled=half),
        ):
            if "forest" in inputs and hasattr(body, "build_alibi_tensor"):
                # A dense mask over the row, as over one long text.
                states = body(torch.ones(inputs["forest"].ids.shape, dtype=torch.long))[
                    0
                ]
            elif "forest" in inputs:
                states = attention.encode(model, inputs["forest"])
            else:
                rows = {k: torch.ones(v, dtype=torch.long) for k, v in inputs.items()}
                states = body(**rows)[0]
            states.float().sum().backward()
    return watch.peak


@contextmanager
def _dropping(fused: bool):
    """Dropout as a GPU has it, which keeps a byte per number and not the noise."""
    plain = torch.nn.functional.dropout

    def drop(values, p=0.5, training=True, inplace=False):
        return torch.native_dropout(values, p, training)[0] if p else values

    torch.nn.functional.dropout = drop if fused else plain
    try:
        yield
    finally:
        torch.nn.functional.dropout = plain


def _fake(model) -> None:
    """Fake tensors in the place of all weights, whose gradients are not kept."""
    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is not None:
                new = torch.nn.Parameter(
                    torch.empty(old.shape, dtype=old.dtype),
                    requires_grad=old.requires_grad,
                )
                module._parameters[name] = new
                if new.requires_grad:
                    new.register_post_accumulate_grad_hook(
                        lambda each: setattr(each, "grad", None)
                    )
        for name, old in list(module._buffers.items()):
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype)


def _identify(tensor) -> int:
    return tensor.untyped_storage()._cdata


class _Watch(TorchDispatchMode):
    """Notes the bytes of every storage that an operation makes, until it is freed."""

    def __init__(self):
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.alive = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for each in tree_iter(found):
            if isinstance(each, torch.Tensor) and _identify(each) not in self.sizes:
                self._note(each.untyped_storage())
        return found

    def _note(self, storage) -> None:
        self.sizes[storage._cdata] = storage.nbytes()
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.alive -= self.sizes.pop(key, 0)
