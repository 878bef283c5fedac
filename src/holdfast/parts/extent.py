"""What attacks without a radius need to know: how large a change can be at all, and which way to go where nothing points anywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.rows import per_row
from holdfast.core.types import Bounds, PerRow, Probe
from holdfast.parts.threats import Additive


def span(bounds: Bounds) -> float:
    """The width of the valid range, the widest where channels differ; 1 where it has no ends.

    >>> span(Bounds((0.0, -1.0), (1.0, 2.0)))
    3.0
    """
    if not bounds.finite:
        return 1.0
    low, high = bounds.pair(torch.zeros(1, 1))
    return float(torch.as_tensor(high - low).flatten().amax(dim=0))


def farthest(threat: Additive, x: Tensor) -> PerRow:
    """The size `[n]` of the largest change that leaves `x` `[n, ...]` valid."""
    low, high = threat.room(x, torch.zeros_like(x))
    return threat.size(x, torch.maximum(-low, high))


def nonzero(g: Tensor, probe: Probe) -> Tensor:
    """`g` `[n, ...]`, or a random direction in the rows where it is zero: any is as good there."""
    zero = g.flatten(1).norm(dim=1) < torch.finfo(g.dtype).tiny
    return torch.where(per_row(zero, g), probe.draw.normal("way", tuple(g.shape[1:]), g.dtype), g) if bool(zero.any(dim=0)) else g


def usable(g: Tensor, p: Tensor, probe: Probe) -> Tensor:
    """`g` `[n, ...]` at p, in the values that can still move its way: a step's length spent on values at their edge would be lost there.

    A random direction where nothing is left of it.
    """
    assert isinstance(probe.threat, Additive)
    low, high = probe.threat.room(probe.batch.x, p)
    return nonzero(torch.where(torch.where(g > 0, high > 0, low < 0), g, 0.0), probe)
