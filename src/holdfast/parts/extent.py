"""How large inputs and changes can be at all: the units in which attacks without a radius take their steps."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.types import Bounds, PerRow
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
