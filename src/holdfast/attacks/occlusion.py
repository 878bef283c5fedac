"""Occlusion: where must a patch lie, and what must it show, that the model no longer knows what it sees?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.attacks.short import attack
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.types import Probe, Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Margin
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.search import Proposal, RandomSearch
from holdfast.parts.sources import source
from holdfast.parts.starts import Uniform
from holdfast.parts.threats import Occlusion

Fill = Literal["grey", "black", "white", "mean", "noise"]
FILLS: tuple[Fill, ...] = ("grey", "black", "white", "mean", "noise")


@dataclass(frozen=True)
class Places(Proposal):
    """Every place of a grid, `stride` pixels apart and at the far edges, in order; then places drawn at random."""

    stride: int
    fill: Fill
    requires: ClassVar[tuple[type, ...]] = (Occlusion,)

    def first(self, probe: Probe) -> Tensor:
        return self._patch(probe)

    def next(self, best: Tensor, probe: Probe) -> Tensor:
        return self._patch(probe)

    def _patch(self, probe: Probe) -> Tensor:
        x, threat, radius = probe.batch.x, probe.threat, probe.batch.radius
        assert isinstance(threat, Occlusion)
        # The last corners from which the square still lies in the image, and how many steps of the grid lead there.
        down, across = ((length - radius.long()).clamp_min(0) for length in x.shape[2:])
        wide = (across + self.stride - 1) // self.stride + 1
        tall = (down + self.stride - 1) // self.stride + 1
        row, column = threat.places(x, probe.draw, radius)
        on_grid = probe.step < tall * wide
        row = torch.where(on_grid, torch.minimum(probe.step // wide * self.stride, down), row)
        column = torch.where(on_grid, torch.minimum(probe.step % wide * self.stride, across), column)
        return threat.covering(x, self._content(x, threat, probe), row, column, radius)

    def _content(self, x: Tensor, threat: Occlusion, probe: Probe) -> Tensor:
        if self.fill == "noise":
            return threat.noise(x, probe.draw)
        if self.fill == "mean":
            return x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        low, high = threat.bounds.pair(x)
        share = {"black": 0.0, "grey": 0.5, "white": 1.0}[self.fill]
        return threat.bounds.clamp(torch.zeros_like(x) + low + (high - low) * share)


@attack(
    "Fawzi & Frossard 2016, BMVC; Wang et al. 2018, arXiv:1711.04451; content: Brown et al. 2017, arXiv:1712.09665", threats=("occlusion",)
)
def occlusion(
    threat: Threat | float = Occlusion(8),
    steps: int = 100,
    stride: int = 4,
    fill: str = "grey",
    step: float = 0.05,
    restarts: int = 1,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Cover a square of the image, at every place of a grid and then at random ones, until the model is wrong.

    max_{i, j} margin( x with the square at (i, j) painted over );  fill `adversarial`: the content c climbs
    c ← Π( c + α sign ∇_c margin ) from noise, at one random place for each of `restarts`.

    Inputs: images `[n, c, h, w]` of `[n, ...]` in the model's range; `threat`: its radius is the square's side in pixels, a bare number as
    well; `steps`: forwards an input (with gradients for `adversarial`); `stride`: pixels between the places of the grid; `fill`: `grey`
    (the middle of the range), `black`, `white`, `mean` (of the image, by channel), `noise` (drawn anew at each place), all by scores alone,
    or `adversarial` (by gradients, α = `step` of the range's width); `eot`: draws of a stochastic model that each of its answers is the
    mean of.

    Raises ConfigError for no steps, no draws, a stride below 1, another fill, or a step that is not positive and finite.
    Source: Fawzi & Frossard 2016, "Measuring the effect of nuisance variables on classifiers" (a square that hides a part); Wang et al.
    2018, "Visual concepts and compositional voting" (objects that hide a part).
    Differs from the paper: a grid and independent draws instead of a Markov chain over places; content that is searched for.

    >>> str(occlusion(steps=49, fill="mean"))
    "occlusion(steps=49, fill='mean')"
    """
    if fill not in (*FILLS, "adversarial") or stride < 1:
        raise ConfigError(f"occlusion(fill={fill!r}, stride={stride}): expected {', '.join(FILLS)} or adversarial, and at least 1 pixel")
    threat = threat if isinstance(threat, Threat) else Occlusion(float(threat))
    margin = Margin(targeted, strict=True)
    if fill == "adversarial":
        # A share of the radius, as every step is; here the radius is a count of pixels.
        rule = Ascend(margin, Constant(step / threat.radius), Uniform(), source=source(eot))
        return Attack(goal(targeted), threat, rule, Stop(steps), Group(restarts))
    search = RandomSearch(margin, Places(stride, next(name for name in FILLS if name == fill))).sourced(source(eot))
    return Attack(goal(targeted), threat, search, Stop(steps), Group(restarts))
