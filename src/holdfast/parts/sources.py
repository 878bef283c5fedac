"""Gradient sources: where a rule gets the direction of its objective from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.types import Access, Answer, Objective, PerRow, Probe


class Source(ABC):
    """Tells the objective and its gradient at a point, by whatever means."""

    needs: ClassVar[Access]

    @abstractmethod
    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]: ...

    def asks(self) -> int:
        """How often the model is asked about one point."""
        return 1


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


def source(eot: int) -> Source:
    """The source that averages over `eot` draws: the plain gradient where that is one."""
    return White() if eot == 1 else Eot(eot)
