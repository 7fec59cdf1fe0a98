"""A model over a row of a prefix tree: every token sees its ancestors and nothing else.

Attention goes block by block over segments of like length; all else in a layer works on the row as
it is. Models whose attention can be replaced take this one, BLOOM takes a dense mask, and whether a
model does as it should is tried (`fits`).
"""

import types
from contextlib import contextmanager

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.functional import dropout as dropped
from transformers import AttentionInterface, AttentionMaskInterface

from emolib.inference.prefix_tree import Item, Row, lay

_NAME = "emolib_forest"
_PROBE = "We sat in the kitchen until the light had gone from the windows, because"


def _attend(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """Attention over a row [1, heads, tokens, size], block by block.

    Query heads that share a key head stand below one another: no key or value is repeated.
    """
    row, dropout = kwargs["forest"], kwargs.get("dropout", 0.0)
    _refuse_other_attention(row, kwargs)
    heads, tokens, size = query.shape[1:]
    groups = key.shape[1]
    tables = (each[0].transpose(0, 1).flatten(0, 1) for each in (query, key, value))
    query, key, value = tables  # [tokens * heads or groups, size]
    results = []
    places, order = row.layout(heads, groups)
    for block, (rows, columns) in zip(row.blocks, places, strict=True):
        count = len(block.queries) * groups
        asking = query.index_select(0, rows).view(count, -1, size)  # [count, q, size]
        known = key.index_select(0, columns).view(count, -1, size)  # [count, k, size]
        mask = block.mask(groups, heads // groups, query.dtype, query.device)
        scores = torch.baddbmm(mask, asking, known.transpose(1, 2), alpha=scaling)
        weights = dropped(scores.softmax(-1), dropout, module.training)  # [count, q, k]
        values = value.index_select(0, columns).view(*known.shape[:2], -1)
        results.append(torch.bmm(weights, values).flatten(0, 1))  # [count * q, size]
    found = torch.cat(results).index_select(0, order)
    return found.view(1, tokens, heads, -1), None


def _refuse_other_attention(row, options: dict) -> None:
    """What some models add to attention and short texts might not show."""
    window = options.get("sliding_window")
    for name in ("softcap", "s_aux"):
        if options.get(name) is not None:
            raise ValueError(f"attention with {name} is not done in shared rows")
    if window and int(row.positions.max()) >= window:
        raise ValueError(f"a sequence is longer than the sliding window of {window}")


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, lambda *args, **kwargs: None)


def take_body(model):
    """The transformer below the language-model head, with adapters, and the head."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.base_model, whole.get_output_embeddings()


def encode(model, row: Row) -> torch.Tensor:
    """Last hidden states of a row's tokens, [tokens, width], with gradients if on."""
    body, _ = take_body(model)
    row = row.to(body.device)
    inputs = {"input_ids": row.ids, "use_cache": False}
    if hasattr(body, "build_alibi_tensor"):
        with _alibi_by_position(body, row):
            mask = _make_dense_mask(row, body.dtype)
            return body(**inputs, attention_mask=mask).last_hidden_state[0]
    with attending(body):
        inputs |= {"position_ids": row.positions, "forest": row}
        return body(**inputs).last_hidden_state[0]


@contextmanager
def attending(body):
    """The body with this file's attention; as it was afterwards.

    Around a training step where activations are checkpointed: the backward pass computes layers
    again, and has to do so with the same attention.
    """
    before = body.config._attn_implementation
    body.config._attn_implementation = _NAME
    try:
        yield
    finally:
        body.config._attn_implementation = before


@contextmanager
def _alibi_by_position(body, row: Row):
    """BLOOM's attention takes any mask, but counts its distances along the row."""
    original = body.build_alibi_tensor

    def build(self, mask, heads, dtype):
        ones = torch.ones(1, int(row.positions.max()) + 1, device=row.ids.device)
        return original(ones, heads, dtype)[:, :, row.positions[0]]

    body.build_alibi_tensor = types.MethodType(build, body)
    try:
        yield
    finally:
        del body.build_alibi_tensor


def _make_dense_mask(row: Row, dtype: torch.dtype) -> torch.Tensor:
    """[1, 1, tokens, tokens], additive: the blocks' tables of who sees whom, by place."""
    tokens, parts = row.ids.shape[1], []
    for block in row.blocks:
        count, width, past = block.seen.shape
        wide = torch.zeros(count, width, tokens, dtype=torch.int32)
        keys = block.keys.cpu()[:, None].expand(count, width, past)
        wide.scatter_add_(2, keys, block.seen.int())  # padded keys point at place 0
        parts.append(wide.bool().flatten(0, 1))
    seen = torch.cat(parts)[row.layout(1, 1)[1].cpu()]
    mask = torch.zeros(tokens, tokens, dtype=dtype)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[None, None].to(row.ids.device)


@torch.no_grad()
def fits(model, tokenizer) -> bool:
    """Whether a model gives in a shared row what it gives for each sequence alone.

    Tried on two short texts, not looked up: it takes rotary, learned or ALiBi positions and plain
    attention, and what else a model may do nobody can list. Rounding in bfloat16 moves logits by a
    tenth of their size, a wrong attention by all of it.
    """
    if hasattr(model, "shares"):  # llama.cpp does it itself
        return model.shares
    if model.config.is_encoder_decoder:  # its prompts stand in no row with answers
        return False
    body, head = take_body(model)
    texts = [f"{_PROBE} {end}" for end in ("it was late.", "nobody had come to ask.")]
    items = [Item(ids, ids[-1:], [-1]) for ids in tokenizer(texts).input_ids]
    training = model.training
    model.eval()
    try:
        row = lay(items)
        ours = head(encode(model, row)[[places[-1] for places in row.branches]]).float()
        whole = (torch.tensor([[*item.ids, *item.branches]]) for item in items)
        alone = [model(ids.to(body.device)).logits[0, -1] for ids in whole]
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        if should_reduce_batch_size(error):  # says nothing about the model
            raise
        return False
    finally:
        model.train(training)
    theirs = torch.stack(alone).float()
    size = (theirs - theirs.mean(-1, keepdim=True)).norm()
    return bool((ours - theirs).norm() < 0.25 * size)
