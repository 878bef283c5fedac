"""FAB: steps onto the linearised boundary, drawn back toward the clean input, so that what is found is close."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attacks.apgd import on_sphere
from holdfast.attacks.short import attack, bounded, threat_of
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Dual, PerRow, Probe, Source, Threat
from holdfast.parts.goals import Untargeted, at
from holdfast.parts.objectives import Margin
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L2


@dataclass(frozen=True)
class FabState(Rows):
    """`p` the point that is linearised next."""

    p: Tensor


@dataclass(frozen=True)
class Fab(Sourced):
    """p ← (1 − α)(p + η d₁) + α η d₂;  d₁ leads from p, d₂ from the clean input to {f + ⟨w, ·⟩ = 0} in the valid range.

    α = min(‖d₁‖ / (‖d₁‖ + ‖d₂‖), `most`); where that fools p ← β p. f is the boundary with the row's own rival where there are
    `rivals`, else the nearest of all.
    """

    rivals: int = 0
    most: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = FabState
    requires: ClassVar[tuple[type, ...]] = (Dual,)

    def init(self, probe: Probe) -> FabState:
        zero = probe.threat.zero(probe.batch.x)
        # Only attacks with a radius have restarts.
        again = probe.batch.group // max(1, self.rivals) > 0
        return FabState(torch.where(per_row(again, zero), on_sphere(probe, 0.5), zero))

    def step(self, state: Rows, probe: Probe) -> FabState:
        assert isinstance(state, FabState) and isinstance(probe.threat, Dual)
        threat, x, p = probe.threat, probe.batch.x, state.p
        f, w = self._boundary(p, probe)
        # A model that answers NaN leaves its row where it is.
        f = f.nan_to_num(nan=0.0)
        here = threat.reach(x, p, -f, w)
        there = threat.reach(x, torch.zeros_like(p), (w * p).flatten(1).sum(dim=1) - f, w)
        near, far = (probe.threat.size(x, d).clamp_min(1e-8) for d in (here, there))
        share = per_row((near / (near + far)).clamp(max=self.most), p)
        moved = (p + self.eta * here) * (1 - share) + self.eta * there * share
        low, high = probe.bounds.pair(x)
        moved = torch.clamp(moved, low - x, high - x)
        fooled = probe.score(moved, draws=self.source.asks()).wrong
        return FabState(torch.where(per_row(fooled, moved), self.beta * moved, moved))

    def _boundary(self, p: Tensor, probe: Probe) -> tuple[PerRow, Tensor]:
        """f and w of the boundary that is linearised at p."""
        assert isinstance(probe.threat, Dual)
        batch = probe.batch
        if self.rivals:
            _, f, w = self.source(probe, p, Margin(targeted=True))
            return f, w
        others = torch.arange(batch.clean.logits.shape[1] - 1, device=p.device).expand(len(p), -1)
        others = others + (others >= batch.y.unsqueeze(1))
        answer, slopes = probe.jacobian(p, others, draws=self.source.asks(), base=batch.y)
        f = answer.out.logits.gather(1, others) - at(answer.out.logits, batch.y).unsqueeze(1)
        norms = probe.threat.gradient_norm(slopes.flatten(0, 1)).reshape(f.shape)
        nearest = (f.abs() / norms.clamp_min(1e-12)).argmin(dim=1)
        chosen = nearest.reshape(-1, 1, *[1] * (p.ndim - 1)).expand(-1, 1, *p.shape[1:])
        return at(f, nearest), slopes.gather(1, chosen).squeeze(1)

    def price(self) -> int:
        return 2 * self.source.asks()

    def fitted(self, classes: int) -> Fab:
        return replace(self, rivals=min(self.rivals, classes - 1))


_PAPER = "Croce & Hein 2020, arXiv:1907.02044"


def _attack(name: str, threat: Threat, rule: Fab, steps: int, restarts: int) -> Attack:
    if threat.radius == math.inf and restarts > 1:
        raise ConfigError(f"{name}(restarts={restarts}): restarts begin halfway to the radius: give one, as in {name}(8/255, restarts=5)")
    if threat.radius == math.inf:
        return Attack(Untargeted(), threat, rule, Stop(steps, early=False), Group(1, rule.rivals, cancel="none"), keep="smallest")
    return Attack(Untargeted(), bounded(threat, name), rule, Stop(steps), Group(restarts, rule.rivals))


@attack(_PAPER, minimum_norm=True)
def fab(threat: Threat | float = L2(math.inf), steps: int = 100, restarts: int = 1, eot: int = 1) -> Attack:
    """Fast adaptive boundary: a small change that fools, by steps onto the nearest linearised boundary drawn back to the clean input.

    d = argmin ‖d‖ with f + ⟨w, d⟩ = 0 and x + p + d valid;  p' = (1 − α)(p + η d₁) + α η d₂;  where fooled p' ← β p'.

    Inputs `[n, ...]` in the model's range; `threat` L∞, L2 or L1: within a finite radius it ends at the first success; without one it looks
    for the smallest change with all `steps`. Each step asks for the gradients of all other classes and one forward more; `eot`: draws of a
    stochastic model that each of its answers is the mean of.

    Raises ConfigError for no steps, no draws, a negative radius, or restarts without a radius.
    Source: Croce & Hein 2020, algorithm 1; α ≤ 0.1, η = 1.05, β = 0.9.
    Differs from the paper: no final search along the segment to the clean input; restarts begin halfway to the radius, as in the authors'
    later code; the point that was drawn back counts too.

    >>> fab().keep, fab(8 / 255).keep
    ('smallest', 'first')
    """
    return _attack("fab", threat_of(threat), Fab(source=source(eot)), steps, restarts)


@attack(_PAPER, minimum_norm=True)
def fab_targeted(threat: Threat | float = L2(math.inf), steps: int = 100, rivals: int = 9, restarts: int = 1, eot: int = 1) -> Attack:
    """FAB aimed at each of the likeliest wrong classes in turn, one gradient a step; any wrong answer counts.

    As `fab`, with f = z_t − z_y, t over the min(`rivals`, classes − 1) classes that the clean logits rank highest.

    Inputs `[n, ...]` in the model's range.

    Raises ConfigError as `fab` does, and for no rivals.
    Source: Croce & Hein 2020 (AutoAttack, arXiv:2003.01690), section 5 (FAB-T).
    Differs from the authors' code: as `fab`; restarts take turns over the rivals, not the rivals over the restarts.

    >>> fab_targeted(8 / 255).group.rivals
    9
    """
    if rivals < 1:
        raise ConfigError(f"fab_targeted(rivals={rivals}): at least one is needed")
    return _attack("fab_targeted", threat_of(threat), Fab(rivals, source=source(eot)), steps, restarts)
