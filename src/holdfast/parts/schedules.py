"""Step sizes over time, as a share of the row's radius."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
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
        return self.share * _fall(steps, step.device)[step]


@cache
def _fall(steps: int, device: torch.device) -> Tensor:
    """½(1 + cos(πt/T)) for t = 0 … T, in double precision: a table, so that every device takes the same steps."""
    return torch.tensor([0.5 * (1 + math.cos(math.pi * t / steps)) for t in range(steps + 1)], dtype=torch.float64, device=device)
