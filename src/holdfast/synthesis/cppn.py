"""Compositional pattern-producing networks: an image as a small function of place, for a whole population at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.rows import Rows, per_row
from holdfast.synthesis.encodings import Encoding, colour, polynomial

_INPUTS = 4
_WIDEST = 10.0
_KINDS = 4


@dataclass(frozen=True)
class Networks(Rows):
    """`n` networks in `m` places each: inputs (x, y, r, 1), outputs, then hidden nodes, of which some do not exist.

    `weight`, `on` `[n, m, m]`: the connections into a node (axis 1) from others (axis 2); `kind` `[n, m]`: 0 sine, 1 sigmoid, 2 gaussian,
    3 linear; `depth` `[n, m]`: 0 for inputs, 1 for outputs, between for hidden nodes, 2 where there is none. Connections lead from a
    smaller to a larger depth, so there are no loops.
    """

    weight: Tensor
    on: Tensor
    kind: Tensor
    depth: Tensor


@dataclass(frozen=True)
class Cppn(Encoding):
    """Networks that grow: they start as one layer and gain nodes and connections.

    A child, in this order: each weight, with a chance of 0.1, moves by a polynomial mutation (η = 15) of the span −10..10; each node, with
    a chance of 0.1, draws its function anew; a connection is added (0.5), one removed (0.3), one split by a new node (0.5), a node removed
    (0.2). At most `hidden` nodes. The image is |output|; with three outputs hue, saturation and brightness.
    """

    shape: tuple[int, ...]
    hidden: int = 24

    @property
    def size(self) -> int:
        """How many places a network has."""
        return _INPUTS + self.shape[0] + self.hidden

    def random(self, draw: Draw, dtype: torch.dtype) -> Networks:
        n, m, outputs = len(draw.key), self.size, slice(_INPUTS, _INPUTS + self.shape[0])
        device = draw.key.device
        on = torch.zeros(n, m, m, dtype=torch.bool, device=device)
        on[:, outputs, :_INPUTS] = True
        depth = torch.full((n, m), 2.0, dtype=torch.float64, device=device)
        depth[:, :_INPUTS], depth[:, outputs] = 0.0, 1.0
        weight = (draw.uniform("weight", (m, m), dtype) * 2 - 1) * _WIDEST
        return Networks(torch.where(on, weight, 0.0), on, draw.integer("kind", (m,), _KINDS), depth)

    def child(self, genome: Rows, partner: Rows, draw: Draw, generation: int) -> Networks:
        assert isinstance(genome, Networks)
        net, m, dtype = genome, self.size, genome.weight.dtype
        chance = draw.uniform("chance", (4,), dtype).unbind(dim=1)
        which = draw.uniform("which", (4,), dtype).unbind(dim=1)
        moves = draw.uniform("moves", (m, m), dtype) < 0.1
        moved = (net.weight + 2 * _WIDEST * polynomial(draw.uniform("move", (m, m), dtype))).clamp(-_WIDEST, _WIDEST)
        weight = torch.where(moves & net.on, moved, net.weight)
        redrawn = draw.uniform("redrawn", (m,), dtype) < 0.1
        net = Networks(weight, net.on, torch.where(redrawn, draw.integer("kind", (m,), _KINDS), net.kind), net.depth)
        fresh = draw.uniform("fresh", (2,), dtype)
        net = _added(net, which[0], chance[0] < 0.5, (fresh[:, 0] * 2 - 1) * _WIDEST)
        net = _removed(net, one_of(net.on, which[1]) & per_row(chance[1] < 0.3, net.on))
        net = _split(net, which[2], chance[2] < 0.5, (fresh[:, 1] * _KINDS).long())
        hidden = (net.depth > 0) & (net.depth < 1)
        gone = one_of(hidden, which[3]) & (chance[3] < 0.2).unsqueeze(1)
        net = _removed(net, (gone.unsqueeze(1) | gone.unsqueeze(2)) & net.on)
        return Networks(net.weight, net.on, net.kind, torch.where(gone, 2.0, net.depth))

    def render(self, genome: Rows) -> Tensor:
        assert isinstance(genome, Networks)
        channels, height, width = self.shape
        order = genome.depth.argsort(dim=1, stable=True)
        rows = torch.arange(len(order), device=order.device)
        weight = genome.weight.gather(1, order.unsqueeze(2).expand_as(genome.weight))
        weight = weight.gather(2, order.unsqueeze(1).expand_as(weight))
        kind, used = genome.kind.gather(1, order), int((genome.depth <= 1).sum(dim=1).max())
        value = weight.new_zeros(len(order), used, height * width)
        value[:, :_INPUTS] = grid(height, width, weight)
        for place in range(_INPUTS, used):
            total = torch.bmm(weight[:, place : place + 1, :place], value[:, :place]).squeeze(1)
            value[:, place] = activated(total, kind[:, place])
        ranked = order.argsort(dim=1)[:, _INPUTS : _INPUTS + channels]
        out = value[rows.unsqueeze(1), ranked].abs()
        return colour(out.clamp(0, 1).reshape(-1, channels, height, width))


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """What the inputs hold at each place: x and y from −1 to 1, the distance from the middle, and 1: `[4, height · width]`."""

    def side(count: int) -> Tensor:
        return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device) if count > 1 else like.new_zeros(1)

    y, x = torch.meshgrid(side(height), side(width), indexing="ij")
    return torch.stack([x, y, (x.square() + y.square()).sqrt(), torch.ones_like(x)]).flatten(1)


def activated(total: Tensor, kind: Tensor) -> Tensor:
    """sin t, 2 σ(t) − 1, exp(−t²), or t / 3 within ±1, by the row's `kind` `[n]`; `total` `[n, ...]`, all within −1..1."""
    pick = per_row(kind, total)
    smooth = torch.where(pick == 0, total.sin(), (total / 2).tanh())
    return torch.where(pick < 2, smooth, torch.where(pick == 2, (-total.square()).exp(), (total / 3).clamp(-1, 1)))


def one_of(mask: Tensor, u: Tensor) -> Tensor:
    """`mask` `[n, ...]` with one of its true places left in each row, chosen by `u` `[n]` uniform on (0, 1); none where there is none."""
    flat = mask.flatten(1)
    count = flat.cumsum(dim=1)
    nth = torch.minimum((u * count[:, -1]).floor().long(), (count[:, -1] - 1).clamp_min(0))
    return (flat & (count == (nth + 1).unsqueeze(1))).reshape(mask.shape)


def _added(net: Networks, u: Tensor, where: Tensor, weight: Tensor) -> Networks:
    """A connection that is not there yet, from a smaller to a larger depth."""
    into, source = net.depth.unsqueeze(2), net.depth.unsqueeze(1)
    new = one_of((source < into) & (into <= 1) & ~net.on, u) & per_row(where, net.on)
    return Networks(torch.where(new, per_row(weight, new), net.weight), net.on | new, net.kind, net.depth)


def _removed(net: Networks, gone: Tensor) -> Networks:
    return Networks(torch.where(gone, 0.0, net.weight), net.on & ~gone, net.kind, net.depth)


def _split(net: Networks, u: Tensor, where: Tensor, kind: Tensor) -> Networks:
    """A new node in the middle of a connection: 1 into it, the old weight out of it; nothing where all nodes are used."""
    free = one_of(net.depth > 1, torch.zeros_like(u))
    split = one_of(net.on, u) & per_row(where & free.any(dim=1), net.on)
    happens = split.flatten(1).any(dim=1)
    into, source = split.any(dim=2), split.any(dim=1)
    weight = (net.weight * split).flatten(1).sum(dim=1)
    depth = ((net.depth * into).sum(dim=1) + (net.depth * source).sum(dim=1)) / 2
    free = free & happens.unsqueeze(1)
    inward = free.unsqueeze(2) & source.unsqueeze(1)
    outward = into.unsqueeze(2) & free.unsqueeze(1)
    cut = _removed(net, split)
    changed = torch.where(inward, 1.0, torch.where(outward, per_row(weight, split), cut.weight))
    return Networks(
        changed, cut.on | inward | outward, torch.where(free, kind.unsqueeze(1), net.kind), torch.where(free, depth.unsqueeze(1), net.depth)
    )
