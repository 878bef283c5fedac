"""Flow: each pixel is fetched from a place nearby, so that an image bends and no colour is added."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Bounds, PerRow, Points, Threat
from holdfast.parts.threats.smooth import roughness


def cell(place: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The grid point below each `place` on a line of `length` points, and how far beyond it (0 to 1); outside is the nearest end."""
    place = place.clamp(0, length - 1)
    # The last place belongs to the cell before it: otherwise nothing there could move.
    low = place.detach().floor().clamp(max=max(length - 2, 0))
    return low.long(), place - low


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x'(i, j) = x(i + u(i, j), j + v(i, j)), bilinear between pixels, beyond the edge as at the edge.

    `x` `[n, c, h, w]`; `flow` `[n, 2, h, w]`: u down and v across, in pixels. Zero flow returns x to the last bit.

    Source: Xiao et al. 2018, eq. 1.

    >>> warp(torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[0.0, 0.0]], [[0.5, 0.0]]]])).tolist()
    [[[[3.0, 5.0]]]]
    """
    channels, height, width = x.shape[1:]
    down, across = (torch.arange(length, device=x.device, dtype=x.dtype) for length in (height, width))
    top, lower = cell(down.unsqueeze(1) + flow[:, 0], height)
    left, later = cell(across + flow[:, 1], width)
    lower, later = lower.unsqueeze(1), later.unsqueeze(1)
    values = x.flatten(2)

    def fetch(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).flatten(1).unsqueeze(1).expand(-1, channels, -1)
        return values.gather(2, index).reshape(x.shape)

    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    above = fetch(top, left) * (1 - later) + fetch(top, right) * later
    below = fetch(bottom, left) * (1 - later) + fetch(bottom, right) * later
    return above * (1 - lower) + below * lower


@dataclass(frozen=True)
class Flow(Threat):
    """Pixels of images move by (u, v): max ‖(u, v)‖₂ ≤ radius, in pixels; the radius may be infinite.

    p `[n, 2, h, w]`: u down and v across, from where each pixel is fetched.

    Penalty: the flow loss Σ_a Σ_{b ∈ N(a)} ‖p(a) − p(b)‖₂ over the four neighbours.

    Source: Xiao, Zhu, Li, He, Liu & Song 2018, "Spatially transformed adversarial examples", eq. 1 and 4.
    Differs from the paper: a bound, which it has none of (∞ is its case).

    >>> Flow(1.0).size(torch.zeros(1, 1, 1, 1), torch.tensor([[[[3.0]], [[4.0]]]])).tolist()
    [5.0]
    """

    radius: float = math.inf
    bounds: Bounds = field(default=Bounds(), repr=False)

    def __post_init__(self) -> None:
        if not self.radius >= 0:
            raise ConfigError(f"Flow({self.radius}): the radius must be a number of pixels ≥ 0")

    def unfit(self, shape: tuple[int, ...]) -> str:
        return "" if len(shape) == 3 else "a flow moves the pixels of images [n, c, h, w]"

    def within(self, bounds: Bounds) -> Self:
        return replace(self, bounds=bounds)

    def zero(self, x: Points) -> Tensor:
        return torch.zeros_like(x[:, :1]).repeat(1, 2, 1, 1)

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        noise = draw.uniform("start", (2, *x.shape[2:]), x.dtype) * 2 - 1
        return self.project(x, noise * per_row(radius.to(x.dtype), noise), radius)

    def apply(self, x: Points, p: Tensor) -> Tensor:
        # A mean of values in the range lies in it, but for its rounding.
        return self.bounds.clamp(warp(x, p))

    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        r = x.new_full((len(x),), self.radius) if radius is None else radius.to(x.dtype)
        length = p.norm(dim=1, keepdim=True)
        return p * (per_row(r, p) / length.clamp_min(torch.finfo(p.dtype).tiny)).clamp(max=1)

    def size(self, x: Points, p: Tensor) -> PerRow:
        return p.norm(dim=1).flatten(1).amax(dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        return g / g.norm(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)

    def penalty(self, x: Points, p: Tensor) -> PerRow:
        return roughness(p)
