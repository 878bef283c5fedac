"""Gradient transforms: what happens to a gradient before the step; each may remember one tensor a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Probe


class Transform(ABC):
    """`memory` begins it for fresh rows at `p`; the call takes the gradient and the memory and gives both anew."""

    @abstractmethod
    def memory(self, p: Tensor) -> Tensor: ...

    @abstractmethod
    def __call__(self, g: Tensor, memory: Tensor, probe: Probe) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Momentum(Transform):
    """m ← μ m + g / ‖g‖₁; the step follows m (Dong et al. 2018, eq. 6)."""

    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < math.inf:
            raise ConfigError(f"Momentum(decay={self.decay}): the share of the last step that is kept is 0 or more, commonly 0.5 to 1")

    def memory(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p)

    def __call__(self, g: Tensor, memory: Tensor, probe: Probe) -> tuple[Tensor, Tensor]:
        length = g.abs().flatten(1).sum(dim=1).clamp_min(torch.finfo(g.dtype).tiny)
        memory = self.decay * memory + g / per_row(length, g)
        return memory, memory
