"""APGD-L1: gradient ascent in an L1 ball whose steps move as few values as the best point has changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Source
from holdfast.parts.norms import steepest_l1
from holdfast.parts.objectives import ClassObjective
from holdfast.parts.sources import Sourced, White
from holdfast.parts.threats import L1


@dataclass(frozen=True)
class ApgdL1State(Rows):
    """`p` is queried next; the phase's `best` point with its `gradient` and `value`; the step `length` as a share of the phase's radius;
    how many values the best point changed at the last checkpoint, its `support`; and how many a step moves, its `width`."""

    p: Tensor
    best: Tensor
    gradient: Tensor
    value: Tensor
    length: Tensor
    support: Tensor
    width: Tensor


@cache
def phases(steps: int, larger_radii: bool) -> tuple[tuple[int, int], ...]:
    """Multiples of the radius, each with its number of queries: 3, 2 and 1 with 30, 30 and 40 % of the steps, or 1 with all of them."""
    share = 3 * steps // 10 if larger_radii else 0
    return tuple((multiple, count) for multiple, count in ((3, share), (2, share), (1, steps - 2 * share)) if count)


@cache
def schedule(steps: int, larger_radii: bool, device: torch.device) -> Tensor:
    """Of each step the multiple of the radius, whether it is a checkpoint (every 4 % of the phase), and the multiple of the phase that
    begins after it, 0 where none does: `[steps + 1, 3]`."""
    rows: list[tuple[int, int, int]] = []
    order = phases(steps, larger_radii)
    for (multiple, count), (following, _) in zip(order, (*order[1:], (0, 0)), strict=True):
        window = max(count // 25, 1)
        rows += [(multiple, int(i > 0 and i % window == 0), following if i == count - 1 else 0) for i in range(count)]
    return torch.tensor([*rows, rows[-1]], device=device)


def changed(p: Tensor, radius: Tensor) -> Tensor:
    """How many values of each row are more than a rounding error of `radius` `[n]` away from 0: `[n]`."""
    # Where values tie, a projection leaves 0 or the rounding of its own threshold, and by luck.
    return (p.abs() > per_row(8 * torch.finfo(p.dtype).eps * radius.to(p.dtype), p)).flatten(1).sum(dim=1)


def thinned(support: Tensor) -> Tensor:
    """Two thirds of `support` `[n]`, rounded up: how many values a step moves."""
    return (2 * support + 2) // 3


@dataclass(frozen=True)
class ApgdL1(Sourced):
    """x_{t+1} = Π(x_t + η s/‖s‖₁), s the signs of the k largest values of ∇f(x_t), Π on ball ∩ box.

    At a checkpoint k becomes ‖best − x‖₀ / 1.5. Where that support is below 0.95 of the last one, the row goes back to its best point and
    η to ε; elsewhere η is divided by 1.5, to no less than ε/10. With `larger_radii` ε is 3, 2 and 1 times the radius; each phase begins at
    the best point of the one before, projected.
    """

    objective: ClassObjective
    larger_radii: bool = True
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = ApgdL1State
    requires: ClassVar[tuple[type, ...]] = (L1,)

    def init(self, probe: Probe) -> ApgdL1State:
        x, radius = probe.batch.x, probe.batch.radius
        noise = probe.draw.normal("start", tuple(x.shape[1:]), x.dtype)
        p = probe.threat.project(x, noise, phases(probe.steps, self.larger_radii)[0][0] * radius)
        features = torch.full_like(probe.step, x[0].numel())
        support, width = (changed(p, radius), thinned(changed(p, radius))) if self.larger_radii else (features, (features + 4) // 5)
        return ApgdL1State(p, p, torch.zeros_like(p), torch.full_like(radius, -torch.inf), torch.ones_like(radius), support, width)

    def step(self, state: Rows, probe: Probe) -> ApgdL1State:
        assert isinstance(state, ApgdL1State)
        batch = probe.batch
        multiple, checkpoint, following = schedule(probe.steps, self.larger_radii, probe.step.device)[probe.step].unbind(dim=1)
        _, value, g = self.source(probe, state.p, self.objective)
        better = value > state.value
        wide = per_row(better, g)
        best, gradient = torch.where(wide, state.p, state.best), torch.where(wide, g, state.gradient)
        top = torch.where(better, value, state.value)

        due, support = checkpoint > 0, changed(best, batch.radius)
        sparser = due & (20 * support < 19 * state.support)
        shorter = torch.where(due, (state.length / 1.5).clamp_min(0.1), state.length)
        length, width = torch.where(sparser, 1.0, shorter), torch.where(due, thinned(support), state.width)
        back = per_row(sparser, g)
        p, direction = torch.where(back, best, state.p), torch.where(back, gradient, g)
        move = per_row((length * multiple * batch.radius).to(g.dtype), g) * steepest_l1(direction, width.clamp_min(1))

        # A point outside the radius itself is no claim: the probe compares every size with the row's own radius.
        begins = following > 0
        p = torch.where(per_row(begins, g), best, p + move)
        p = probe.threat.project(batch.x, p, torch.where(begins, following, multiple) * batch.radius)
        first, kept = changed(p, batch.radius), torch.where(due, support, state.support)
        return ApgdL1State(
            p, torch.where(per_row(begins, g), p, best), gradient, torch.where(begins, -torch.inf, top), torch.where(begins, 1.0, length),
            torch.where(begins, first, kept), torch.where(begins, thinned(first), width),
        )  # fmt: skip

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, ApgdL1State)
        return state.p

    def fitted(self, classes: int) -> ApgdL1:
        return replace(self, objective=self.objective.fitted(classes))
