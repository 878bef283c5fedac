"""APGD: projected gradient ascent that chooses its own step size, untargeted and aimed at each rival class; APGD-L1 in L1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attacks.apgd_l1 import ApgdL1
from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Normed, Probe, Rule, Source, Threat
from holdfast.parts.goals import Untargeted, goal
from holdfast.parts.objectives import ClassObjective, TargetedDlr
from holdfast.parts.objectives import objective as named
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L1, L2, Linf


@dataclass(frozen=True)
class ApgdState(Rows):
    """`p` is asked next, `previous` was before it; `best` with its `gradient` and `value`; the row's step `length` as a share of its
    radius; `rises` since the last checkpoint; at that checkpoint the `mark`ed best value, and whether the length was `halved`."""

    p: Tensor
    previous: Tensor
    best: Tensor
    gradient: Tensor
    value: Tensor
    last: Tensor
    length: Tensor
    rises: Tensor
    mark: Tensor
    halved: Tensor


@cache
def checkpoints(steps: int) -> dict[int, int]:
    """The steps at which a row looks back, and over how many steps: p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06), p_1 = 0.22."""
    window, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    found, at = {}, window
    while at <= steps:
        found[at] = window
        window = max(window - shrink, least)
        at += window
    return found


@cache
def windows(steps: int, device: torch.device) -> Tensor:
    """`checkpoints` as a table over the steps, 0 where there is none: `[steps + 1]`."""
    return torch.tensor([checkpoints(steps).get(step, 0) for step in range(steps + 1)], device=device)


@dataclass(frozen=True)
class Apgd(Sourced):
    """z = Π(x_t + η d(∇f(x_t)));  x_{t+1} = Π(x_t + α(z − x_t) + (1 − α)(x_t − x_{t−1})), α = 0.75 (1 at first).

    At a checkpoint η is halved, and the row goes back to its best point, when fewer than `rho` of the steps since the last one
    rose, or when neither η nor the best value has changed since then.
    """

    objective: ClassObjective
    rho: float = 0.75
    momentum: float = 0.75
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = ApgdState
    requires: ClassVar[tuple[type, ...]] = (Normed,)

    def init(self, probe: Probe) -> ApgdState:
        radius = probe.batch.radius
        p = on_sphere(probe)
        low = torch.full_like(radius, -torch.inf)
        return ApgdState(
            p, p, p, torch.zeros_like(p), low, -low, torch.full_like(radius, 2.0),
            torch.zeros_like(probe.step), low, torch.ones_like(probe.step, dtype=torch.bool),
        )  # fmt: skip

    def step(self, state: Rows, probe: Probe) -> ApgdState:
        assert isinstance(state, ApgdState) and isinstance(probe.threat, Normed)
        threat, batch = probe.threat, probe.batch
        _, value, g = self.source(probe, state.p, self.objective)
        better = value > state.value
        wide = per_row(better, g)
        best, gradient = torch.where(wide, state.p, state.best), torch.where(wide, g, state.gradient)
        top = torch.where(better, value, state.value)
        rises = state.rises + (value > state.last)

        window = windows(probe.steps, probe.step.device)[probe.step]
        due = window > 0
        stuck = rises <= self.rho * window
        halve = due & (stuck | (~state.halved & (top <= state.mark)))
        length = torch.where(halve, state.length / 2, state.length)
        back = per_row(halve, g)
        p, direction = torch.where(back, best, state.p), torch.where(back, gradient, g)

        move = per_row((length * batch.radius).to(g.dtype), g) * threat.steepest(direction)
        z = probe.threat.project(batch.x, p + move, batch.radius)
        share = torch.where(probe.step == 0, 1.0, self.momentum).to(g.dtype)
        a = per_row(share, g)
        blend = p + a * (z - p) + (1 - a) * (p - state.previous)
        return ApgdState(
            probe.threat.project(batch.x, blend, batch.radius), p, best, gradient, top, value, length,
            torch.where(due, 0, rises), torch.where(due, top, state.mark), torch.where(due, halve, state.halved),
        )  # fmt: skip

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, ApgdState)
        return state.p

    def fitted(self, classes: int) -> Apgd:
        return replace(self, objective=self.objective.fitted(classes))


def on_sphere(probe: Probe, share: float = 1.0) -> Tensor:
    """A random point on the sphere of `share` of the radius: uniform noise scaled to it for L∞, a normal direction for L2."""
    threat, x, radius = probe.threat, probe.batch.x, share * probe.batch.radius
    shape, length = tuple(x.shape[1:]), per_row(radius.to(x.dtype), x)
    if isinstance(threat, Linf):
        noise = 2 * probe.draw.uniform("start", shape, x.dtype) - 1
        return threat.project(x, length * noise / per_row(noise.abs().flatten(1).amax(dim=1), noise), radius)
    if isinstance(threat, L2):
        noise = probe.draw.normal("start", shape, x.dtype)
        return threat.project(x, length * threat.steepest(noise), radius)
    return threat.random(x, probe.draw, radius)


def ascent(name: str, threat: Threat, rule: Apgd, larger_radii: bool | None, slide: bool) -> Rule:
    """APGD-L1 in L1, unless the steps are to be those of SLIDE; `rule` elsewhere.

    Raises ConfigError for what only L1 knows, elsewhere, and for larger radii with SLIDE.
    """
    sparse = isinstance(threat, L1)
    if not sparse and (slide or larger_radii is not None):
        word = "slide" if slide else f"larger_radii={larger_radii}"
        raise ConfigError(f"{name}({word}) is for L1, not {type(threat).__name__}: leave it out")
    if slide and larger_radii:
        raise ConfigError(f"{name}(slide=True) stays within the radius: leave larger_radii out, or slide")
    return ApgdL1(rule.objective, larger_radii is not False, rule.source) if sparse and not slide else rule


_PAPER = "Croce & Hein 2020, arXiv:2003.01690; in L1 Croce & Hein 2021, arXiv:2103.01208"


@attack(_PAPER)
def apgd(
    threat: Threat | float,
    steps: int = 100,
    restarts: int = 1,
    objective: str = "ce",
    targeted: bool = False,
    rho: float = 0.75,
    early: bool = True,
    eot: int = 1,
    larger_radii: bool | None = None,
    slide: bool = False,
) -> Attack:
    """Auto-PGD: gradient ascent that chooses each input's step size, and in L1 its sparsity, by that input's own progress.

    z = Π(x_t + η d(∇J(x_t)));  x_{t+1} = Π(x_t + ¾ (z − x_t) + ¼ (x_t − x_{t−1}));  η from 2ε, halved at checkpoints.
    L1:  x_{t+1} = Π(x_t + η s/‖s‖₁), s the signs of the k largest |∇J(x_t)|, k = ‖x_best − x‖₀ / 1.5;  η from ε, over 1.5 at checkpoints.

    Inputs `[n, ...]` in the model's range; `objective`: `ce`, `dlr` (three classes or more; with two it is the margin) or `margin`;
    `restarts` are tried one after the other until one succeeds; `eot`: queries of a stochastic model whose mean is climbed, at each step;
    `rho`: the share of steps that must rise (not in APGD-L1). In L1 alone: `larger_radii` (on, unless False) climbs at 3ε and at 2ε for
    30 % of the steps each, then at ε, and only a point within ε can succeed; `slide` takes the steps and checkpoints of the other norms,
    each step moving the share `L1.spread` of the values (SLIDE), as in `standard-1`.

    Raises ConfigError for a radius that is not positive and finite, no steps, no queries, an unknown objective, `larger_radii` or
    `slide` outside of L1, or both.
    Source: Croce & Hein 2020, section 3 and algorithm 1; DLR eq. 6. L1: Croce & Hein 2021, section 3 and algorithm 1; SLIDE: Tramèr &
    Boneh 2019.
    Differs from the authors' code: the gradient at the last point, which they compute and do not use, is not asked for; the first
    checkpoint counts rises alone, where theirs compares the first loss with 0; with `eot` the mean over the draws is judged, where
    theirs judges by the last draw. In L1 the first point of each larger radius is one of the steps, and values that only rounding
    moves do not count as changed.

    >>> str(apgd(8 / 255, objective="dlr"))
    "apgd(8/255, objective='dlr')"
    """
    threat, rule = bounded(threat, "apgd"), Apgd(named(objective, targeted), rho, source=source(eot))
    return Attack(goal(targeted), threat, ascent("apgd", threat, rule, larger_radii, slide), Stop(steps, early), Group(restarts))


@attack(_PAPER)
def apgd_targeted(
    threat: Threat | float,
    steps: int = 100,
    rivals: int = 9,
    restarts: int = 1,
    rho: float = 0.75,
    eot: int = 1,
    larger_radii: bool | None = None,
    slide: bool = False,
) -> Attack:
    """Auto-PGD on the targeted DLR, once toward each of the likeliest wrong classes; any wrong answer counts.

    J_t(x) = −(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2), t over the min(`rivals`, classes − 1) classes that the clean logits rank highest.

    Inputs `[n, ...]` in the model's range; with fewer than four classes the objective is z_t − z_y; the other parameters as in `apgd`.

    Raises ConfigError for a radius that is not positive and finite, no steps, no draws, or `larger_radii` or `slide` outside of L1.
    Source: Croce & Hein 2020, section 4 and eq. 7; L1: Croce & Hein 2021, section 3.
    Differs from the authors' code: as `apgd`.

    >>> apgd_targeted(8 / 255).group.rivals
    9
    """
    threat, rule = bounded(threat, "apgd_targeted"), Apgd(TargetedDlr(), rho, source=source(eot))
    moves = ascent("apgd_targeted", threat, rule, larger_radii, slide)
    return Attack(Untargeted(), threat, moves, Stop(steps), Group(restarts, rivals))
