"""DDN: the direction of a change from the gradient, its length from whether it fools."""

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
from holdfast.parts.extent import farthest, nonzero, span
from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.schedules import Cosine
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L2


@dataclass(frozen=True)
class DdnState(Rows):
    """`p` the change that is asked next, the `length` it was given before rounding, and the `most` that is possible, each `[n]`."""

    p: Tensor
    length: Tensor
    most: Tensor


@dataclass(frozen=True)
class Ddn(Sourced):
    """ε ← (1 − γ) ε where fooled, (1 + γ) ε elsewhere;  p ← ε (p + α g/‖g‖₂) / ‖p + α g/‖g‖₂‖₂, in the range, on `levels` if any.

    α falls along a cosine from 1 to 0.01, ε starts at `length`; both in units of the range's width.
    """

    gamma: float = 0.05
    length: float = 1.0
    levels: int | None = None
    targeted: bool = False
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = DdnState

    def init(self, probe: Probe) -> DdnState:
        assert isinstance(probe.threat, L2)
        if self.levels and not probe.bounds.finite:
            raise ConfigError(f"ddn(levels={self.levels}) needs a finite range, not {probe.bounds}: give Classifier(bounds=(low, high))")
        x = probe.batch.x
        most = torch.minimum(farthest(probe.threat, x), probe.batch.radius.to(x.dtype))
        return DdnState(probe.threat.zero(x), torch.full_like(most, self.length * span(probe.bounds)), most)

    def step(self, state: Rows, probe: Probe) -> DdnState:
        assert isinstance(state, DdnState) and isinstance(probe.threat, L2)
        threat, x = probe.threat, probe.batch.x
        answer, _, g = self.source(probe, state.p, CrossEntropy(self.targeted))
        rate = (0.01 + Cosine(0.99)(probe.step, probe.steps)) * span(probe.bounds)
        p = state.p + threat.steepest(nonzero(g, probe)) * per_row(rate.to(g.dtype), g)
        length = torch.where(answer.wrong, state.length * (1 - self.gamma), state.length * (1 + self.gamma))
        length = torch.minimum(length, state.most)
        p = threat.into_box(x, p * per_row(length / threat.size(x, p).clamp_min(torch.finfo(g.dtype).tiny), p))
        return DdnState(p if self.levels is None else self._rounded(x, p, probe, self.levels), length, state.most)

    def _rounded(self, x: Tensor, p: Tensor, probe: Probe, levels: int) -> Tensor:
        """x + p on the nearest of `levels` values between the ends of the range."""
        low, high = probe.bounds.pair(x)
        width = (high - low) / (levels - 1)
        return low + ((x + p - low) / width).round() * width - x

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, DdnState)
        return state.p


@attack("Rony et al. 2019, arXiv:1811.09600", threats=("l2",), minimum_norm=True)
def ddn(
    threat: Threat = L2(math.inf),
    steps: int = 100,
    gamma: float = 0.05,
    length: float = 1.0,
    levels: int | None = None,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Decoupled direction and norm: unit gradient steps on a sphere that shrinks where the model is fooled and grows where it is not.

    p' = p + α g/‖g‖₂,  ε' = ε (1 ∓ γ),  p ← Π_range( ε' p'/‖p'‖₂ );  g the gradient of the cross-entropy.

    Inputs `[n, ...]` in the model's range; the first sphere has radius `length` × the range's width; α falls along a cosine from 1 to 0.01
    widths; `levels` (256 in the paper) asks only about points on so many grey levels; `eot`: draws of a stochastic model that each gradient
    is the mean of.

    Raises ConfigError for no steps or draws, γ outside (0, 1), a length that is not positive, fewer than two levels, or levels without a
    range.
    Source: Rony et al. 2019; α as in the authors' code.
    Differs from the paper: the points need not lie on grey levels unless `levels` says so; steps are in units of the range.

    >>> ddn(steps=50).keep
    'smallest'
    """
    if not 0 < gamma < 1 or not length > 0 or (levels is not None and levels < 2):
        raise ConfigError(f"ddn(gamma={gamma}, length={length}, levels={levels}): expected 0 < gamma < 1, length > 0 and at least 2 levels")
    return Attack(goal(targeted), threat, Ddn(gamma, length, levels, targeted, source(eot)), Stop(steps, early=False), keep="smallest")
