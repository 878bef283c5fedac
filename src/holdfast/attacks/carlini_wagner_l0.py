"""Carlini–Wagner L0: the L2 attack again and again, each time without the places that mattered least."""

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
from holdfast.parts.extent import span
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Margin
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L0

# Inputs at an end of the range are let in by a 2000th of it: from nearer, hundreds of steps would lead nowhere. A change of less than
# this share of the range is none (the authors' code counts alike, with 1e-4).
_EDGE, _NOTHING = 0.999, 1e-3


@dataclass(frozen=True)
class CarliniWagnerL0State(Rows):
    """`w` the unbounded variable with its `adam`, `tick` steps at the weight `c`; the places in the order in which they are given up
    (`rank` `[n, places]`, the `cut` first are); the last success: how many places it left alone, its `w` and its `c`, are in `sure`,
    `good` and `least`; `over`: no smaller set is left to try."""

    w: Tensor
    adam: Adam
    tick: Tensor
    c: Tensor
    rank: Tensor
    cut: Tensor
    sure: Tensor
    good: Tensor
    least: Tensor
    over: Tensor


@dataclass(frozen=True)
class CarliniWagnerL0(Sourced):
    """min ‖δ‖² + c · max(κ − margin(x + δ), 0), δ = 0 but in the allowed set; fooled: the places with the smallest g_i δ_i leave the set.

    g = ∇margin. Not fooled: c grows by `factor`, and beyond `largest` half of the places that left last come back; where only one had,
    the row ends.
    """

    confidence: float = 0.0
    targeted: bool = False
    iterations: int = 50
    rate: float = 0.1
    drop: float = 0.2
    initial: float = 0.1
    largest: float = 1e3
    factor: float = 10.0
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = CarliniWagnerL0State

    def init(self, probe: Probe) -> CarliniWagnerL0State:
        w = TanhBox.of(probe.bounds, "carlini_wagner_l0", _EDGE).inverse(probe.batch.x)
        none, c = torch.zeros_like(probe.step), torch.full_like(probe.batch.radius, self.initial)
        rank = torch.zeros_like(self._places(w, probe).flatten(1), dtype=torch.int64)
        return CarliniWagnerL0State(w, Adam.fresh(w), none, c, rank, none, none - 1, w, c, none.bool())

    def step(self, state: Rows, probe: Probe) -> CarliniWagnerL0State:
        assert isinstance(state, CarliniWagnerL0State)
        x = probe.batch.x
        p, slant = TanhBox(probe.bounds).change(state.w, x)
        low, high = probe.bounds.pair(x)
        allowed = (state.rank >= state.cut.unsqueeze(1)).reshape(self._places(p, probe).shape)
        p = torch.where(allowed & (p.abs() > _NOTHING * (high - low)), p, 0.0)
        answer, value, g = self.source(probe, p, Margin(self.targeted, strict=True))

        pull = torch.where(value < self.confidence, state.c.to(g.dtype) * span(probe.bounds) * span(probe.bounds), 0.0)
        move, adam = state.adam.step(torch.where(allowed, (2 * p - per_row(pull, g) * g) * slant, 0.0), self.rate)
        tick = state.tick + 1
        spent = tick >= self.iterations
        c = torch.where(spent, state.c * self.factor, state.c)
        on = replace(state, w=state.w - move, adam=adam, tick=torch.where(spent, 0, tick), c=c)
        on = self._fewer(state).where(c >= self.largest, on)
        return self._without_the_least(state, p, g, probe).where(answer.wrong, on)

    def _without_the_least(self, state: CarliniWagnerL0State, p: Tensor, g: Tensor, probe: Probe) -> CarliniWagnerL0State:
        """Every row as it begins after a success at `p`: without the places that did not change, and a share of those that did."""
        changed = self._places(p.abs(), probe).flatten(1) > 0
        gain = torch.where(changed, self._places(g * p, probe).flatten(1), -torch.inf)
        rank = gain.argsort(dim=1, stable=True).argsort(dim=1)
        sure = (~changed).sum(dim=1)
        count = changed.sum(dim=1)
        cut = sure + (self.drop * count).long().clamp_min(1)
        none = torch.zeros_like(state.tick)
        return CarliniWagnerL0State(
            state.w, Adam.fresh(state.w), none, state.c, rank, cut, sure, state.w, state.c, state.over | (count <= 1)
        )

    def _fewer(self, state: CarliniWagnerL0State) -> CarliniWagnerL0State:
        """Every row as it begins after a failure: with half of the places back that left last."""
        less = torch.where(state.sure < 0, 0, (state.cut - state.sure) // 2)
        over = state.over | (less < 1)
        return replace(
            state,
            w=state.good,
            adam=Adam.fresh(state.good),
            tick=torch.zeros_like(state.tick),
            c=state.least,
            cut=state.sure + less,
            over=over,
        )

    def _places(self, t: Tensor, probe: Probe) -> Tensor:
        """One value for each place that L0 counts: the sum over the channels of a pixel where it counts pixels."""
        assert isinstance(probe.threat, L0)
        return t.sum(dim=1, keepdim=True) if probe.threat.pixels and t.ndim > 2 else t

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, CarliniWagnerL0State)
        return state.over


@attack("Carlini & Wagner 2017, arXiv:1608.04644", threats=("l0",), minimum_norm=True)
def carlini_wagner_l0(
    threat: Threat = L0(math.inf),
    steps: int = 50,
    rounds: int = 200,
    rate: float = 0.1,
    drop: float = 0.2,
    confidence: float = 0.0,
    initial: float = 0.1,
    largest: float = 1e3,
    factor: float = 10.0,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Carlini–Wagner L0: fools by the L2 attack, gives up the places that did least, and so on until the rest no longer suffices.

    min_w ‖δ‖₂² + c · max( max_{j≠t} z_j − z_t + κ, 0 ) with δ = 0 outside the allowed set;  the places with the smallest g_i δ_i leave it.

    Inputs `[n, ...]` in the model's (finite) range; `threat` L0, or L0(..., pixels=True), where the channels of a pixel are one place; κ =
    `confidence` in logits; each set is tried with up to `steps` Adam steps at learning `rate` at each weight c, from `initial` by `factor`
    below `largest`, and the search ends at the first that fools; `drop`: the share of the changed places that leave at once (one at least);
    at most `rounds` times `steps` gradients; `eot`: draws of a stochastic model that each gradient is the mean of. The authors have 1000
    steps, rate 0.01, weights from 1e-3 by 2 to 2e6.

    Raises ConfigError for no steps, rounds or draws, a rate, weight or confidence out of range, a drop outside (0, 1), or a factor of at
    most 1.
    Source: Carlini & Wagner 2017, the L0 attack, and the authors' code.
    Differs from the paper, where one place leaves at a time (in the authors' code up to 0.3 times the root of their number): a share
    does, together with all that did not change by a thousandth of the range, and where that was too many half of them come back;
    inputs at the end of the range start a 2000th inside; per row.

    >>> carlini_wagner_l0(L0(20, pixels=True)).threat.pixels
    True
    """
    if not 0 < drop < 1 or not factor > 1 or not rate > 0 or not 0 < initial < largest or confidence < 0 or rounds < 1:
        raise ConfigError(
            f"carlini_wagner_l0(rounds={rounds}, rate={rate}, drop={drop}, confidence={confidence}, initial={initial}, "
            f"largest={largest}, factor={factor}): "
            f"expected rounds and a rate above 0, a drop in (0, 1), confidence ≥ 0, 0 < initial < largest, a factor above 1"
        )
    rule = CarliniWagnerL0(confidence, targeted, steps, rate, drop, initial, largest, factor, source(eot))
    return Attack(goal(targeted, confidence), threat, rule, Stop(rounds * steps, early=False), keep="smallest")
