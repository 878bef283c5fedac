"""Additive perturbations x' = x + p within an L∞, L2, L1 or L0 ball, inside the valid range."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_fields
from holdfast.core.rows import per_row
from holdfast.core.types import Bounds, PerRow, Points, Threat
from holdfast.parts.norms import project_l1_box, random_ball_l1, reach, steepest_l1, take_largest

_TINY = 1e-12


@dataclass(frozen=True)
class Additive(Threat):
    """p `[n, ...]` is added to x; `radius` ≥ 0, in the units of the input (before the model's normalisation)."""

    radius: float = math.inf
    bounds: Bounds = field(default=Bounds(), repr=False)

    def __post_init__(self) -> None:
        expect_fields(self)
        if not self.radius >= 0:
            raise ConfigError(f"{type(self).__name__}({self.radius}): the radius must be a number ≥ 0")

    def within(self, bounds: Bounds) -> Self:
        return replace(self, bounds=bounds)

    def zero(self, x: Points) -> Tensor:
        return torch.zeros_like(x)

    def apply(self, x: Points, p: Tensor) -> Tensor:
        return x + p

    def land(self, x: Points, p: Tensor, radius: Tensor) -> tuple[Tensor, PerRow]:
        """x + p and its real distance from x; where rounding in a wide range carried it too far, one float nearer to x."""
        point = self.bounds.clamp(x + p)
        far = self.size(x, point - x) > radius * (1 + 1e-5) + 1e-6
        point = torch.where(per_row(far, x), torch.nextafter(point, x), point)
        return point, self.size(x, point - x)

    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        r = x.new_full((len(x),), self.radius) if radius is None else radius.to(x.dtype)
        return self.into_ball(x, p, per_row(r, x))

    def into_box(self, x: Points, p: Tensor) -> Tensor:
        """`p` shortened, value by value, until x + p is valid."""
        # Not clamp(x + p) - x, whose rounding can lengthen p beyond a small radius where the range is wide.
        low, high = self.bounds.pair(x)
        return torch.clamp(p, low - x, high - x)

    def room(self, x: Points, p: Tensor) -> tuple[Tensor, Tensor]:
        """How far each value of x + p may fall and rise within the valid range."""
        low, high = self.bounds.pair(x)
        return (low - x - p).clamp(max=0), (high - x - p).clamp_min(0)

    @abstractmethod
    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        """`p` brought within `r` `[n, 1, ...]` and the valid range."""


@dataclass(frozen=True)
class Linf(Additive):
    """max_i |p_i| ≤ radius.

    >>> Linf(8 / 255).size(torch.zeros(1, 2), torch.tensor([[0.1, -0.2]])).tolist() == [torch.tensor(0.2).item()]
    True
    """

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        noise = draw.uniform("start", tuple(x.shape[1:]), x.dtype) * 2 - 1
        return self.project(x, noise * per_row(radius.to(x.dtype), x), radius)

    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        return self.into_box(x, torch.clamp(p, -r, r))

    def size(self, x: Points, p: Tensor) -> PerRow:
        return p.abs().flatten(1).amax(dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def nearest(self, gap: PerRow, w: Tensor) -> Tensor:
        return per_row(gap / self.gradient_norm(w).clamp_min(_TINY), w) * w.sign()

    def gradient_norm(self, w: Tensor) -> PerRow:
        return w.abs().flatten(1).sum(dim=1)

    def reach(self, x: Points, p: Tensor, gap: PerRow, w: Tensor) -> Tensor:
        return reach(math.inf, gap, w, *self.room(x, p))


@dataclass(frozen=True)
class L2(Additive):
    """(Σ p_i²)^½ ≤ radius: scaled onto the ball, then clipped to the valid range (which only shortens it)."""

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        noise = draw.normal("start", tuple(x.shape[1:]), x.dtype)
        # A root from logarithms: powers round otherwise in vector than in scalar code, so by where in the batch a row is.
        share = (draw.uniform("length", (1,), torch.float64).squeeze(1).log() / noise[0].numel()).exp()
        return self.project(x, per_row(share.to(x.dtype) * radius.to(x.dtype), x) * self.steepest(noise), radius)

    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        length = per_row(self.size(x, p), p)
        return self.into_box(x, p * (r / length.clamp_min(_TINY)).clamp(max=1))

    def size(self, x: Points, p: Tensor) -> PerRow:
        return p.flatten(1).norm(dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        return g / per_row(g.flatten(1).norm(dim=1).clamp_min(torch.finfo(g.dtype).tiny), g)

    def nearest(self, gap: PerRow, w: Tensor) -> Tensor:
        return per_row(gap / self.gradient_norm(w).clamp_min(_TINY), w) * self.steepest(w)

    def gradient_norm(self, w: Tensor) -> PerRow:
        return w.flatten(1).norm(dim=1)

    def reach(self, x: Points, p: Tensor, gap: PerRow, w: Tensor) -> Tensor:
        return reach(2, gap, w, *self.room(x, p))


@dataclass(frozen=True)
class L1(Additive):
    """Σ |p_i| ≤ radius, projected exactly on the ball and the valid range at once (Croce & Hein 2021, prop. 2.1).

    `spread`: the share of values that one steepest step moves. The exact steepest direction is a single value; moving the
    largest few alike is what makes first-order attacks strong here (Tramèr & Boneh 2019, SLIDE).
    """

    spread: float = 0.01

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        return self.project(x, random_ball_l1(draw, x, per_row(radius.to(x.dtype), x)), radius)

    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        low, high = self.bounds.pair(x)
        return project_l1_box(p, (low - x).clamp(max=0), (high - x).clamp_min(0), r)

    def size(self, x: Points, p: Tensor) -> PerRow:
        return p.abs().flatten(1).sum(dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        count = max(1, round(self.spread * g[0].numel()))
        return steepest_l1(g, g.new_full((len(g),), count))

    def nearest(self, gap: PerRow, w: Tensor) -> Tensor:
        largest = take_largest(w.abs(), w, w.new_ones(len(w)))
        return largest.sign() * per_row(gap / self.gradient_norm(w).clamp_min(_TINY), w)

    def gradient_norm(self, w: Tensor) -> PerRow:
        return w.abs().flatten(1).amax(dim=1)

    def reach(self, x: Points, p: Tensor, gap: PerRow, w: Tensor) -> Tensor:
        return reach(1, gap, w, *self.room(x, p))


@dataclass(frozen=True)
class L0(Additive):
    """At most `radius` values changed; with `pixels`, at most so many places of an image, all channels of a place counting once.

    A projection keeps the places where the admissible part of p is largest (Croce & Hein 2019, PGD0).
    """

    pixels: bool = False

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        if not self.bounds.finite:
            raise ConfigError(f"a random start in L0 needs a finite range, not {self.bounds}: give Classifier(bounds=(low, high))")
        low, high = self.bounds.pair(x)
        value = low + (high - low) * draw.uniform("start", tuple(x.shape[1:]), x.dtype) - x
        weight = self._places(draw.uniform("place", tuple(x.shape[1:]), x.dtype).expand_as(x))
        return take_largest(weight, value, radius)

    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        inside = self.into_box(x, p)
        gain = self._places(p.square() - (p - inside).square())
        return take_largest(gain, inside, r.flatten())

    def size(self, x: Points, p: Tensor) -> PerRow:
        return self._changed(p).flatten(1).sum(dim=1).to(x.dtype)

    def steepest(self, g: Tensor) -> Tensor:
        """The whole gradient at a mean magnitude of 1: the projection, not the direction, makes it sparse."""
        return g / per_row(g.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(g.dtype).tiny), g)

    def _changed(self, p: Tensor) -> Tensor:
        return (p != 0).any(dim=1) if self.pixels and p.ndim > 2 else p != 0

    def _places(self, score: Tensor) -> Tensor:
        return score.sum(dim=1, keepdim=True) if self.pixels and score.ndim > 2 else score
