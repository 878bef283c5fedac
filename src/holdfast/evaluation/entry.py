"""`Entry`: one attack of a plan, and the samples it is made on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw, row_key


@dataclass(frozen=True)
class Entry:
    """One attack of a plan.

    `survivors`: it is made only on samples that no earlier entry broke; `curve`: it is there for the accuracy against radius.
    `near`: of these only on samples that some earlier entry brought near the boundary, their best margin so far above −`near` times
    their clean margin; `spot`: or on this share of all samples, drawn by their keys, however far they are.
    Both speak of a sample's own history, never of the others.
    """

    attack: Attack
    survivors: bool = True
    curve: bool = False
    near: float | None = None
    spot: float = 0.0

    def label(self, place: int) -> str:
        """A short, unique, file-safe name."""
        return f"{place:02d}-{'curve-' if self.curve else ''}{self.attack.name}"

    def chosen(self, correct: Tensor, standing: Tensor, best: Tensor, clean: Tensor, ids: Tensor, seed: int) -> Tensor:
        """The samples it is made on `[n]`: of those `correct` and still `standing`, by the `best` margins so far and the `clean` ones."""
        if not self.survivors:
            return correct
        if self.near is None:
            return standing
        # A margin that is not a number tells nothing, so it leaves nobody out.
        far = best <= -self.near * clean.abs()
        drawn = Draw(row_key(seed, ids, torch.full_like(ids, -1)), torch.zeros_like(ids)).uniform("spot", (1,)).squeeze(1) < self.spot
        return standing & (~far | drawn)
