"""EAD: sparse changes by iterative shrinkage on the elastic net, and a search for the weight of fooling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.attacks.short import attack
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Source, Threat
from holdfast.parts.extent import span
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Hinge
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L1, ElasticNet
from holdfast.parts.weights import Weight


@dataclass(frozen=True)
class EadState(Rows):
    """`p` the last shrunk change, `slack` the point ahead of it where the next gradient is taken, after `time` steps of this search; the
    weight `c`; whether this search has `fooled`, and its `last` checked loss."""

    p: Tensor
    slack: Tensor
    time: Tensor
    c: Weight
    fooled: Tensor
    last: Tensor


@dataclass(frozen=True)
class Ead(Sourced):
    """min c · max(κ − margin, 0) + β‖p‖₁ + ‖p‖₂²  by FISTA:  p' = S_β( s − α ∇ ),  s' = p' + t/(t + 3) (p' − p);  c is bisected per row.

    S_β moves each value by β toward 0, and those within β of it all the way; α = `rate` (1 − t/T)^½. Lengths are in units of the width.
    """

    confidence: float = 0.0
    targeted: bool = False
    iterations: int = 1000
    searches: int = 9
    rate: float = 1e-2
    initial: float = 1e-3
    beta: float = 1e-2
    abort_early: bool = True
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = EadState

    def init(self, probe: Probe) -> EadState:
        return _begun(probe.threat.zero(probe.batch.x), Weight.fresh(probe.batch.radius, self.initial))

    def step(self, state: Rows, probe: Probe) -> EadState:
        assert isinstance(state, EadState) and isinstance(probe.threat, L1)
        x, slack, unit = probe.batch.x, state.slack, span(probe.bounds)
        _, gain, g = self.source(probe, slack, Hinge(self.targeted, self.confidence))
        share = state.time.to(g.dtype)
        rate = self.rate * (1 - share / self.iterations).sqrt()
        weight = (state.c.value * unit * unit).to(g.dtype)
        moved = slack * per_row(1 - 2 * rate, g) + g * per_row(rate * weight, g)
        p = probe.threat.into_box(x, moved - moved.clamp(-self.beta * unit, self.beta * unit))
        ahead = probe.threat.into_box(x, p + (p - state.p) * per_row(share / (share + 3), g))
        fooled = state.fooled | probe.score(p, draws=self.source.asks()).wrong

        size = slack.abs() * (slack.abs() + self.beta * unit)
        loss = size.flatten(1).sum(dim=1) + weight * (self.confidence - gain)
        check = state.time % max(1, math.ceil(self.iterations / 10)) == 0
        # A search that fools comes closer to its end: the loss of FISTA does not fall at every check.
        flat = check & ~(loss <= 0.9999 * state.last) & ~fooled & self.abort_early
        last = torch.where(check, loss.to(state.last.dtype), state.last)
        time = state.time + 1
        over = (time >= self.iterations) | flat
        going = replace(state, p=p, slack=ahead, time=time, fooled=fooled, last=last)
        return going.where(~over, self._bisected(going)) if bool(over.any(dim=0)) else going

    def _bisected(self, state: EadState) -> EadState:
        """Every row as it begins its next search: a smaller weight if this one fooled, a larger one if not."""
        c = state.c.after(state.fooled)
        if self.searches >= 10:
            # So long a search ends where it last fooled, or where only fooling counts.
            c = replace(c, value=torch.where(c.count == self.searches - 1, c.high.clamp(max=1e10), c.value))
        return _begun(torch.zeros_like(state.p), c)

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, EadState)
        return state.c.count >= self.searches

    def price(self) -> int:
        return 2 * self.source.asks()


def _begun(zero: Tensor, c: Weight) -> EadState:
    """Every row as it begins a search at the weight `c`."""
    none = torch.zeros_like(c.count)
    return EadState(zero, zero, none, c, none.bool(), torch.full_like(c.value, torch.inf))


@attack("Chen, Sharma, Zhang, Yi & Hsieh 2018, arXiv:1709.04114", threats=("l1",), minimum_norm=True)
def ead(
    threat: Threat = L1(math.inf),
    steps: int = 1000,
    searches: int = 9,
    rate: float = 1e-2,
    confidence: float = 0.0,
    initial: float = 1e-3,
    beta: float = 1e-2,
    decision: Literal["l1", "en"] = "l1",
    abort_early: bool = True,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Elastic-net attack (EAD): the change that fools by at least κ with the least L1, or the least β L1 + L2², norm.

    min_p c · max( z_y − max_{j≠y} z_j + κ, 0 ) + β‖p‖₁ + ‖p‖₂²;  targeted: max_{j≠t} z_j − z_t + κ.

    Inputs `[n, ...]` in the model's range; κ = `confidence` in logits; the weight c starts at `initial` and is bisected `searches` times,
    each with up to `steps` shrinkage steps of `rate` falling with the root of what is left, in units of the range's width; `abort_early`
    ends a search that has not fooled and whose loss has stopped falling; `decision`: the claim is the point of least L1 norm (`l1`) or
    elastic net (`en`, in which the threat's radius is then counted); `eot`: draws of a stochastic model that each gradient is the mean of.

    Raises ConfigError for no steps, searches or draws, a rate or weight that is not positive, a negative β or κ, or an unknown decision.
    Source: Chen et al. 2018, algorithm 1.
    Differs from the authors' code: each input has its own early abort, on the whole objective, and none where the search has fooled; the
    slack point stays inside the range and counts as well.

    >>> ead(decision="en").threat.beta
    0.01
    """
    if searches < 1 or not (rate > 0 and initial > 0) or beta < 0 or confidence < 0 or decision not in ("l1", "en"):
        raise ConfigError(
            f"ead(searches={searches}, rate={rate}, initial={initial}, beta={beta}, confidence={confidence}, decision={decision!r}): "
            f"searches, rate and initial must be positive, beta and confidence not negative, decision 'l1' or 'en'"
        )
    if decision == "en" and isinstance(threat, L1):
        threat = ElasticNet(threat.radius, beta=beta)
    rule = Ead(confidence, targeted, steps, searches, rate, initial, beta, abort_early, source(eot))
    return Attack(goal(targeted, confidence), threat, rule, Stop(steps * searches, early=False), keep="smallest")
