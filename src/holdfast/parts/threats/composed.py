"""Composed: one way of changing an input after another, each within its own radius."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds, PerRow, Points, Threat
from holdfast.parts.threats.smooth import Penalised


@dataclass(frozen=True)
class Composed(Threat):
    """x' = apply_k( … apply_1(x, r_1 p_1) …, r_k p_k ): p `[n, total]` holds every part's change, flat, as a share of its radius r_i.

    size: max_i size_i(p_i) / r_i, so that the radius is 1; each part is projected on its own, at the input that it is given.
    Penalty: the sum of those that parts have.

    Raises ConfigError for fewer than two parts, or one without a positive, finite radius.
    Source: Laidlaw & Feizi 2019 (ReColorAdv with stAdv and additive changes).

    >>> from holdfast.parts.threats import Flow, Linf
    >>> x, both = torch.rand(1, 1, 4, 4), Composed((Flow(1.0), Linf(0.1)))
    >>> both.zero(x).shape, torch.equal(both.apply(x, both.zero(x)), x)
    (torch.Size([1, 48]), True)
    """

    parts: tuple[Threat, ...]
    radius: float = 1.0

    def __post_init__(self) -> None:
        if len(self.parts) < 2 or not all(isinstance(part, Threat) and 0 < part.radius < math.inf for part in self.parts):
            raise ConfigError(
                f"Composed({self.parts}): expected two threats or more, each of a positive, finite radius, as in "
                f"Composed((Colour(0.06), Flow(1.0), Linf(8 / 255)))"
            )
        if not self.radius >= 0:
            raise ConfigError(f"Composed(radius={self.radius}): the radius must be a number ≥ 0, in shares of those of its parts")

    @property
    def kind(self) -> str:
        return " + ".join(f"{part.kind} {part.radius:g}" for part in self.parts)

    def unfit(self, shape: tuple[int, ...]) -> str:
        return next((reason for part in self.parts if (reason := part.unfit(shape))), "")

    def within(self, bounds: Bounds) -> Self:
        return replace(self, parts=tuple(part.within(bounds) for part in self.parts))

    def zero(self, x: Points) -> Tensor:
        return torch.cat([part.zero(x).flatten(1) for part in self.parts], dim=1)

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        found = [part.random(x, draw, radius * part.radius).flatten(1) / part.radius for part in self.parts]
        return self.project(x, torch.cat(found, dim=1), radius)

    def apply(self, x: Points, p: Tensor) -> Tensor:
        for part, own in zip(self.parts, self._split(x, p), strict=True):
            x = part.apply(x, own)
        return x

    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        r = x.new_full((len(x),), self.radius) if radius is None else radius
        kept = []
        for part, own in zip(self.parts, self._split(x, p), strict=True):
            inside = part.project(x, own, r * part.radius)
            kept.append(inside.flatten(1) / part.radius)
            x = part.apply(x, inside)
        return torch.cat(kept, dim=1)

    def size(self, x: Points, p: Tensor) -> PerRow:
        sizes = []
        for part, own in zip(self.parts, self._split(x, p), strict=True):
            sizes.append(part.size(x, own) / part.radius)
            x = part.apply(x, own)
        return torch.stack(sizes, dim=1).amax(dim=1)

    def penalty(self, x: Points, p: Tensor) -> PerRow:
        total = 0 * p.sum(dim=1)
        for part, own in zip(self.parts, self._split(x, p), strict=True):
            total = total + part.penalty(x, own) if isinstance(part, Penalised) else total
        return total

    def _split(self, x: Tensor, p: Tensor) -> list[Tensor]:
        """Each part's own change, in its shape and units."""
        zeros = [part.zero(x) for part in self.parts]
        pieces = p.split([zero[0].numel() for zero in zeros], dim=1)
        return [piece.reshape(zero.shape) * part.radius for piece, zero, part in zip(pieces, zeros, self.parts, strict=True)]
