"""`Entry`: one attack of a plan, and the samples it is made on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw, row_key

Gradient = Literal["own", "straight", "smoothed", "none"]
TINY = 0.03
"""The gap, as a share of the clean margin, that is always worth another attempt."""


@dataclass(frozen=True)
class History:
    """What earlier entries brought each sample to, each `[n]`: the distance `clean` of its clean margin from 0, the `best` margin so far,
    the `highest` and the `lowest` that attempts which were not aimed ended with."""

    clean: Tensor
    best: Tensor
    highest: Tensor
    lowest: Tensor

    @classmethod
    def begin(cls, margin: Tensor) -> History:
        nothing = torch.full_like(margin, torch.nan)
        return cls(margin.abs(), margin, nothing, nothing)

    def after(self, entry: Entry, where: Tensor, margin: Tensor, weakest: Tensor) -> History:
        """With what an entry brought the samples at `where` to: its siblings' best and least `margin` `[m]`."""

        def told(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, where, new)

        best = told(self.best, torch.fmax(self.best[where], margin))
        if entry.attack.group.rivals:
            # One that is aimed at an unlikely class falls short for that reason.
            return replace(self, best=best)
        highest, lowest = torch.fmax(self.highest[where], margin), torch.fmin(self.lowest[where], weakest)
        return replace(self, best=best, highest=told(self.highest, highest), lowest=told(self.lowest, lowest))

    @property
    def spread(self) -> Tensor:
        """By how much the attempts differed."""
        return (self.highest - self.lowest).abs()

    def far(self, near: float) -> Tensor:
        """Which samples no attempt has brought within `near` times their clean margin of the boundary `[n]`.

        Where attempts differ by more than the gap, how near they came tells little; a margin that is not a number tells nothing.
        """
        return (self.best <= -near * self.clean) & ~(-self.best <= self.spread)


@dataclass(frozen=True)
class Entry:
    """One attack of a plan.

    `survivors`: it is made only on samples that no earlier entry broke; `curve`: it is there for the accuracy against radius.
    `near`: of these only on samples that some earlier entry brought near the boundary, their best margin so far above −`near` times
    their clean margin, or no farther from it than earlier attempts differed by; `hope`: and only where that gap is no more than so many
    times that difference, or tiny: attempts that all end at the same margin have found its maximum; `spot`: or on this share of all
    samples, drawn by their keys, whatever these say. All speak of a sample's own history, never of the others.
    `level`: how deep into the search it belongs; how many levels are made is decided on calibration samples (`Depth`); `gradient`: which
    one it climbs, where that is not for the `Reaction` to say.
    """

    attack: Attack
    survivors: bool = True
    curve: bool = False
    near: float | None = None
    hope: float | None = None
    spot: float = 0.0
    level: int = 0
    gradient: Gradient | None = None

    def label(self, place: int) -> str:
        """A short, unique, file-safe name."""
        return f"{place:02d}-{'curve-' if self.curve else ''}{self.attack.name}"

    @property
    def family(self) -> str:
        """The attacks of one kind, which pay or do not pay together."""
        return self.attack.name if self.gradient is None else f"{self.attack.name}, {self.gradient} gradient"

    def seed(self, seed: int, place: int) -> int:
        """The seed of its noise, in 64 bits: deeper levels draw other starts than those before them."""
        mixed = (seed + place * 0x9E3779B97F4A7C15) % (1 << 64) if self.level else seed % (1 << 64)
        return mixed - (1 << 64) if mixed >= 1 << 63 else mixed

    def chosen(self, correct: Tensor, standing: Tensor, history: History, ids: Tensor, seed: int) -> Tensor:
        """The samples it is made on `[n]`: of those `correct` and still `standing`, by their `history`."""
        if not self.survivors:
            return correct
        # A margin that is not a number tells nothing, so it leaves nobody out.
        far = torch.zeros_like(standing)
        if self.near is not None:
            far = history.far(self.near)
        if self.hope is not None:
            far = far | (-history.best > self.hope * history.spread + TINY * history.clean)
        drawn = Draw(row_key(seed, ids, torch.full_like(ids, -1)), torch.zeros_like(ids)).uniform("spot", (1,)).squeeze(1) < self.spot
        return standing & (~far | drawn)
