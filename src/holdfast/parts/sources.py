"""Gradient sources: where a rule gets the direction of its objective from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Access, Answer, Objective, PerRow, Probe, Rule, Source


@dataclass(frozen=True)
class White(Source):
    """The model's own gradient."""

    needs: ClassVar[Access] = Access.GRADIENT

    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]:
        return probe.grad(p, f)


@dataclass(frozen=True)
class Eot(Source):
    """Expectation over transformation: the means of objective and gradient over `draws` asks of a model with noise of its own.

    J(x) = (1/k) Σ J(x; θ_i),  θ_i drawn afresh;  each draw is a forward and a backward.

    Raises ConfigError for no draws.
    Source: Athalye, Engstrom, Ilyas & Kwok 2018, "Synthesizing robust adversarial examples", eq. 3.

    >>> Eot(20).asks()
    20
    """

    draws: int
    needs: ClassVar[Access] = Access.GRADIENT

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError(f"eot={self.draws}: at least one draw is needed")

    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]:
        return probe.grad(p, f, draws=self.draws)

    def asks(self) -> int:
        return self.draws


@dataclass(frozen=True)
class Smoothed(Source):
    """The gradient of a smoothed copy: the mean over `draws` random points around p, as far away as `share` of the radius.

    ∇J_σ(x) ≈ (1/k) Σ ∇J(x + d_i),  d_i uniform in the ball of `share` · ε;  a step costs k gradients, and a forward at p itself. Where the
    radius has no end, p's own size stands for it.

    Source: Athalye, Carlini & Wagner 2018, section 4; against sparse activations Tramèr, Carlini, Brendel & Madry 2020, section 5.
    """

    draws: int = 4
    share: float = 0.25
    needs: ClassVar[Access] = Access.GRADIENT

    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]:
        answer, batch = probe.score(p), probe.batch
        value, slope = torch.zeros_like(answer.margin), torch.zeros_like(p)
        reach = torch.where(batch.radius.isfinite(), batch.radius, answer.size)
        for number in range(self.draws):
            # Far from the row's own steps, so that no noise is drawn twice.
            draw = Draw(batch.key, probe.step * self.draws + number + (1 << 40))
            near = p + probe.threat.random(batch.x, draw, reach * self.share)
            _, more, g = probe.grad(near, f)
            value, slope = value + more / self.draws, slope + g / self.draws
        return answer, value, slope

    def asks(self) -> int:
        return self.draws + 1


class Sourced(Rule):
    """A rule whose gradients come from a `source`, one ask of it a step; abstract."""

    source: Source

    def price(self) -> int:
        return self.source.asks()

    def sourced(self, source: Source) -> Self:
        return replace(self, source=source)  # type: ignore[type-var]


def source(eot: int) -> Source:
    """The source that averages over `eot` draws: the plain gradient where that is one."""
    return White() if eot == 1 else Eot(eot)
