"""Moves: how one batch of inputs changes the perturbation that all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Named, Rows
from holdfast.parts.adam import Adam
from holdfast.parts.objectives import ClassObjective
from holdfast.training.shared.ask import Ask
from holdfast.training.shared.penalties import Penalty


class Move(ABC):
    """`memory` begins it for p `[1, ...]`; `step` takes p by one batch farther. `share` in [0, 1) tells how much of the fit is done."""

    @abstractmethod
    def memory(self, p: Tensor) -> Rows: ...

    @abstractmethod
    def step(self, p: Tensor, memory: Rows, ask: Ask, share: float) -> tuple[Tensor, Rows]: ...


@dataclass(frozen=True)
class Climb(Move):
    """Up the gradient of E[J(x')] − Σ penalties(p), by Adam at the `rate`, or with `steepest` by `rate` times the radius' steepest step.

    A steepest step shrinks along half a cosine; Adam's rate stays.
    """

    objective: ClassObjective
    rate: float
    steepest: bool = False
    penalties: tuple[Penalty, ...] = ()

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ConfigError(f"rate={self.rate}: expected a positive step")

    def memory(self, p: Tensor) -> Rows:
        return Named({}) if self.steepest else Adam.fresh(p)

    def step(self, p: Tensor, memory: Rows, ask: Ask, share: float) -> tuple[Tensor, Rows]:
        g = ask.slope(p, self.objective) - self._drag(p)
        if not isinstance(memory, Adam):
            fall = 0.5 * (1 + torch.tensor(share * torch.pi).cos().item())
            return p + self.rate * fall * ask.scene.placement.steepest(g), memory
        move, memory = memory.step(-g, self.rate)
        return p - move, memory

    def _drag(self, p: Tensor) -> Tensor:
        if not self.penalties:
            return torch.zeros_like(p)
        with torch.enable_grad():
            q = p.detach().requires_grad_()
            total = torch.stack([penalty(q) for penalty in self.penalties]).sum()
        return torch.autograd.grad(total, q)[0]


@dataclass(frozen=True)
class Nearest(Move):
    """For each input that p does not fool yet, in order: p ← Π(p + the smallest change that takes it over the boundary from where p is).

    The changes of `together` inputs are looked for at once, all from the same p; before each is added the next inputs are asked again,
    and those that p fools by then are passed over. With `together = 1` this is Moosavi-Dezfooli et al.'s algorithm to the letter.
    """

    attack: Attack
    together: int = 8

    def __post_init__(self) -> None:
        if self.together < 1:
            raise ConfigError(f"together={self.together}: at least one input at a time")

    def memory(self, p: Tensor) -> Rows:
        return Named({})

    def step(self, p: Tensor, memory: Rows, ask: Ask, share: float) -> tuple[Tensor, Rows]:
        place, placement, bounds = 0, ask.scene.placement, ask.model.bounds
        while place < len(ask.x):
            standing = (~ask.wrong(p, place)).nonzero().squeeze(1) + place
            rows = standing[: self.together].to("cpu")
            if not len(rows):
                break
            changes, last = ask.beyond(p, rows, self.attack), int(rows[-1])
            fooled, begin = torch.zeros(0), int(rows[0])
            for row, change in zip(rows.tolist(), changes.split(1), strict=True):
                if len(fooled) and bool(fooled[row - begin]):
                    continue
                p = placement.project(p + change, bounds)
                if row < last:
                    fooled = torch.cat([torch.zeros(row + 1 - begin, dtype=torch.bool), ask.wrong(p, row + 1, last + 1).cpu()])
            place = last + 1
        return p, memory
