"""Box-constrained L-BFGS: a quasi-Newton search for the smallest change, its weight found by bisection, each row on its own."""

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
from holdfast.core.types import Access, Probe, Rule, Threat
from holdfast.parts.goals import goal
from holdfast.parts.newton import Memory
from holdfast.parts.objectives import ClassObjective
from holdfast.parts.objectives import objective as named
from holdfast.parts.threats import L2
from holdfast.parts.weights import Weight


@dataclass(frozen=True)
class LbfgsState(Rows):
    """`r` the point this search has come to, with the `loss` and its gradient `slope` there, and what the row remembers of curvature;
    `move` of which a share `length` is tried next; `tick` asks of this search and whether it `fooled`; the weight `c`, of
    which too much succeeds in not fooling."""

    r: Tensor
    loss: Tensor
    slope: Tensor
    memory: Memory
    move: Tensor
    length: Tensor
    tick: Tensor
    fooled: Tensor
    c: Weight


@dataclass(frozen=True)
class Lbfgs(Rule):
    """min c ‖r‖² + loss(x + r), low ≤ x + r ≤ high, for ever better c;  r ← Π(r − α H ∇), α halved until the value falls enough.

    Where a value is at its bound and would leave it, ∇ and H are restricted to the others. A search ends when the value has stopped
    falling, and the next goes on from there. It has no gradient source: a line search and pairs of gradients compare asks, and of a
    model with noise of its own, however many draws are averaged, no two asks are of the same function.
    """

    objective: ClassObjective
    iterations: int = 30
    searches: int = 12
    initial: float = 1.0
    history: int = 5
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = LbfgsState

    def init(self, probe: Probe) -> LbfgsState:
        r, c, none = probe.threat.zero(probe.batch.x), Weight.fresh(probe.batch.radius, self.initial), torch.zeros_like(probe.step)
        loss = r.new_full((len(r),), torch.inf)
        memory = Memory.fresh(r, self.history)
        return LbfgsState(r, loss, r, memory, r, torch.ones_like(loss), none, none.bool(), c)

    def step(self, state: Rows, probe: Probe) -> LbfgsState:
        assert isinstance(state, LbfgsState)
        x, c = probe.batch.x, state.c.value.to(state.r.dtype)
        low, high = probe.bounds.pair(x)
        q = torch.clamp(state.r + per_row(state.length, x) * state.move, low - x, high - x)
        answer, gain, g = probe.grad(q, self.objective)
        loss, slope = -gain, -g
        old, new = state.loss + c * _square(state.r), loss + c * _square(q)
        promised = ((2 * per_row(c, x) * state.r + state.slope) * (q - state.r)).flatten(1).sum(dim=1)
        first = state.loss.isinf()
        taken = first | (new <= old + 1e-4 * promised)
        wide = per_row(taken, x)
        memory = state.memory.with_pair(q - state.r, slope - state.slope).where(taken & ~first, state.memory)
        # What counts is where the search has come to: it starts from the last one's end, which may fool anyway.
        tick, fooled = state.tick + 1, torch.where(taken, answer.wrong, state.fooled)
        flat = torch.where(taken, old - new <= 1e-3 * torch.maximum(old.abs(), new.abs()), state.length < 1e-3) & ~first
        moved = replace(
            state, r=torch.where(wide, q, state.r), loss=torch.where(taken, loss, state.loss), slope=torch.where(wide, slope, state.slope),
            memory=memory, length=torch.where(taken, 1.0, state.length / 2), tick=tick, fooled=fooled,
        )  # fmt: skip
        over = flat | (tick >= self.iterations)
        moved = self._bisected(moved).where(over, moved)
        return replace(moved, move=torch.where(per_row(taken | over, x), self._direction(moved, x, low, high), state.move))

    def _bisected(self, state: LbfgsState) -> LbfgsState:
        """Every row as it begins its next search: a larger weight if this one fooled, a smaller one if not."""
        none, c = torch.zeros_like(state.tick), state.c.after(~state.fooled, geometric=True)
        return replace(state, length=torch.ones_like(state.length), tick=none, fooled=none.bool(), c=c)

    def _direction(self, state: LbfgsState, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
        """Where to go from `r`: against the gradient of the free values, bent by the remembered curvature."""
        weight = 2 * state.c.value.to(x.dtype)
        gradient = per_row(weight, x) * state.r + state.slope
        held = ((state.r <= low - x) & (gradient > 0)) | ((state.r >= high - x) & (gradient < 0))
        free = torch.where(held, 0.0, gradient)
        return -state.memory.solve(free, ~held, weight)

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, LbfgsState)
        return state.c.count >= self.searches

    def fitted(self, classes: int) -> Lbfgs:
        return replace(self, objective=self.objective.fitted(classes))


def _square(r: Tensor) -> Tensor:
    return r.square().flatten(1).sum(dim=1)


@attack("Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow & Fergus 2013, arXiv:1312.6199", threats=("l2",), minimum_norm=True)
def lbfgs(
    threat: Threat = L2(math.inf),
    steps: int = 30,
    searches: int = 12,
    initial: float = 1.0,
    history: int = 5,
    objective: str | None = None,
    targeted: bool = False,
) -> Attack:
    """Box-constrained L-BFGS: the smallest change that fools, as the minimiser of a weighted sum of its length and the model's loss.

    min_r c ‖r‖² + loss(x + r, t)  with x + r in the valid range;  the largest c whose minimiser fools the model is found by bisection.

    Inputs `[n, ...]` in the model's range; each of `searches` weights, from `initial`, gets up to `steps` gradients (a trial point of the
    line search costs one); `history`: pairs of differences from which each row knows its curvature; `objective`: `ce`, `margin` or
    `probability`; when None the paper's cross-entropy toward the target, and untargeted the margin.

    Raises ConfigError for no steps, searches or history, a weight that is not positive, or an unknown objective.
    Source: Szegedy et al. 2013, the box-constrained problem and its penalty form.
    Differs from the paper: ‖r‖², which has a gradient at 0 (as all implementations have it); c by bisection in logarithms, each search
    from the end of the last; all trial points count; an untargeted form.

    >>> str(lbfgs(searches=8, targeted=True))
    'lbfgs(searches=8, targeted=True)'
    """
    if searches < 1 or history < 1 or not 0 < initial < math.inf:
        raise ConfigError(f"lbfgs(searches={searches}, history={history}, initial={initial}): all three must be positive")
    rule = Lbfgs(named(objective or ("ce" if targeted else "margin"), targeted), steps, searches, initial, history)
    return Attack(goal(targeted), threat, rule, Stop(steps * searches, early=False), keep="smallest")
