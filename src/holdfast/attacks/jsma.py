"""JSMA: features changed one or two at a time, those that a saliency map of the Jacobian puts first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.attacks.short import attack
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows
from holdfast.core.types import Access, Probe, Source, Threat
from holdfast.parts.goals import goal
from holdfast.parts.pairs import best_pair
from holdfast.parts.sources import Sourced, White, source
from holdfast.parts.threats import L0

Direction = Literal["increase", "decrease", "both"]


@dataclass(frozen=True)
class JsmaState(Rows):
    """`p` is asked next; `over`: nothing is left that may be changed, or that the map would change."""

    p: Tensor
    over: Tensor


@dataclass(frozen=True)
class Jsma(Sourced):
    """S(i) = α_i β_i where α = ∂z_t/∂x_i and β = −Σ_{j≠t} ∂z_j/∂x_i are both positive, else 0; the largest moves by θ.

    A pair has the sums of its features for α and β. Untargeted t is the label and both signs are turned. Lowering a feature turns both
    too. A feature with less than a hundredth of θ to go has left the domain, and one that was moved goes on in its direction only.
    """

    theta: float = 1.0
    gamma: float = 0.1
    pairs: bool = True
    direction: Direction = "increase"
    targeted: bool = False
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = JsmaState

    def init(self, probe: Probe) -> JsmaState:
        return JsmaState(probe.threat.zero(probe.batch.x), torch.zeros_like(probe.step, dtype=torch.bool))

    def step(self, state: Rows, probe: Probe) -> JsmaState:
        assert isinstance(state, JsmaState)
        x, p, sign = probe.batch.x, state.p, 1 if self.targeted else -1
        # Two gradients, however many classes: of one logit, and of all together.
        aimed = probe.batch.target if self.targeted else probe.batch.y
        _, slopes = probe.jacobian(p, torch.stack([aimed, torch.full_like(aimed, -1)], dim=1), draws=self.source.asks())
        one, every = slopes[:, 0], slopes[:, 1]
        alpha, beta = (sign * one).flatten(1), (sign * (one - every)).flatten(1)
        low, high = probe.bounds.pair(x)
        ways = [(1, high - x - p, p >= 0), (-1, p + x - low, p <= 0)]
        ways = {"increase": ways[:1], "decrease": ways[1:], "both": ways}[self.direction]
        free = torch.cat([((room > self.theta / 100) & own).flatten(1) for _, room, own in ways], dim=1)
        u, v = (torch.where(free, torch.cat([way * t for way, _, _ in ways], dim=1), -torch.inf) for t in (alpha, beta))
        move = torch.zeros_like(u)
        if self.pairs and u.shape[1] > 1:
            first, other, score = best_pair(u, v)
            move = move.scatter(1, torch.stack([first, other], dim=1), self.theta)
        else:
            score, index = torch.where((u > 0) & (v > 0), u * v, 0.0).max(dim=1)
            move = move.scatter(1, index.unsqueeze(1), self.theta)
        parts = [way * part for (way, _, _), part in zip(ways, move.chunk(len(ways), dim=1), strict=True)]
        q = torch.clamp(p + sum(parts[1:], parts[0]).reshape(p.shape), low - x, high - x)
        limit = torch.minimum(probe.batch.radius, self.gamma * probe.threat.size(x, torch.ones_like(x)).to(probe.batch.radius.dtype) + 1e-6)
        over = state.over | (score <= 0) | (probe.threat.size(x, q) > limit)
        return JsmaState(torch.where(over.reshape(-1, *[1] * (p.ndim - 1)), p, q), over)

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, JsmaState)
        return state.p

    def finished(self, state: Rows) -> Tensor:
        assert isinstance(state, JsmaState)
        return state.over


@attack("Papernot, McDaniel, Jha, Fredrikson, Celik & Swami 2016, arXiv:1511.07528", threats=("l0",), minimum_norm=True)
def jsma(
    threat: Threat = L0(math.inf),
    theta: float = 1.0,
    gamma: float = 0.1,
    pairs: bool = True,
    direction: Direction = "increase",
    targeted: bool = False,
    steps: int = 10000,
    eot: int = 1,
) -> Attack:
    """JSMA: greedily changes the one or two features whose rise lifts the target's logit and lowers the others' most.

    S(x, t)[i] = 0 if ∂z_t/∂x_i < 0 or Σ_{j≠t} ∂z_j/∂x_i > 0, else (∂z_t/∂x_i) |Σ_{j≠t} ∂z_j/∂x_i|;  a pair: α = Σ_{i∈{p,q}} ∂z_t/∂x_i,
    β = Σ_{i∈{p,q}} Σ_{j≠t} ∂z_j/∂x_i, the pair with α > 0, β < 0 and the largest −αβ.

    Inputs `[n, ...]` in the model's range; `theta` > 0 in its units: how far a chosen feature moves at once; `gamma` in (0, 1]: the largest
    share of the features that may change (the threat's radius binds too); `pairs`: two features at a time, the exact best pair;
    `direction`: `increase`, `decrease`, or `both`; at most `steps` choices of two gradients each; `eot`: draws of a stochastic model that
    each gradient is the mean of.

    Raises ConfigError for a theta that is not positive, a gamma outside (0, 1], an unknown direction, no steps or no draws.
    Source: Papernot et al. 2016, saliency maps of increase and decrease, pairs by algorithm 3; untargeted: Wiyatno & Xu 2018,
    arXiv:1808.07945.
    Differs from the paper: F are the logits (of the softmax the others' sum is −F_t, and the map no more than a square); where no feature
    or pair meets both conditions the search ends; `both` and the untargeted form, which lowers the label's logit and raises the others'.

    >>> str(jsma(theta=0.5, targeted=True))
    'jsma(theta=0.5, targeted=True)'
    """
    if not 0 < theta < math.inf or not 0 < gamma <= 1:
        raise ConfigError(f"jsma(theta={theta}, gamma={gamma}): expected a positive step, and a share of the features in (0, 1]")
    if direction not in ("increase", "decrease", "both"):
        raise ConfigError(f"jsma(direction={direction!r}): expected 'increase', 'decrease' or 'both'")
    return Attack(goal(targeted), threat, Jsma(theta, gamma, pairs, direction, targeted, source(eot)), Stop(steps))
