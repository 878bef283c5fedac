"""Square Attack: random search with square-shaped changes, each row its own squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Probe, Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy, Margin
from holdfast.parts.search import Proposal, RandomSearch
from holdfast.parts.threats import L1, L2

# The share of the plane that a square covers is halved after each of these ten-thousandths of the steps.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def planes(x: Tensor) -> tuple[int, int, int]:
    """Channels, height and width that inputs `[n, c, h, w]` have; `[n, c, l]` have width 1, and `[n, d]` one channel."""
    sides = tuple(x.shape[1:])
    return (1, sides[0], 1) if len(sides) == 1 else (sides[0], sides[1], math.prod(sides[2:]))


def side(share: float, height: int, width: int) -> int:
    """The side of a square (the length of a stretch, where the width is 1) that covers this share of the plane."""
    area = share * height * width
    return max(1, round(math.sqrt(area) if width > 1 else area))


def signs(words: Tensor, like: Tensor) -> Tensor:
    """Minus or plus one for each channel, from random words `[n, c]`: `[n, c, 1, 1]`."""
    return ((words & 1) * 2 - 1).to(like.dtype)[:, :, None, None]


@dataclass(frozen=True)
class Windows:
    """A square per row: `row` and `column` of its corner, its `height` and `width`, each `[n]`, on a plane of `shape`."""

    row: Tensor
    column: Tensor
    height: Tensor
    width: Tensor
    shape: tuple[int, int]

    def axes(self) -> tuple[Tensor, Tensor]:
        """Places counted from the corner: `[n, h]` and `[n, w]`."""
        device = self.row.device
        down, across = (torch.arange(length, device=device) for length in self.shape)
        return down - self.row.unsqueeze(1), across - self.column.unsqueeze(1)

    def mask(self) -> Tensor:
        """Which places lie inside: `[n, 1, h, w]`."""
        down, across = self.axes()
        rows = (down >= 0) & (down < self.height.unsqueeze(1))
        columns = (across >= 0) & (across < self.width.unsqueeze(1))
        return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


@dataclass(frozen=True)
class Squares(Proposal):
    """L∞: a square of ±2ε on the best point, one sign a channel, cut to the ball; begins with stripes of ±ε.

    `share` of the plane is covered at first; ever less as the steps are spent, or those of the `horizon`.
    """

    share: float = 0.8
    horizon: int | None = None

    def first(self, probe: Probe) -> Tensor:
        x = probe.batch.x
        channels, height, width = planes(x)
        stripes = probe.draw.sign("stripes", (channels, 1, width) if width > 1 else (channels, height, 1), x.dtype)
        p = (stripes * probe.batch.radius.reshape(-1, 1, 1, 1)).expand(-1, channels, height, width)
        return probe.threat.project(x, p.reshape(x.shape), probe.batch.radius)

    def next(self, best: Tensor, probe: Probe) -> Tensor:
        channels, height, width = planes(best)
        # All that a step draws, at once: on a small net the draws cost more than the squares.
        words = probe.draw.bits("square", 2 + channels)
        inside = self.window(words, self.period(probe), height, width, least=1).mask()
        sign = signs(words[:, 2:], best)
        change = 2 * probe.batch.radius.to(best.dtype).reshape(-1, 1, 1, 1) * sign * inside
        return probe.threat.project(probe.batch.x, best + change.reshape(best.shape), probe.batch.radius)

    def period(self, probe: Probe) -> Tensor:
        """How often the share has been halved at each row's step `[n]`."""
        spent = (probe.step - 1).clamp_min(0) * 10000 // (self.horizon or probe.steps)
        return (spent.unsqueeze(1) > torch.tensor(_HALVINGS, device=spent.device)).sum(dim=1)

    def sides(self, height: int, width: int, least: int) -> list[int]:
        """The side in each period; with `least` 3, odd."""
        found = [side(self.share / (1 << period), height, width) for period in range(len(_HALVINGS) + 1)]
        return found if least == 1 else [max(least, value) + (max(least, value) % 2 == 0) for value in found]

    def window(self, words: Tensor, period: Tensor, height: int, width: int, least: int) -> Windows:
        """A square of the period's side at the place of the plane that the first two random `words` say."""
        length = torch.tensor(self.sides(height, width, least), device=period.device)[period]
        tall, wide = length.clamp(max=height), length.clamp(max=width)
        row, column = (words[:, 0] * (height - tall + 1)) >> 32, (words[:, 1] * (width - wide + 1)) >> 32
        return Windows(row, column, tall, wide, (height, width))


@dataclass(frozen=True)
class Bumps(Squares):
    """L2: the norm that two squares hold, and what is left of the budget, goes to a pattern in the first; the other is emptied."""

    power: ClassVar[int] = 2

    def first(self, probe: Probe) -> Tensor:
        """A bump, its orientation its own, in each tile of a five by five grid; one sign a channel and tile."""
        x, draw = probe.batch.x, probe.draw
        channels, height, width = planes(x)
        tall, wide = max(1, height // 5), max(1, width // 5)
        rows, columns = height // tall, width // wide
        patterns = torch.stack(bumps(tall, wide, self.power)).to(x)
        turned = draw.integer("turned", (rows, columns), 2)
        tiles = patterns[turned].unsqueeze(1) * draw.sign("tiles", (channels, rows, columns, 1, 1), x.dtype)
        grid = tiles.transpose(3, 4).reshape(len(x), channels, rows * tall, columns * wide)
        up, left = (height - rows * tall) // 2, (width - columns * wide) // 2
        pad = (left, width - columns * wide - left, up, height - rows * tall - up)
        return self._inside(torch.nn.functional.pad(grid, pad).reshape(x.shape), probe)

    def next(self, best: Tensor, probe: Probe) -> Tensor:
        channels, height, width = planes(best)
        delta, period = best.reshape(-1, channels, height, width), self.period(probe)
        words = probe.draw.bits("square", 5 + channels)
        here = self.window(words, period, height, width, least=3)
        there = self.window(words[:, 2:], period, height, width, least=3)
        inside, emptied = here.mask(), there.mask()
        radius = probe.batch.radius.to(best.dtype).reshape(-1, 1, 1, 1)
        left = (self._part(radius) - self._part(delta).sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0)
        held = self._part(delta * (inside | emptied)).sum(dim=(2, 3), keepdim=True)
        old = delta * inside
        pattern = self._pattern(here, period, words[:, 4] & 1, best) * signs(words[:, 5:], best)
        fresh = pattern + old / self._norm(self._part(old).sum(dim=(2, 3), keepdim=True)).clamp_min(1e-12)
        length = self._norm(self._part(fresh).sum(dim=(2, 3), keepdim=True)).clamp_min(1e-12)
        fresh = fresh / length * self._share(left, held, channels)
        return self._inside(torch.where(inside, fresh, delta * ~emptied).reshape(best.shape), probe)

    def _part(self, p: Tensor) -> Tensor:
        """What each value adds to the sum under the norm."""
        return p.square()

    def _norm(self, total: Tensor) -> Tensor:
        """The norm, from that sum."""
        return total.sqrt()

    def _share(self, left: Tensor, held: Tensor, channels: int) -> Tensor:
        """The norm of a channel's new square, from what is `left` of the budget and what the channel's two squares `held`."""
        return (left / channels + held).sqrt()

    def _pattern(self, here: Windows, period: Tensor, turned: Tensor, like: Tensor) -> Tensor:
        """The bump of the period's size, `turned` `[n]` or not, in each row's square: `[n, 1, h, w]`, 0 outside."""
        table = pattern_table(tuple(self.sides(*here.shape, 3)), here.shape, self.power).to(like)
        down, across = here.axes()
        height, width = here.shape
        kind, side = period.reshape(-1, 1, 1), turned.reshape(-1, 1, 1)
        found = table[kind, side, down.clamp(0, height - 1).unsqueeze(2), across.clamp(0, width - 1).unsqueeze(1)]
        return found.unsqueeze(1) * here.mask()

    def _inside(self, p: Tensor, probe: Probe) -> Tensor:
        """Of length ε, then cut to the valid range."""
        length = p.flatten(1).norm(dim=1).clamp_min(1e-12)
        return probe.threat.project(probe.batch.x, p * per_row(probe.batch.radius.to(p.dtype) / length, p), probe.batch.radius)


@dataclass(frozen=True)
class BumpsL1(Bumps):
    """L1: as in L2, with sums of absolute values, steeper patterns, and the nearest point of ball ∩ box."""

    power: ClassVar[int] = 1

    def _part(self, p: Tensor) -> Tensor:
        return p.abs()

    def _norm(self, total: Tensor) -> Tensor:
        return total

    def _share(self, left: Tensor, held: Tensor, channels: int) -> Tensor:
        # As the authors' code has it: what a channel held counts once for each channel, and the projection takes back what is too much.
        return left + held * channels

    def _inside(self, p: Tensor, probe: Probe) -> Tensor:
        return probe.threat.project(probe.batch.x, p, probe.batch.radius)


def bump(height: int, width: int, power: int = 2) -> Tensor:
    """Two hills, one up and one down, of norm 1: a hill at distance d from its middle is Σ_{m ≥ d} (m + 1)^−a, each half of norm 1.

    a is 2 where the norm is L2 (`power` 2), 4 where it is L1 (`power` 1).
    """
    halves = [_hill(height // 2, width, power), -_hill(height - height // 2, width, power)]
    both = torch.cat([half for half in halves if len(half)])
    return both / both.norm(power, dim=(0, 1))


def _hill(height: int, width: int, power: int) -> Tensor:
    if not height:
        return torch.zeros(0, width, dtype=torch.float64)
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    inverse = torch.arange(1, max(height // 2, width // 2) + 2, dtype=torch.float64).square().reciprocal()
    weights = inverse if power == 2 else inverse.square()
    hill = weights.flip(0).cumsum(dim=0).flip(0)[torch.maximum(down.unsqueeze(1), across.unsqueeze(0))]
    return hill / hill.norm(power, dim=(0, 1))


def bumps(height: int, width: int, power: int) -> tuple[Tensor, Tensor]:
    """The pattern as it is, and turned: both `[height, width]`."""
    return bump(height, width, power), bump(width, height, power).T


@cache
def pattern_table(sides: tuple[int, ...], shape: tuple[int, int], power: int) -> Tensor:
    """The pattern of each side, as it is and turned, in the corner of an empty plane: `[sides, 2, h, w]`."""
    table = torch.zeros(len(sides), 2, *shape, dtype=torch.float64)
    for place, length in enumerate(sides):
        tall, wide = min(length, shape[0]), min(length, shape[1])
        table[place, :, :tall, :wide] = torch.stack(bumps(tall, wide, power))
    return table


@attack("Andriushchenko, Croce, Flammarion & Hein 2020, arXiv:1912.00049; in L1 Croce & Hein 2021, arXiv:2103.01208")
def square(
    threat: Threat | float,
    steps: int = 5000,
    p: float = 0.8,
    horizon: int | None = None,
    restarts: int = 1,
    targeted: bool = False,
    early: bool = True,
) -> Attack:
    """Square Attack: random search that sees scores alone, each step a change in one square that is kept if the margin grows.

    L∞:  p' = Π( p + 2ε s 1_square ), s ∈ {−1, 1} a channel;  L2, L1: a bump in one square, with the norm taken from another.
    The square covers a share `p` of the plane, halved at 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of `horizon` steps (all when None).

    Inputs `[n, ...]` in the model's range: images `[n, c, h, w]`, also `[n, c, l]` and `[n, d]`, where a square is a stretch;
    `steps`: forwards an input.
    Untargeted it climbs the margin, targeted the cross-entropy toward the target.

    Raises ConfigError for a radius that is not positive and finite, no steps, a share outside (0, 1] or an empty horizon.
    Source: Andriushchenko et al. 2020, algorithms 1 to 3; L1 Croce & Hein 2021 and the authors' code.
    Differs from the authors' code: each input has squares of its own; a square may touch the last row and column; the first point is
    among the steps; a tie is no success; in L1 the whole radius is used, where theirs leaves a millionth.

    >>> str(square(8 / 255, steps=1000))
    'square(8/255, steps=1000)'
    """
    if not 0 < p <= 1 or (horizon is not None and horizon < 1):
        raise ConfigError(f"square(p={p}, horizon={horizon}): expected a share of the plane, above 0 and at most 1, and a count of steps")
    threat = bounded(threat, "square")
    kind = Bumps if isinstance(threat, L2) else BumpsL1 if isinstance(threat, L1) else Squares
    rule = RandomSearch(CrossEntropy(targeted=True) if targeted else Margin(), kind(p, horizon))
    return Attack(goal(targeted), threat, rule, Stop(steps, early), Group(restarts))
