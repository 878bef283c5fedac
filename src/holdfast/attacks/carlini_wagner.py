"""Carlini–Wagner L2: the smallest change that fools by a margin, by Adam in an unbounded variable and a search for its weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Hinge
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L2
from holdfast.parts.weights import Weight


@dataclass(frozen=True)
class CarliniWagnerState(Rows):
    """`w` the unbounded variable with its `adam`, whose time counts the steps of this search; the weight `c`; whether this search has
    `fooled`, and its `last` checked loss."""

    w: Tensor
    adam: Adam
    c: Weight
    fooled: Tensor
    last: Tensor


@dataclass(frozen=True)
class CarliniWagnerL2(Sourced):
    """min ‖x'(w) − x‖² + c · max(κ − margin(x'), 0),  x'(w) = low + (high − low)(tanh w + 1)/2;  c is bisected per row."""

    confidence: float = 0.0
    targeted: bool = False
    iterations: int = 1000
    searches: int = 9
    rate: float = 0.01
    initial: float = 1e-3
    abort_early: bool = True
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = CarliniWagnerState

    def init(self, probe: Probe) -> CarliniWagnerState:
        w, per = TanhBox.of(probe.bounds, "carlini_wagner").inverse(probe.batch.x), probe.batch.radius
        return _begun(w, Weight.fresh(per, self.initial))

    def step(self, state: Rows, probe: Probe) -> CarliniWagnerState:
        assert isinstance(state, CarliniWagnerState)
        p, slant = TanhBox(probe.bounds).change(state.w, probe.batch.x)
        answer, gain, g = self.source(probe, p, Hinge(self.targeted, self.confidence))
        loss = p.square().flatten(1).sum(dim=1) + state.c.value * (self.confidence - gain)
        slope = (2 * p - per_row(state.c.value, g) * g) * slant

        move, adam = state.adam.step(slope, self.rate)
        tick = adam.time
        fooled = state.fooled | answer.wrong
        check = tick % max(1, self.iterations // 10) == 0
        flat = check & (loss > 0.9999 * state.last) & self.abort_early
        over = (tick >= self.iterations) | flat
        last = torch.where(check, loss, state.last)
        moved = CarliniWagnerState(state.w - move, adam, state.c, fooled, last)
        return moved.where(~over, self._bisected(moved, probe))

    def _bisected(self, state: CarliniWagnerState, probe: Probe) -> CarliniWagnerState:
        """Every row as it begins its next search: a smaller weight if this one fooled, a larger one if not."""
        c = state.c.after(state.fooled)
        if self.searches >= 10:
            # So long a search ends where it last fooled, or where only fooling counts.
            c = replace(c, value=torch.where(c.count == self.searches - 1, c.high.clamp(max=1e10), c.value))
        return _begun(TanhBox(probe.bounds).inverse(probe.batch.x), c)

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, CarliniWagnerState)
        return state.c.count >= self.searches


def _begun(w: Tensor, c: Weight) -> CarliniWagnerState:
    """Every row as it begins a search from `w` at the weight `c`."""
    return CarliniWagnerState(w, Adam.fresh(w), c, torch.zeros_like(c.count).bool(), torch.full_like(c.value, torch.inf))


@attack("Carlini & Wagner 2017, arXiv:1608.04644", threats=("l2",), minimum_norm=True)
def carlini_wagner(
    threat: Threat = L2(math.inf),
    steps: int = 1000,
    searches: int = 9,
    rate: float = 0.01,
    confidence: float = 0.0,
    initial: float = 1e-3,
    abort_early: bool = True,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Carlini–Wagner L2: the smallest change that fools by at least κ, found by Adam on a penalised distance.

    min_w ‖½(tanh w + 1) − x‖₂² + c · max( max_{j≠t} z_j − z_t + κ, 0 );  untargeted: max( z_y − max_{j≠y} z_j + κ, 0 ).

    Inputs `[n, ...]` in the model's (finite) range; κ = `confidence` in logits; the weight c starts at `initial` and is bisected `searches`
    times (of ten or more the last is at the smallest c that fooled, 1e10 if none did), each with up to `steps` Adam steps at learning
    `rate`; `abort_early` ends a search whose loss has stopped falling; `eot`: draws
    of a stochastic model that each gradient is the mean of.

    Raises ConfigError for no steps, searches or draws, or a rate that is not positive.
    Source: Carlini & Wagner 2017, sections V and VI-A, f6.
    Differs from the authors' code: at most 1,000 steps a search where its default is 10,000 (`steps=10000`); each input has its own early
    abort and its own bisection; the untargeted form maximises over all other classes.

    >>> carlini_wagner(confidence=5.0).goal.confidence
    5.0
    """
    if searches < 1 or not rate > 0 or not initial > 0 or confidence < 0:
        raise ConfigError(
            f"carlini_wagner(searches={searches}, rate={rate}, initial={initial}, confidence={confidence}): "
            f"searches, rate and initial must be positive, confidence not negative"
        )
    rule = CarliniWagnerL2(confidence, targeted, steps, searches, rate, initial, abort_early, source(eot))
    return Attack(goal(targeted, confidence), threat, rule, Stop(steps * searches, early=False), keep="smallest")
