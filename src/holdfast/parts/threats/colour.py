"""Colour: every pixel of one colour is given one other, by a table that colours are looked up in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Bounds, PerRow, Points, Threat
from holdfast.parts import cieluv
from holdfast.parts.threats.flow import cell
from holdfast.parts.threats.smooth import roughness

# How far the conversions of colours there and back may be off in single precision.
_ROUNDING = 1e-4


def look_up(table: Tensor, colour: Tensor) -> Tensor:
    """What a `table` `[n, k, r_1, …, r_c]` says of each `colour` `[n, c, ...]` in [0, 1], linear between its entries: `[n, k, ...]`.

    Entry (i_1, …, i_c) stands at the colour (i_1/(r_1 − 1), …); with three channels this is trilinear interpolation.

    >>> look_up(torch.tensor([[[0.0, 10.0]]]), torch.tensor([[[0.25, 1.0]]])).tolist()
    [[[2.5, 10.0]]]
    """
    sides = table.shape[2:]
    lows, beyond = zip(*(cell(colour[:, i].flatten(1) * (side - 1), side) for i, side in enumerate(sides)), strict=True)
    places, weights = [], []
    for corner in product((0, 1), repeat=len(sides)):
        place, weight = torch.zeros_like(lows[0]), torch.ones_like(beyond[0])
        for up, side, low, share in zip(corner, sides, lows, beyond, strict=True):
            place = place * side + (low + up).clamp(max=side - 1)
            weight = weight * (share if up else 1 - share)
        places.append(place)
        weights.append(weight)
    # All corners at once: the gradient of each gather is as large as the table.
    index = torch.stack(places, dim=1).flatten(1).unsqueeze(1).expand(-1, table.shape[1], -1)
    values = table.flatten(2).gather(2, index).unflatten(2, (len(places), -1))
    return (values * torch.stack(weights, dim=1).unsqueeze(1)).sum(dim=2).reshape(len(table), table.shape[1], *colour.shape[2:])


@dataclass(frozen=True)
class Colour(Threat):
    """Colours c = C(x) shift by what a table p says of them: x' = C⁻¹( c + p(c) ), max |p| ≤ radius, a share of a channel's range.

    p `[n, c, r_1, …, r_c]`: a shift of all c channels at each entry, linear in between.
    `space` C: `luv` (CIELUV, scaled as in the authors' code) or `rgb`; images of one or two channels are shifted in these. `resolution`:
    entries along each channel, which are at most as many as it names.

    Penalty: Σ ‖p(a) − p(b)‖₂ over neighbouring entries.
    Source: Laidlaw & Feizi 2019, "Functional adversarial attacks".
    Differs from the paper: the table holds shifts, so that zero changes nothing to the last bit; what no screen shows is clipped in RGB,
    not entry by entry in the table, and a pixel that this would carry beyond the largest shift stays as it is: the bound holds for images.

    >>> Colour(0.1, space="rgb").apply(torch.zeros(1, 3, 1, 1), torch.full((1, 3, 16, 32, 32), 0.1)).flatten().tolist()[0]
    0.10000000149011612
    """

    radius: float = 0.06
    space: Literal["luv", "rgb"] = "luv"
    resolution: tuple[int, ...] = (16, 32, 32)
    bounds: Bounds = field(default=Bounds(), repr=False)

    def __post_init__(self) -> None:
        if not self.radius >= 0 or self.space not in ("luv", "rgb") or not self.resolution or min(self.resolution) < 2:
            raise ConfigError(
                f"Colour({self.radius}, space={self.space!r}, resolution={self.resolution}): expected a radius ≥ 0, "
                f"'luv' or 'rgb', and two entries a channel at least, as in Colour(0.06, resolution=(16, 32, 32))"
            )

    @property
    def kind(self) -> str:
        return f"Colour {self.space}"

    def unfit(self, shape: tuple[int, ...]) -> str:
        fits = len(shape) == 3 and shape[0] <= len(self.resolution)
        return "" if fits else f"a table of colours is looked up in images [n, c, h, w] of 1 to {len(self.resolution)} channels"

    def within(self, bounds: Bounds) -> Self:
        if not bounds.finite:
            raise ConfigError(f"{self!r} shifts shares of a finite range, not of {bounds}: give Classifier(bounds=(low, high))")
        return replace(self, bounds=bounds)

    def zero(self, x: Points) -> Tensor:
        return x.new_zeros(self._shape(x))

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        noise = draw.uniform("start", self._shape(x)[1:], x.dtype) * 2 - 1
        return noise * per_row(radius.to(x.dtype), noise)

    def apply(self, x: Points, p: Tensor) -> Tensor:
        low, high = self.bounds.pair(x)
        unit = (x - low) / (high - low)
        if self.space == "rgb" or x.shape[1] != 3:
            shift = look_up(p, unit)
        else:
            colour = cieluv.luv(unit)
            shift = cieluv.rgb(colour + look_up(p, colour)) - cieluv.rgb(colour)
            # Near black, clipping what no screen shows can carry a colour farther than its shift: there nothing is changed.
            moved = (cieluv.luv((unit + shift.detach()).clamp(0, 1)) - colour).abs().amax(dim=1, keepdim=True)
            shift = torch.where(moved > per_row(self.size(x, p), moved) + _ROUNDING, torch.zeros_like(shift), shift)
        return self.bounds.clamp(x + (high - low) * shift)

    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        r = x.new_full((len(x),), self.radius) if radius is None else radius.to(x.dtype)
        return torch.clamp(p, -per_row(r, p), per_row(r, p))

    def size(self, x: Points, p: Tensor) -> PerRow:
        return p.abs().flatten(1).amax(dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def penalty(self, x: Points, p: Tensor) -> PerRow:
        return roughness(p)

    def _shape(self, x: Tensor) -> tuple[int, ...]:
        return (len(x), x.shape[1], *self.resolution[: x.shape[1]])
