"""Step sizes over time, as a share of the row's radius."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from holdfast.core.errors import ConfigError


class Schedule(ABC):
    @abstractmethod
    def __call__(self, step: Tensor, steps: int) -> Tensor | float:
        """The share of the radius to move at the row's `step` `[n]` of `steps`: one number, or one per row."""


@dataclass(frozen=True)
class _Scaled(Schedule):
    share: float

    def __post_init__(self) -> None:
        if not (self.share > 0 and math.isfinite(self.share)):
            raise ConfigError(f"a step of {self.share} times the radius: expected a positive, finite step and radius")


@dataclass(frozen=True)
class Constant(_Scaled):
    """Always the same `share`."""

    def __call__(self, step: Tensor, steps: int) -> float:
        return self.share


@dataclass(frozen=True)
class Cosine(_Scaled):
    """From `share` down to 0 along half a cosine."""

    def __call__(self, step: Tensor, steps: int) -> Tensor:
        return self.share * 0.5 * (1 + (step * (math.pi / steps)).cos())
