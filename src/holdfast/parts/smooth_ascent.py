"""`SmoothAscent`: climb an objective less a threat's own penalty, and keep the success that the penalty speaks least against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, PerRow, Points, Probe, Source
from holdfast.parts.adam import Adam
from holdfast.parts.objectives import ClassObjective
from holdfast.parts.schedules import Schedule
from holdfast.parts.sources import Sourced, White
from holdfast.parts.threats.smooth import Penalised


@dataclass(frozen=True)
class SmoothAscentState(Rows):
    """`p` is asked next, `adam` remembers its gradients; `best` is the success with the least `penalty` (∞: none yet)."""

    p: Tensor
    adam: Adam
    best: Tensor
    penalty: Tensor


@dataclass(frozen=True)
class SmoothAscent(Sourced):
    """p ← Π( p + Adam( ∇J(p) − τ ∇L(p) ) ), L the threat's penalty; of all that fooled, the p of least L is claimed.

    `schedule`: Adam's rate over the steps, in the units of p. The penalty's gradient never asks the model.
    """

    objective: ClassObjective
    tau: float
    schedule: Schedule
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = SmoothAscentState
    requires: ClassVar[tuple[type, ...]] = (Penalised,)

    def init(self, probe: Probe) -> SmoothAscentState:
        p = probe.threat.zero(probe.batch.x)
        return SmoothAscentState(p, Adam.fresh(p), p, p.new_full((len(p),), torch.inf))

    def step(self, state: Rows, probe: Probe) -> SmoothAscentState:
        assert isinstance(state, SmoothAscentState) and isinstance(probe.threat, Penalised)
        x, p = probe.batch.x, state.p
        answer, _, g = self.source(probe, p, self.objective)
        penalty, slope = penalty_and_slope(probe.threat, x, p)
        better = answer.wrong & (penalty < state.penalty)
        rate = self.schedule(probe.step, probe.steps)
        move, adam = state.adam.step(self.tau * slope - g, per_row(rate.to(p.dtype), p) if isinstance(rate, Tensor) else rate)
        moved = probe.threat.project(x, p - move, probe.batch.radius)
        return SmoothAscentState(moved, adam, torch.where(per_row(better, p), p, state.best), torch.where(better, penalty, state.penalty))

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, SmoothAscentState)
        return torch.where(per_row(state.penalty.isfinite(), state.p), state.best, state.p)

    def fitted(self, classes: int) -> SmoothAscent:
        return replace(self, objective=self.objective.fitted(classes))


def penalty_and_slope(threat: Penalised, x: Points, p: Tensor) -> tuple[PerRow, Tensor]:
    """A threat's penalty at `p` `[n, ...]` and its gradient there."""
    with torch.enable_grad():
        q = p.detach().requires_grad_()
        value = threat.penalty(x, q)
        (slope,) = torch.autograd.grad(value.sum(dim=0), q)
    return value.detach(), slope
