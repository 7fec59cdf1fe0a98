"""Token sequences that begin alike, in one row where a shared beginning stands once.

Prompts of a task share their instruction, prompts about one text share the text. Here
they become a forest: each shared part is one segment, computed once, and every token
sees its ancestors and nothing else. The row has no padding, so that the matrix products
work on necessary tokens only; positions are those of the sequences. The same row serves
scoring and, with gradients, training.
"""

import itertools
import types
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.nn.functional import dropout as dropped
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface

LEAST = 8  # tokens: a shorter shared beginning is not worth a segment
LANES = 32  # bfloat16 numbers in a vector register of 512 bits
_NAME = "emolib_forest"
_PROBE = "We sat in the kitchen until the light had gone from the windows, because"


@dataclass(frozen=True)
class Item:
    """A token sequence, and tokens that branch off after its end.

    `parents[i]` is the branch token that `branches[i]` follows, -1 for the sequence's
    last token. A completion is a chain of branches, a set of answers a tree of them.
    """

    ids: Sequence[int]
    branches: Sequence[int] = ()
    parents: Sequence[int] = ()


@dataclass
class Block:
    """Segments of like length, padded: who asks, who is seen, and by whom."""

    queries: torch.Tensor  # [segments, longest], places in the row
    keys: torch.Tensor  # [segments, longest path], places in the row
    seen: torch.Tensor  # [segments, longest, longest path], bool
    real: torch.Tensor  # [segments, longest], False for padding
    masks: dict = field(default_factory=dict, repr=False)

    def mask(self, groups: int, repeats: int, dtype, device) -> torch.Tensor:
        """Additive, [segments * groups, repeats * longest, longest path]; made once."""
        key = (groups, repeats, dtype, device)
        if key not in self.masks:
            closed = torch.zeros(self.seen.shape, dtype=dtype)
            closed.masked_fill_(~self.seen, torch.finfo(dtype).min)
            whole = closed.repeat(1, repeats, 1).repeat_interleave(groups, 0)
            self.masks[key] = whole.to(device)
        return self.masks[key]


@dataclass
class Row:
    """One row of a forest. `ends` and `branches` are places of the items' tokens."""

    ids: torch.Tensor  # [1, tokens]
    positions: torch.Tensor  # [1, tokens]
    ends: list[int]  # per item the place of its last token
    branches: list[list[int]]  # per item the places of its branch tokens
    blocks: list[Block]

    made: dict = field(default_factory=dict, repr=False)

    def to(self, device, **_) -> "Row":
        """The same row with all its tensors on a device."""
        if torch.device(device) != self.ids.device:
            self.ids, self.positions = self.ids.to(device), self.positions.to(device)
            for block in self.blocks:
                block.queries = block.queries.to(device)
                block.keys = block.keys.to(device)
        return self

    def find_places(self, heads: int, groups: int) -> list:
        """Per block the rows of queries and keys in tables [tokens * heads, size].

        In the order [segment, key head, query head of that key head, token], so that
        one copy brings them into the shape that is multiplied; made once.
        """
        if (heads, groups) not in self.made:
            self.made[heads, groups] = [
                _Places(
                    _spread(block.queries, heads, groups),
                    _spread(block.keys, groups, groups),
                )
                for block in self.blocks
            ]
        return self.made[heads, groups]

    def find_order(self, heads: int, groups: int) -> torch.Tensor:
        """[tokens * heads]: where tokens' heads stand among the blocks' results."""
        key = ("order", heads, groups)
        if key not in self.made:
            places = self.find_places(heads, groups)
            whole = torch.cat([each.queries for each in places])
            real = torch.cat([_mark_real(b, heads, groups) for b in self.blocks])
            spots = torch.arange(len(whole), device=whole.device)[real]
            order = torch.empty(self.ids.shape[1] * heads, dtype=torch.long)
            order = order.to(whole.device)
            order[whole[real]] = spots
            self.made[key] = order
        return self.made[key]


@dataclass(frozen=True)
class _Places:
    queries: torch.Tensor
    keys: torch.Tensor


def _spread(places: torch.Tensor, heads: int, groups: int) -> torch.Tensor:
    """Rows of a table [tokens * heads] for places [segments, length]."""
    repeats = heads // groups
    head = torch.arange(heads, device=places.device).view(1, groups, repeats, 1)
    return (places[:, None, None] * heads + head).flatten()


def _mark_real(block: "Block", heads: int, groups: int) -> torch.Tensor:
    """Which queries of a block are tokens and not padding, as `_spread` orders them."""
    count, width = block.queries.shape
    real = block.real.to(block.queries.device)[:, None]
    return real.expand(count, heads, width).flatten()


def plan(items: Sequence[Item], budget: int) -> list[list[int]]:
    """Which items make one row each: at most `budget` tokens, an item at least.

    Items are taken in the order of their tokens, so that those that begin alike meet.
    """
    order = sorted(range(len(items)), key=lambda number: list(items[number].ids))
    paths = _find_paths([items[number].ids for number in order])
    rows: list[list[int]] = []
    held: set = set()
    used = 0
    for number, path in zip(order, paths, strict=True):
        cost = _cost(path, held) + len(items[number].branches)
        if not rows or used + cost > budget:
            rows.append([])
            held, used = set(), 0
            cost = _cost(path, held) + len(items[number].branches)
        rows[-1].append(number)
        held.update(path)
        used += cost
    return rows


def count(items: Sequence[Item]) -> int:
    """Tokens of the row that `lay` makes of these items."""
    paths = _find_paths(sorted(list(item.ids) for item in items))
    return _cost({span for path in paths for span in path}, set()) + sum(
        len(item.branches) for item in items
    )


def _cost(path, held: set) -> int:
    return sum(end - begin for begin, end, first in set(path) - held)


def _find_paths(sequences: list) -> list[list[tuple[int, int, int]]]:
    """Per sequence its segments from the root on: (begin, end, first sequence with it).

    Sequences are sorted. Neighbours that agree in LEAST more tokens than their parent
    share a segment, as long as all of the group agree. A sequence's last token is its
    own, also where two sequences are equal.
    """
    agree = [
        _count_equal(first, second) for first, second in itertools.pairwise(sequences)
    ]
    paths: list[list] = [[] for _ in sequences]
    open_groups = [(0, len(sequences), 0)]
    while open_groups:
        start, stop, depth = open_groups.pop()
        while start < stop:
            end = start + 1
            while end < stop and agree[end - 1] >= depth + LEAST:
                end += 1
            if end - start == 1:
                paths[start].append((depth, len(sequences[start]), start))
            else:
                shared = min(agree[start : end - 1])
                for place in range(start, end):
                    paths[place].append((depth, shared, start))
                open_groups.append((start, end, shared))
            start = end
    return paths


def _count_equal(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens that two sequences begin with alike, but never all of either."""
    most = min(len(first), len(second)) - 1
    for place in range(most):
        if first[place] != second[place]:
            return place
    return most


def lay(items: Sequence[Item]) -> Row:
    """The items as one row; its `ends` and `branches` are in the items' order.

    Shared beginnings are found on the tokens themselves: nothing is cut inside one.
    """
    order = sorted(range(len(items)), key=lambda number: list(items[number].ids))
    paths = _find_paths([items[number].ids for number in order])
    ids: list[int] = []
    positions: list[int] = []
    segments: list[tuple[list, list, list]] = []  # own places, places before, parents
    places: dict[tuple, list[int]] = {}
    ends: list = [None] * len(items)
    branches: list = [None] * len(items)
    for number, path in zip(order, paths, strict=True):
        item, before = items[number], []
        for begin, end, first in path:
            if (begin, end, first) not in places:
                own = list(range(len(ids), len(ids) + end - begin))
                places[begin, end, first] = own
                ids += item.ids[begin:end]
                positions += range(begin, end)
                if end < len(item.ids):
                    segments.append((own, list(before), []))
            before += places[begin, end, first]
        own = places[path[-1]]
        ends[number] = own[-1]
        branches[number] = list(range(len(ids), len(ids) + len(item.branches)))
        ids += item.branches
        depths = _measure_depths(item.parents)
        positions += [len(item.ids) + depth for depth in depths]
        whole = own + branches[number]
        segments.append((whole, before[: -len(own)], list(item.parents)))
    blocks = _make_blocks(segments)
    return Row(torch.tensor([ids]), torch.tensor([positions]), ends, branches, blocks)


def _measure_depths(parents: Sequence[int]) -> list[int]:
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return depths


def _make_blocks(segments: list) -> list[Block]:
    """Segments in blocks of like length."""
    by_length = sorted(segments, key=lambda s: (-len(s[0]), -len(s[1])))
    groups: list[list] = []
    for segment in by_length:
        if groups and len(segment[0]) >= 0.75 * len(groups[-1][0][0]):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return [_make_block(group) for group in groups]


def _make_block(group: list) -> Block:
    def pad(lists):
        return pad_sequence([torch.tensor(each) for each in lists], batch_first=True)

    queries = pad([own for own, _, _ in group])
    keys = pad([before + own for own, before, _ in group])
    # Softmax in bfloat16 takes twice as long on a CPU where a row has a rest.
    keys = torch.nn.functional.pad(keys, (0, -keys.shape[1] % LANES))
    seen = torch.zeros(*queries.shape, keys.shape[1], dtype=torch.bool)
    for number, (own, before, parents) in enumerate(group):
        past, length = len(before), len(own)
        inside = torch.ones(length, length, dtype=torch.bool).tril()
        chain = length - len(parents)
        for branch, parent in enumerate(parents, start=chain):
            inside[branch, chain:branch] = False
            if parent >= 0:
                inside[branch] |= inside[chain + parent]
        seen[number, :length, :past] = True
        seen[number, :length, past : past + length] = inside
    real = seen.any(-1)
    seen[..., 0] |= ~real  # padding has to see something
    return Block(queries, keys, seen, real)


def _attend(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """Attention over a row [1, heads, tokens, size], block by block.

    Query heads that share a key head stand below one another, so that keys and values
    are not repeated.
    """
    row, dropout = kwargs["forest"], kwargs.get("dropout", 0.0)
    _refuse_other_attention(row, kwargs)
    heads, tokens, size = query.shape[1:]
    groups = key.shape[1]
    query, key, value = (
        each[0].transpose(0, 1).reshape(-1, each.shape[-1])
        for each in (query, key, value)
    )
    results = []
    for block, take in zip(row.blocks, row.find_places(heads, groups), strict=True):
        count = len(block.queries)
        known = key.index_select(0, take.keys).view(count * groups, -1, size)
        scores = torch.baddbmm(
            block.mask(groups, heads // groups, query.dtype, query.device),
            query.index_select(0, take.queries).view(count * groups, -1, size),
            known.transpose(1, 2),
            alpha=scaling,
        )
        weights = dropped(scores.softmax(-1), dropout, module.training)
        told = value.index_select(0, take.keys).view(*known.shape[:2], -1)
        results.append(torch.bmm(weights, told).flatten(0, 1))
    found = torch.cat(results).index_select(0, row.find_order(heads, groups))
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
    with _attention(body):
        inputs |= {"position_ids": row.positions, "forest": row}
        return body(**inputs).last_hidden_state[0]


@contextmanager
def _attention(body):
    """The body with this file's attention; as it was afterwards."""
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
    """[1, 1, tokens, tokens], additive."""
    tokens = row.ids.shape[1]
    flat = torch.cat([_scatter(block, tokens) for block in row.blocks])
    seen = flat[row.find_order(1, 1).cpu()]
    mask = torch.zeros(tokens, tokens, dtype=dtype)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[None, None].to(
        row.ids.device
    )


def _scatter(block: Block, tokens: int) -> torch.Tensor:
    """[queries, tokens]: a block's table of who sees whom, by place in the row."""
    count, width, past = block.seen.shape
    wide = torch.zeros(count, width, tokens, dtype=torch.int32)
    keys = block.keys.cpu()[:, None].expand(count, width, past)
    wide.scatter_add_(2, keys, block.seen.int())  # padded keys point at place 0
    return wide.bool().flatten(0, 1)


@torch.no_grad()
def fits(model, tokenizer) -> bool:
    """Whether a model gives in a shared row what it gives for each sequence alone.

    Tried on two short texts, not looked up: it takes rotary, learned or ALiBi positions
    and plain attention, and what else a model may do nobody can list. Rounding in
    bfloat16 moves logits by a tenth of their size, a wrong attention by all of it.
    """
    body, head = take_body(model)
    texts = [f"{_PROBE} {end}" for end in ("it was late.", "nobody had come to ask.")]
    items = [Item(ids, ids[-1:], [-1]) for ids in tokenizer(texts).input_ids]
    training = model.training
    model.eval()
    try:
        row = lay(items)
        ours = head(encode(model, row)[[places[-1] for places in row.branches]]).float()
        alone = [
            model(torch.tensor([[*i.ids, *i.branches]]).to(body.device)).logits[0, -1]
            for i in items
        ]
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError):
        return False
    finally:
        model.train(training)
    theirs = torch.stack(alone).float()
    size = (theirs - theirs.mean(-1, keepdim=True)).norm()
    return bool((ours - theirs).norm() < 0.25 * size)
