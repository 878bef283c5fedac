"""Carlini–Wagner L∞: what exceeds a bound τ is penalised, and the bound lowered as long as the model can be fooled within it."""

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
from holdfast.parts.box import TanhBox
from holdfast.parts.extent import span
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Hinge
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import Linf

# Inputs at an end of the range are let in by a 2000th of it: from nearer, hundreds of steps would lead nowhere.
_EDGE = 0.999


@dataclass(frozen=True)
class CarliniWagnerLinfState(Rows):
    """`w` the unbounded variable with its `adam`, `tick` steps at the weight `c`; `tau` the bound."""

    w: Tensor
    adam: Adam
    tick: Tensor
    c: Tensor
    tau: Tensor


@dataclass(frozen=True)
class CarliniWagnerLinf(Sourced):
    """min c · max(κ − margin(x'), 0) + Σ_i max(|δ_i| − τ, 0);  solved: τ ← `decay` · min(τ, max|δ_i|), else c ← `factor` · c.

    Both searches go on from where the last ended. A row ends when c has passed `largest`.
    """

    confidence: float = 0.0
    targeted: bool = False
    iterations: int = 50
    rate: float = 0.1
    decay: float = 0.9
    initial: float = 0.1
    largest: float = 20.0
    factor: float = 2.0
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = CarliniWagnerLinfState

    def init(self, probe: Probe) -> CarliniWagnerLinfState:
        w, radius = TanhBox.of(probe.bounds, "carlini_wagner_linf", _EDGE).inverse(probe.batch.x), probe.batch.radius
        tau = radius.clamp(max=span(probe.bounds))
        return CarliniWagnerLinfState(w, Adam.fresh(w), torch.zeros_like(probe.step), torch.full_like(tau, self.initial), tau)

    def step(self, state: Rows, probe: Probe) -> CarliniWagnerLinfState:
        assert isinstance(state, CarliniWagnerLinfState)
        p, slant = TanhBox(probe.bounds).change(state.w, probe.batch.x)
        answer, _, g = self.source(probe, p, Hinge(self.targeted, self.confidence))
        excess = (p.abs() - per_row(state.tau.to(p.dtype), p)).clamp_min(0)
        solved = answer.wrong & (answer.size <= 1.02 * state.tau)

        rate = per_row((self.rate * state.tau / span(probe.bounds)).to(g.dtype), g)
        move, adam = state.adam.step((p.sign() * (excess > 0) - per_row(state.c, g).to(g.dtype) * g) * slant, rate)
        tick = state.tick + 1
        spent = ~solved & (tick >= self.iterations)
        on = CarliniWagnerLinfState(
            state.w - move, adam, torch.where(spent, 0, tick), torch.where(spent, state.c * self.factor, state.c), state.tau
        )
        tau = self.decay * torch.minimum(state.tau, answer.size.to(state.tau.dtype))
        tighter = CarliniWagnerLinfState(state.w, Adam.fresh(state.w), torch.zeros_like(tick), state.c, tau)
        return tighter.where(solved, on)

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, CarliniWagnerLinfState)
        return state.c >= self.largest


@attack("Carlini & Wagner 2017, arXiv:1608.04644", threats=("linf",), minimum_norm=True)
def carlini_wagner_linf(
    threat: Threat = Linf(math.inf),
    steps: int = 50,
    rate: float = 0.1,
    decay: float = 0.9,
    confidence: float = 0.0,
    initial: float = 0.1,
    largest: float = 20.0,
    factor: float = 2.0,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Carlini–Wagner L∞: fools within a bound τ by penalising what exceeds it, then within a smaller bound, while that can be done.

    min_w c · max( max_{j≠t} z_j − z_t + κ, 0 ) + Σ_i max( |δ_i| − τ, 0 ),  x + δ = ½(tanh w + 1);  τ ← `decay` · min(τ, max_i |δ_i|).

    Inputs `[n, ...]` in the model's (finite) range; κ = `confidence` in logits; each bound is tried with up to `steps` Adam steps at each
    weight c, which grows from `initial` by `factor` and is kept for the next bound; a row ends when c reaches `largest`. `rate`: that of
    Adam while τ is the whole range; it falls with τ; `eot`: draws of a stochastic model that each gradient is the mean of. The authors have
    1000 steps, `initial` 1e-5.

    Raises ConfigError for no steps, no draws, a rate, weight or confidence out of range, a decay outside (0, 1), or a factor of at most 1.
    Source: Carlini & Wagner 2017, the L∞ attack, and the authors' code.
    Differs from the paper: a row is done with τ at max|δ_i| ≤ 1.02 τ; the rate is in proportion to τ, where theirs is 0.005 (as large as
    a small τ itself, so that the values never keep it all at once); inputs at the end of the range start a 2000th inside; per row.

    >>> str(carlini_wagner_linf(steps=20))
    'carlini_wagner_linf(steps=20)'
    """
    if not 0 < decay < 1 or not factor > 1 or not rate > 0 or not 0 < initial < largest or confidence < 0:
        raise ConfigError(
            f"carlini_wagner_linf(rate={rate}, decay={decay}, confidence={confidence}, initial={initial}, "
            f"largest={largest}, factor={factor}): "
            f"expected a positive rate, a decay in (0, 1), confidence ≥ 0, 0 < initial < largest and a factor above 1"
        )
    rounds = math.ceil(math.log(256) / -math.log(decay)) + math.ceil(math.log(largest / initial) / math.log(factor))
    rule = CarliniWagnerLinf(confidence, targeted, steps, rate, decay, initial, largest, factor, source(eot))
    return Attack(goal(targeted, confidence), threat, rule, Stop(rounds * steps, early=False), keep="smallest")
