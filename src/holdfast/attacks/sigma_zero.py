"""σ-zero: few changed values, by descent on a smooth count of them and a threshold that follows success."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attacks.short import attack
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Source, Threat
from holdfast.parts.adam import Adam
from holdfast.parts.extent import span
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Hinge
from holdfast.parts.schedules import Cosine
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L0, Additive


@dataclass(frozen=True)
class SigmaZeroState(Rows):
    """`p` the change that is asked next, its `adam`, and the `threshold` `[n]` under which a value is put back."""

    p: Tensor
    adam: Adam
    threshold: Tensor


@dataclass(frozen=True)
class SigmaZero(Sourced):
    """p ← p − Adam( g/‖g‖_∞ ),  g = ∇[ max(−margin, 0) + (1/d) Σ p_i² / (p_i² + σ) ];  then p_i ← 0 where |p_i| < τ, τ ← τ ± 0.01 η.

    The rate η falls along a cosine from `rate` to a tenth of it; lengths are in units of the range's width.
    """

    rate: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    change: float = 0.01
    targeted: bool = False
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = SigmaZeroState

    def init(self, probe: Probe) -> SigmaZeroState:
        p = probe.threat.zero(probe.batch.x)
        return SigmaZeroState(p, Adam.fresh(p), p.new_full((len(p),), self.threshold))

    def step(self, state: Rows, probe: Probe) -> SigmaZeroState:
        assert isinstance(state, SigmaZeroState) and isinstance(probe.threat, Additive)
        answer, _, g = self.source(probe, state.p, Hinge(self.targeted))
        unit = span(probe.bounds)
        # The slope of p²/(p² + σ) is 2 σ p / (p² + σ)², with σ in units of the width squared.
        sigma = self.sigma * unit * unit
        slope = state.p * (2 * sigma / g[0].numel()) / (state.p.square() + sigma).square() - g
        slope = slope / per_row(slope.abs().flatten(1).amax(dim=1).clamp_min(1e-12), slope)
        rate = (0.1 + Cosine(0.9)(probe.step, probe.steps)).to(g.dtype) * self.rate
        move, adam = state.adam.step(slope, per_row(rate * unit, g))
        p = probe.threat.into_box(probe.batch.x, state.p - move)
        change = self.change * rate
        threshold = torch.where(answer.wrong, state.threshold + change, state.threshold - change).clamp(0, 1)
        return SigmaZeroState(torch.where(p.abs() < per_row(threshold * unit, p), 0.0, p), adam, threshold)

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, SigmaZeroState)
        return state.p


@attack("Cinà et al. 2024, arXiv:2402.01879", threats=("l0",), minimum_norm=True)
def sigma_zero(
    threat: Threat = L0(math.inf),
    steps: int = 1000,
    rate: float = 1.0,
    sigma: float = 1e-3,
    threshold: float = 0.3,
    change: float = 0.01,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """σ-zero: the fewest changed values, by Adam on a smooth count of them and on the margin, with small values put back.

    min_p max(z_y − max_{j≠y} z_j, 0) + (1/d) Σ p_i²/(p_i² + σ);  after each step p_i ← 0 where |p_i| < τ;  τ rises where fooled.

    Inputs `[n, ...]` in the model's range; Adam's rate falls along a cosine from `rate` to a tenth; τ starts at `threshold` and moves by
    `change` × the rate; all in units of the range's width; `eot`: draws of a stochastic model that each gradient is the mean of.

    Raises ConfigError for no steps, no draws, or a rate, σ, threshold or change that is not positive.
    Source: Cinà et al. 2024; σ, τ, its change and the rates as in the authors' code.
    Differs from the paper: a targeted form; ranges other than 0..1.

    >>> sigma_zero(steps=100).threat.radius
    inf
    """
    if min(rate, sigma, threshold, change) <= 0:
        raise ConfigError(f"sigma_zero(rate={rate}, sigma={sigma}, threshold={threshold}, change={change}): each must be positive")
    rule = SigmaZero(rate, sigma, threshold, change, targeted, source(eot))
    return Attack(goal(targeted), threat, rule, Stop(steps, early=False), keep="smallest")
