"""Token sequences that begin alike, in one row where a shared beginning stands once.

Prompts of a task share their instruction, prompts about one text share the text. Here
they become a forest: each shared part is one segment, computed once, and every token
sees its ancestors and nothing else. The row has no padding, so that the matrix products
work on necessary tokens only; positions are those of the sequences. The same row serves
scoring and, with gradients, training.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.utils.rnn import pad_sequence

LEAST = 8  # tokens: a shorter shared beginning is not worth a segment
LANES = 32  # bfloat16 numbers in a vector register of 512 bits


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
            order = whole.new_empty(self.ids.shape[1] * heads)
            order[whole[real]] = real.nonzero()[:, 0]
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
