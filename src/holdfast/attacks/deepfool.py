"""DeepFool: to the nearest boundary of the linearised model, again and again."""

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
from holdfast.core.types import Access, Bounds, Dual, Probe, Source, Threat
from holdfast.parts.goals import goal
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L1, L2


@dataclass(frozen=True)
class DeepFoolState(Rows):
    """`p` the overshot and projected point that is asked next."""

    p: Tensor


@dataclass(frozen=True)
class DeepFool(Sourced):
    """l = argmin_k |f_k| / ‖w_k‖_q with f_k = z_k − z_y, w_k = ∇f_k;  p ← Π( p + (1 + η) d ), d the smallest with ⟨w_l, d⟩ = |f_l|.

    Targeted, the only boundary is that with the target's region: of all classes against the target, the one farthest behind.
    """

    overshoot: float = 0.02
    classes: int = 10
    targeted: bool = False
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = DeepFoolState
    requires: ClassVar[tuple[type, ...]] = (Dual,)

    def init(self, probe: Probe) -> DeepFoolState:
        return DeepFoolState(probe.threat.zero(probe.batch.x))

    def step(self, state: Rows, probe: Probe) -> DeepFoolState:
        assert isinstance(state, DeepFoolState) and isinstance(probe.threat, Dual)
        batch, threat = probe.batch, probe.threat
        base = batch.target if self.targeted else batch.y
        ranked = batch.clean.logits.scatter(1, base.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True, stable=True)
        # Every class must fall below a target, wherever it was in the beginning.
        rivals = ranked[:, : (ranked.shape[1] if self.targeted else min(self.classes, ranked.shape[1])) - 1]
        answer, w = probe.jacobian(state.p, rivals, base=base, standing=True, draws=self.source.asks())
        chosen = answer.out.logits.gather(1, torch.cat([base.unsqueeze(1), rivals], dim=1))
        gap = chosen[:, 1:] - chosen[:, :1]
        w = w * self._free(batch.x, state.p, w, probe.bounds) if isinstance(threat, L1) else w
        norms = threat.gradient_norm(w.flatten(0, 1)).reshape(gap.shape).clamp_min(1e-12)
        if self.targeted:
            # Every other class must fall below the target: the worst of them decides how far to go.
            nearest = (gap / norms).argmax(dim=1)
            need = -gap
        else:
            nearest = (gap.abs() / norms).argmin(dim=1)
            need = gap.abs()
        pick = nearest.unsqueeze(1)
        direction = w.gather(1, pick.reshape(-1, 1, *[1] * (w.ndim - 2)).expand(-1, 1, *w.shape[2:])).squeeze(1)
        # A hair beyond the boundary, relative to the logits, so that a row that sits on it still moves.
        amount = need.gather(1, pick).squeeze(1)
        hair = 1e-5 * chosen.abs().amax(dim=1).clamp_min(1e-6)
        amount = torch.where(amount < 0, amount - hair, amount + hair)
        p = threat.project(batch.x, state.p + (1 + self.overshoot) * threat.nearest(amount, direction), batch.radius)
        return DeepFoolState(torch.where(per_row(answer.wrong, p), state.p, p))

    def _free(self, x: Tensor, p: Tensor, w: Tensor, bounds: Bounds) -> Tensor:
        """Where a step along `w` (against it when targeted) stays in the valid range: L1 would try one used-up value for ever."""
        low, high = bounds.pair(x)
        up, down = ((p < high - x).unsqueeze(1), (p > low - x).unsqueeze(1))
        return torch.where((w < 0) == self.targeted, up, down)

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, DeepFoolState)
        return state.p


@attack("Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599", threats=("linf", "l2", "l1"), minimum_norm=True)
def deepfool(
    threat: Threat | float = L2(math.inf),
    steps: int = 50,
    overshoot: float = 0.02,
    classes: int = 10,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """DeepFool: the smallest change to cross the nearest boundary of the model linearised here, repeated until it is crossed.

    f_k = z_k − z_y, w_k = ∇f_k;  l = argmin_k |f_k| / ‖w_k‖_q;  x ← x + (1 + η) |f_l| / ‖w_l‖_q · argmax_{‖d‖_p ≤ 1} ⟨w_l, d⟩.
    On an affine model the first step is exact.

    Inputs `[n, ...]` in the model's range; `threat` L2, L∞ or L1, its radius the farthest worth looking (∞: anywhere); a bare number is an
    L∞ radius; `classes`: the label and the likeliest others are considered (all when targeted); η = `overshoot`; `eot`: draws of a
    stochastic model that each gradient is the mean of.

    Raises ConfigError for no steps, no draws, a negative radius or overshoot, or fewer than two classes.
    Source: Moosavi-Dezfooli et al. 2016, algorithm 2; other norms section 3.3.
    Differs from the paper: each step is overshot, not the sum, and ends inside the valid range (in L1 a value at its edge is passed
    over); a targeted form, which is exact on an affine model for one other class and goes from region to region for more.

    >>> deepfool().threat.radius
    inf
    """
    if classes < 2 or not overshoot >= 0:
        raise ConfigError(f"deepfool(classes={classes}, overshoot={overshoot}): expected at least 2 classes and an overshoot of 0 or more")
    return Attack(goal(targeted), threat_of(threat), DeepFool(overshoot, classes, targeted, source(eot)), Stop(steps))
