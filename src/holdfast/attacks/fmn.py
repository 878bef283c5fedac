"""FMN: steps inside a ball whose radius closes in on the boundary, in any of four norms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attacks.short import attack, threat_of
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Dual, Probe, Source, Threat
from holdfast.parts.extent import farthest, span, usable
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Margin
from holdfast.parts.schedules import Cosine
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L0, L2, Additive

_TINY = 1e-12


@dataclass(frozen=True)
class FmnState(Rows):
    """`p` the change that is asked next; the ball's `radius`, the `best` size that fooled (∞: none), the `most` there is, each `[n]`."""

    p: Tensor
    radius: Tensor
    best: Tensor
    most: Tensor


@dataclass(frozen=True)
class Fmn(Sourced):
    """p ← Π_ε( p + α g/‖g‖₂ ), g the gradient of the margin, Π_ε onto the sphere.

    Before the first success ε = ‖p‖ + |margin| / ‖g‖_q, after it ε (1 − γ) where fooled, ε (1 + γ) elsewhere.

    α falls along a cosine from `rate` to a hundredth of it (in units of the range's width), γ from `gamma` to `last`.
    In L0 ε counts values: it starts at 1 and moves by one at least.
    """

    rate: float = 1.0
    gamma: float = 0.05
    last: float = 0.001
    targeted: bool = False
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = FmnState

    def init(self, probe: Probe) -> FmnState:
        assert isinstance(probe.threat, Additive)
        x = probe.batch.x
        most = torch.minimum(farthest(probe.threat, x), probe.batch.radius.to(x.dtype))
        none = torch.full_like(most, torch.inf)
        return FmnState(probe.threat.zero(x), torch.ones_like(most) if isinstance(probe.threat, L0) else none, none, most)

    def step(self, state: Rows, probe: Probe) -> FmnState:
        assert isinstance(state, FmnState)
        answer, value, g = self.source(probe, state.p, Margin(self.targeted, strict=True))
        g = usable(g, state.p, probe)
        fall = Cosine(1.0)(probe.step, probe.steps).to(g.dtype)
        gamma = self.last + (self.gamma - self.last) * fall
        best = torch.where(answer.wrong, torch.minimum(state.best, answer.size), state.best)
        less, more = state.radius * (1 - gamma), state.radius * (1 + gamma)
        if isinstance(probe.threat, L0):
            # A fifth more until first fooled: a row that needs many values has them while its steps are long.
            more = torch.where(best.isfinite(), more, 1.2 * state.radius)
            less, more = torch.minimum(state.radius - 1, less.floor()), torch.maximum(state.radius + 1, more.floor())
        elif isinstance(probe.threat, Dual):
            # A hair farther, so that a row that sits on the boundary still crosses it.
            guess = answer.size * (1 + 1e-4) + value.nan_to_num(nan=0.0).abs() / probe.threat.gradient_norm(g).clamp_min(_TINY)
            more = torch.where(best.isfinite(), more, guess)
        radius = torch.where(answer.wrong, torch.minimum(less, best), more).clamp_min(0)
        radius = torch.minimum(radius, state.most)
        length = self.rate * span(probe.bounds) * (0.01 + 0.99 * fall)
        p = state.p + L2().steepest(g) * per_row(length, g)
        if not isinstance(probe.threat, L0):
            # On the sphere, not only in the ball: short steps would else take long to reach the boundary that the radius speaks of.
            p = p * per_row((radius / probe.threat.size(p, p).clamp_min(_TINY)).clamp_min(1), p)
        p = probe.threat.project(probe.batch.x, p, radius)
        return FmnState(p, radius, best, state.most)

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, FmnState)
        return state.p


@attack("Pintor, Roli, Brendel & Biggio 2021, arXiv:2102.12827", threats=("linf", "l2", "l1", "l0"), minimum_norm=True)
def fmn(
    threat: Threat | float = L2(math.inf),
    steps: int = 100,
    rate: float = 1.0,
    gamma: float = 0.05,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Fast minimum norm: steps of fixed length up the margin, projected onto a sphere that closes in on the boundary.

    p' = Π_ε( p + α g/‖g‖₂ );  ε' = ‖p‖ + |margin|/‖g‖_q until first fooled, then (1 − γ) ε where fooled, (1 + γ) ε elsewhere.

    Inputs `[n, ...]` in the model's range; `threat` L∞, L2, L1 or L0, its radius the farthest worth looking (∞: anywhere); α from `rate`
    widths of the range to a hundredth, γ from `gamma` to 0.001, both along a cosine; `eot`: draws of a stochastic model that each gradient
    is the mean of.

    Raises ConfigError for no steps, no draws, a rate that is not positive, or γ outside (0, 1).
    Source: Pintor et al. 2021, and the authors' code.
    Differs from the paper: a point inside the sphere is drawn out onto it (in the authors' code only in L2); in L1 the projection is onto
    the ball and the range at once, in L0 it keeps what still helps inside the range, and ε grows by a fifth until first fooled; where the
    gradient is zero, a random way is taken; rows start at the clean input.

    >>> fmn(8 / 255).keep
    'smallest'
    """
    threat = threat_of(threat)
    if not rate > 0 or not 0 < gamma < 1:
        raise ConfigError(f"fmn(rate={rate}, gamma={gamma}): expected a positive rate and 0 < gamma < 1")
    return Attack(
        goal(targeted), threat, Fmn(rate, gamma, targeted=targeted, source=source(eot)), Stop(steps, early=False), keep="smallest"
    )
