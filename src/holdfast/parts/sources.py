"""Gradient sources: where a rule gets the direction of its objective from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from holdfast.core.types import Access, Answer, Objective, PerRow, Probe


class Source(ABC):
    """Tells the objective and its gradient at a point, by whatever means."""

    needs: ClassVar[Access]

    @abstractmethod
    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]: ...


@dataclass(frozen=True)
class White(Source):
    """The model's own gradient."""

    needs: ClassVar[Access] = Access.GRADIENT

    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]:
        return probe.grad(p, f)
