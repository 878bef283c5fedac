"""Encodings: how evolution writes an image as a genome, draws one at random, and makes children; here the direct one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.rows import Rows, per_row


class Encoding(ABC):
    """Genomes are `Rows`; all noise comes from a keyed draw, one stream an individual."""

    @abstractmethod
    def random(self, draw: Draw, dtype: torch.dtype) -> Rows:
        """One genome for each row of `draw`."""

    @abstractmethod
    def child(self, genome: Rows, partner: Rows, draw: Draw, generation: int) -> Rows:
        """What becomes of the parents `genome` and `partner` in this generation, one child each."""

    @abstractmethod
    def render(self, genome: Rows) -> Tensor:
        """The images `[n, ...]`, each value between 0 and 1."""


@dataclass(frozen=True)
class Pixels(Rows):
    """`value` `[n, ...]` in [0, 1]: grey, or hue, saturation and brightness where there are three channels."""

    value: Tensor


@dataclass(frozen=True)
class Direct(Encoding):
    """One number a pixel and channel, uniform at first; each mutated with a chance of 0.1 that halves every 1000 generations.

    Mutation is polynomial with η = 15; half of the children are crossed first (simulated binary crossover, η = 10).
    """

    shape: tuple[int, ...]
    rate: float = 0.1
    halving: int = 1000
    crossing: float = 0.5

    def random(self, draw: Draw, dtype: torch.dtype) -> Pixels:
        return Pixels(draw.uniform("genome", self.shape, dtype))

    def child(self, genome: Rows, partner: Rows, draw: Draw, generation: int) -> Pixels:
        assert isinstance(genome, Pixels) and isinstance(partner, Pixels)
        value, dtype = genome.value, genome.value.dtype
        crosses = draw.uniform("crosses", (1,), dtype).squeeze(1) < self.crossing
        mixed = crossed(value, partner.value, draw.uniform("cross", self.shape, dtype), draw.sign("side", self.shape, dtype))
        value = torch.where(per_row(crosses, value), mixed, value)
        rate = self.rate / 2 ** (generation // self.halving)
        mutates = draw.uniform("mutates", self.shape, dtype) < rate
        moved = (value + polynomial(draw.uniform("mutation", self.shape, dtype))).clamp(0, 1)
        return Pixels(torch.where(mutates, moved, value))

    def render(self, genome: Rows) -> Tensor:
        assert isinstance(genome, Pixels)
        return colour(genome.value)


def polynomial(u: Tensor, eta: float = 15.0) -> Tensor:
    """Deb's polynomial mutation: δ in (−1, 1) from `u` uniform on (0, 1), density ∝ (1 − |δ|)^η.

    >>> polynomial(torch.tensor([0.5])).tolist()
    [0.0]
    """
    tail = ((2 * torch.minimum(u, 1 - u)).log() / (eta + 1)).exp()
    return torch.where(u < 0.5, tail - 1, 1 - tail)


def crossed(a: Tensor, b: Tensor, u: Tensor, side: Tensor, eta: float = 10.0) -> Tensor:
    """One child of Deb's simulated binary crossover on [0, 1]: (a + b)/2 ∓ β |a − b|/2, β from `u` and so that it stays inside."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    gap = high - low
    # How far the child may spread: to the nearer end of [0, 1] on its own side.
    room = 1 + 2 * torch.where(side < 0, low, 1 - high) / gap.clamp_min(1e-9)
    alpha = 2 - (-(eta + 1) * room.log()).exp()
    inner = u * alpha
    beta = (torch.where(inner <= 1, inner, 1 / (2 - inner)).log() / (eta + 1)).exp()
    return torch.where(gap > 1e-7, ((low + high) / 2 + side * beta * gap / 2).clamp(0, 1), a)


def colour(value: Tensor) -> Tensor:
    """Hue, saturation and brightness `[n, 3, h, w]` in [0, 1] as red, green and blue; any other shape as it is.

    >>> colour(torch.tensor([1 / 3, 1.0, 1.0]).reshape(1, 3, 1, 1)).flatten().tolist()
    [0.0, 1.0, 0.0]
    """
    if value.ndim != 4 or value.shape[1] != 3:
        return value
    hue, saturation, brightness = value.unbind(dim=1)
    bands = [(n + 6 * hue) % 6 for n in (5, 3, 1)]
    full = [torch.minimum(k, 4 - k).clamp(0, 1) for k in bands]
    return torch.stack([brightness * (1 - saturation * share) for share in full], dim=1)
