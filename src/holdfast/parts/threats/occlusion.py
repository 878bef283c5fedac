"""Occlusion: an opaque square somewhere on an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds, PerRow, Points, Threat


def window(first: Tensor, side: Tensor, length: int) -> Tensor:
    """Which of `length` places lie in [first, first + side), each `[n]`: `[n, length]`."""
    place = torch.arange(length, device=first.device)
    return (place >= first.unsqueeze(1)) & (place < (first + side).unsqueeze(1))


@dataclass(frozen=True)
class Occlusion(Threat):
    """A square of at most radius × radius pixels shows other values: x' = x outside, content inside.

    p `[n, 1 + c, h, w]`: its first channel is above 0 where the square lies, the others hold the content. size: the longer side of what
    is covered, in pixels; projection cuts what is covered to the square at its upper left corner, and content to the valid range.

    Raises ConfigError for a side of less than a pixel.

    >>> patch = Occlusion(2)
    >>> p = patch.covering(torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.tensor([1]), torch.tensor([0]))
    >>> patch.apply(torch.zeros(1, 1, 3, 3), p).tolist()
    [[[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]]
    """

    radius: float = 8
    bounds: Bounds = field(default=Bounds(), repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.radius < math.inf:
            raise ConfigError(f"Occlusion({self.radius}): the radius is the side of a square, a pixel at least, as in Occlusion(8)")

    def unfit(self, shape: tuple[int, ...]) -> str:
        return "" if len(shape) == 3 else "a square covers pixels of images [n, c, h, w]"

    def within(self, bounds: Bounds) -> Self:
        return replace(self, bounds=bounds)

    def zero(self, x: Points) -> Tensor:
        return torch.cat([torch.zeros_like(x[:, :1]), x], dim=1)

    def covering(self, x: Points, content: Tensor, row: Tensor, column: Tensor, radius: Tensor | None = None) -> Tensor:
        """The change that shows `content` `[n, c, h, w]` in the square whose corner is at `row`, `column`, each `[n]`."""
        side = self._side(x, radius)
        inside = window(row, side, x.shape[2]).unsqueeze(2) & window(column, side, x.shape[3]).unsqueeze(1)
        return torch.cat([inside.unsqueeze(1).to(x.dtype), content], dim=1)

    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        """A square of uniform noise wholly inside the image, anywhere."""
        row, column = self.places(x, draw, radius)
        return self.covering(x, self.noise(x, draw), row, column, radius)

    def places(self, x: Points, draw: Draw, radius: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The corner of a square wholly inside the image: row and column, each `[n]`."""
        side = self._side(x, radius)
        down, across = ((length - side).clamp_min(0) + 1 for length in x.shape[2:])
        return draw.integer("row", (), down), draw.integer("column", (), across)

    def noise(self, x: Points, draw: Draw) -> Tensor:
        """Uniform noise over the valid range, which must be finite."""
        if not self.bounds.finite:
            raise ConfigError(f"noise needs a finite range, not {self.bounds}: give Classifier(bounds=(low, high))")
        low, high = self.bounds.pair(x)
        return low + (high - low) * draw.uniform("noise", tuple(x.shape[1:]), x.dtype)

    def apply(self, x: Points, p: Tensor) -> Tensor:
        return torch.where(p[:, :1] > 0, p[:, 1:], x)

    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        row, column = self._lines(p)
        top, left = row.int().argmax(dim=1), column.int().argmax(dim=1)
        square = self.covering(x, self.bounds.clamp(p[:, 1:]), top, left, radius)
        covered = (p[:, :1] > 0) & (square[:, :1] > 0)
        return torch.cat([covered.to(p.dtype), square[:, 1:]], dim=1)

    def size(self, x: Points, p: Tensor) -> PerRow:
        sides = []
        for line in self._lines(p):
            place = torch.arange(1, line.shape[1] + 1, device=line.device)
            last, first = (place * line).amax(dim=1), line.int().argmax(dim=1)
            sides.append(torch.where(line.any(dim=1), last - first, 0))
        return torch.maximum(*sides).to(x.dtype)

    def steepest(self, g: Tensor) -> Tensor:
        """Content alone moves, by the width of the range a value."""
        low, high = self.bounds.pair(g[:, 1:])
        return torch.cat([torch.zeros_like(g[:, :1]), g[:, 1:].sign() * (high - low)], dim=1)

    def _side(self, x: Tensor, radius: Tensor | None) -> Tensor:
        return x.new_full((len(x),), self.radius).long() if radius is None else radius.long()

    def _lines(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns that hold something covered: `[n, h]` and `[n, w]`."""
        covered = p[:, 0] > 0
        return covered.any(dim=2), covered.any(dim=1)
