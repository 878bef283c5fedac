"""Arithmetic of norms that more than one threat needs; rows never meet."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.draw import Draw


def take_largest(score: Tensor, value: Tensor, count: Tensor) -> Tensor:
    """`value` `[n, ...]` where `score`, of a shape that broadcasts, is among its row's `count` `[n]` largest, 0 elsewhere.

    Ties go to the earlier place; a fraction of `count` buys none.
    """
    rank = score.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen = rank < count.floor().unsqueeze(1)
    return value * chosen.reshape(score.shape)


def project_l1_box(p: Tensor, low: Tensor, high: Tensor, radius: Tensor) -> Tensor:
    """The nearest q to `p` with low ≤ q ≤ high and Σ|q_i| ≤ radius; `low` ≤ 0 ≤ `high`, `radius` `[n, 1, ...]`.

    The solution is clip(soft(p, λ)) with the smallest λ ≥ 0 that fits; the sum is piecewise linear in λ, and its kinks
    (where a value leaves its bound and where it vanishes) are sorted once, so λ is exact.
    """
    shape = p.shape
    flat = p.flatten(1).double()
    room = torch.where(flat > 0, high.expand_as(p).flatten(1).double(), -low.expand_as(p).flatten(1).double())
    magnitude, r = flat.abs(), radius.flatten(1).double()
    starts = (magnitude - room).clamp_min(0)
    kinks, order = torch.cat([starts, magnitude], dim=1).sort(dim=1)
    slopes = torch.cat([-torch.ones_like(starts), torch.ones_like(magnitude)], dim=1).gather(1, order).cumsum(dim=1)
    widths = kinks.diff(dim=1, prepend=kinks.new_zeros(len(kinks), 1))
    before = torch.cat([slopes.new_zeros(len(slopes), 1), slopes[:, :-1]], dim=1)
    total = torch.minimum(magnitude, room).sum(dim=1, keepdim=True)
    sums = total + (before * widths).cumsum(dim=1)
    # The segment in which the sum falls to r: the last kink whose sum is still above it.
    last = ((sums > r).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    slope = slopes.gather(1, last).clamp(max=-1)
    threshold = kinks.gather(1, last) + (r - sums.gather(1, last)) / slope
    threshold = torch.where(total > r, threshold, torch.zeros_like(threshold))
    kept = torch.minimum((magnitude - threshold).clamp_min(0), room)
    return (flat.sign() * kept).to(p.dtype).reshape(shape)


def random_ball_l1(draw: Draw, x: Tensor, radius: Tensor) -> Tensor:
    """A point on the L1 sphere of `radius` `[n, 1, ...]`: exponential magnitudes with random signs, normalised."""
    shape = tuple(x.shape[1:])
    magnitude = -draw.uniform("start", shape, x.dtype).log()
    total = magnitude.flatten(1).sum(dim=1).reshape(radius.shape)
    return draw.sign("sign", shape, x.dtype) * magnitude / total * radius
