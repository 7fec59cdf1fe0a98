"""Token sequences that begin alike, as one row in which shared beginnings stand once.

    sequences             tree                       row
    A B C D  + x, y       A B ─┬─ C D ─┬─ x          A B C D x y E F z
    A B E F  + z               │       └─ y          mask: a token sees its ancestors
                               └─ E F ─── z          in the tree and itself

Prompts of a task share their instruction, prompts about one text share the text. Each
shared part is a node, computed once. The row has no padding, so that the matrix
products work on necessary tokens only; positions are those of the sequences. The same
row serves scoring and, with gradients, training.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

LEAST = 8  # tokens: a shorter shared beginning is not worth a node
LANES = 32  # bfloat16 numbers in a vector register of 512 bits


@dataclass(frozen=True)
class Item:
    """A token sequence, and tokens that branch off after its end.

    `parents[i]` is the branch token that `branches[i]` follows, -1 for the sequence's last token. A
    completion is a chain of branches, a set of answers a tree of them.
    """

    ids: Sequence[int]
    branches: Sequence[int] = ()
    parents: Sequence[int] = ()


@dataclass(eq=False)
class Node:
    """Tokens that one or more sequences have in common, after those of `parent`."""

    depth: int  # position of its first token in the sequences
    ids: Sequence[int]
    parent: "Node | None"
    places: list[int] | None = None  # of its tokens in the row

    @property
    def path(self) -> list["Node"]:
        """The nodes from the root down to this one."""
        return [*(self.parent.path if self.parent else ()), self]


@dataclass
class Segment:
    """Tokens that attend together: their places in the row, and the places before.

    The last tokens are branches, one for each of `parents` (see `Item`).
    """

    places: list[int]
    before: list[int]
    parents: Sequence[int] = ()


@dataclass
class Block:
    """Segments of like length, padded: who attends, to whom, and what is padding."""

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
    """The tree as one row. `ends` and `branches` are places of the items' tokens."""

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

    def layout(self, heads: int, groups: int) -> tuple[list[tuple], torch.Tensor]:
        """Per block (queries, keys), rows of tables [tokens * heads or groups, size], in the order
        [segment, key head, query head of that key head, token], so that one copy brings them into
        the shape that is multiplied; and [tokens * heads]: where tokens' heads stand among the
        blocks' results. Made once.
        """
        if (heads, groups) not in self.made:
            sides = ((block.queries, block.keys) for block in self.blocks)
            places = [(_spread(q, heads, groups), _spread(k, groups, groups)) for q, k in sides]
            rows = torch.cat([queries for queries, _ in places])
            real = [b.real[:, None].expand(-1, heads, -1).flatten() for b in self.blocks]
            real = torch.cat(real).to(rows.device)
            order = rows.new_empty(self.ids.shape[1] * heads)
            order[rows[real]] = real.nonzero()[:, 0]
            self.made[heads, groups] = places, order
        return self.made[heads, groups]


def _spread(places: torch.Tensor, heads: int, groups: int) -> torch.Tensor:
    """Rows of a table [tokens * heads] for places [segments, length]."""
    head = torch.arange(heads, device=places.device).view(1, groups, heads // groups, 1)
    return (places[:, None, None] * heads + head).flatten()


def plan(items: Sequence[Item], budget: int) -> list[list[int]]:
    """Which items make one row each: at most `budget` tokens, an item at least.

    Items are taken in the order of their tokens, so that those that begin alike meet.
    """
    rows: list[list[int]] = []
    used, present = 0, set()
    for number, leaf in _grow(items):
        path, own = leaf.path, len(items[number].branches)
        cost = own + sum(len(node.ids) for node in path if node not in present)
        if not rows or used + cost > budget:
            rows.append([])
            used, present = 0, set()
            cost = own + sum(len(node.ids) for node in path)
        rows[-1].append(number)
        present.update(path)
        used += cost
    return rows


def count(items: Sequence[Item]) -> int:
    """Tokens of the row that `lay` makes of these items."""
    nodes = {node for _, leaf in _grow(items) for node in leaf.path}
    return sum(len(n.ids) for n in nodes) + sum(len(item.branches) for item in items)


def lay(items: Sequence[Item]) -> Row:
    """The items as one row; its `ends` and `branches` are in the items' order.

    Shared beginnings are found on the tokens themselves: nothing is cut inside one.
    """
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    ends: list = [None] * len(items)
    branches: list = [None] * len(items)
    for number, leaf in _grow(items):
        item, before = items[number], []
        for node in leaf.path:
            if node.places is None:
                node.places = list(range(len(ids), len(ids) + len(node.ids)))
                ids += node.ids
                positions += range(node.depth, node.depth + len(node.ids))
                if node is not leaf:
                    segments.append(Segment(node.places, list(before)))
            if node is not leaf:
                before += node.places
        ends[number] = leaf.places[-1]
        branches[number] = list(range(len(ids), len(ids) + len(item.branches)))
        ids += item.branches
        begin = len(positions)
        for parent in item.parents:
            positions.append(len(item.ids) if parent < 0 else positions[begin + parent] + 1)
        own = leaf.places + branches[number]
        segments.append(Segment(own, before, item.parents))
    blocks = [_make_block(group) for group in _group_by_length(segments)]
    return Row(torch.tensor([ids]), torch.tensor([positions]), ends, branches, blocks)


def _grow(items: Sequence[Item]) -> list[tuple[int, Node]]:
    """(item's number, its leaf) in the order of the items' tokens.

    Neighbours that agree in LEAST more tokens than their parent share a node, as long as all of the
    group agree. A sequence's last token is its own, also where two sequences are equal.
    """
    order = sorted(range(len(items)), key=lambda number: list(items[number].ids))
    sequences = [items[number].ids for number in order]
    agree = [_count_equal(one, other) for one, other in itertools.pairwise(sequences)]
    leaves: list = [None] * len(order)
    groups: list[tuple[int, int, Node | None]] = [(0, len(order), None)]
    while groups:
        start, stop, parent = groups.pop()
        depth = parent.depth + len(parent.ids) if parent else 0
        while start < stop:
            end = start + 1
            while end < stop and agree[end - 1] >= depth + LEAST:
                end += 1
            if end - start == 1:
                leaves[start] = Node(depth, sequences[start][depth:], parent)
            else:
                shared = min(agree[start : end - 1])
                node = Node(depth, sequences[start][depth:shared], parent)
                groups.append((start, end, node))
            start = end
    return list(zip(order, leaves, strict=True))


def _count_equal(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens that two sequences begin with alike, but never all of either."""
    most = min(len(first), len(second)) - 1
    return next((n for n in range(most) if first[n] != second[n]), most)


def _group_by_length(segments: list[Segment]) -> list[list[Segment]]:
    """Segments in groups whose shortest has 3/4 of the longest's tokens at least."""
    groups: list[list[Segment]] = []
    for each in sorted(segments, key=lambda s: (-len(s.places), -len(s.before))):
        if groups and len(each.places) >= 0.75 * len(groups[-1][0].places):
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _make_block(group: list[Segment]) -> Block:
    width = max(len(each.places) for each in group)
    past = max(len(each.before) + len(each.places) for each in group)
    # Softmax in bfloat16 takes twice as long on a CPU where a row has a rest.
    past += -past % LANES
    queries = np.zeros((len(group), width), dtype=np.int64)
    keys = np.zeros((len(group), past), dtype=np.int64)
    seen = np.zeros((len(group), width, past), dtype=bool)
    for number, each in enumerate(group):
        before, length = len(each.before), len(each.places)
        queries[number, :length] = each.places
        keys[number, : before + length] = each.before + each.places
        seen[number, :length, :before] = True
        inside = seen[number, :length, before : before + length]
        inside[:] = np.tri(length, dtype=bool)
        chain = length - len(each.parents)
        for branch, parent in enumerate(each.parents, start=chain):
            inside[branch, chain:branch] = False
            if parent >= 0:
                inside[branch] |= inside[chain + parent]
    real = seen.any(-1)
    seen[..., 0] |= ~real  # padding has to see something
    return Block(*map(torch.from_numpy, (queries, keys, seen, real)))
