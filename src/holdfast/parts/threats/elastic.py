"""The elastic net as a measure of change: a little of L1, and L2 squared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.types import PerRow, Points
from holdfast.parts.threats.additive import L1


@dataclass(frozen=True)
class ElasticNet(L1):
    """β Σ |p_i| + Σ p_i² ≤ radius.

    >>> ElasticNet(beta=0.5).size(torch.zeros(1, 2), torch.tensor([[1.0, -2.0]])).tolist()
    [6.5]
    """

    beta: float = 1e-2

    def size(self, x: Points, p: Tensor) -> PerRow:
        return (p.abs() * (p.abs() + self.beta)).flatten(1).sum(dim=1)

    def into_ball(self, x: Points, p: Tensor, r: Tensor) -> Tensor:
        """The nearest: clip( soft(p, λβ) / (1 + 2λ) ), λ ≥ 0 halved in on until it fits to the last bits."""
        low, high = torch.zeros_like(r), torch.ones_like(r)
        # Doubling from 1 finds a λ that fits, whatever the scale.
        for _ in range(60):
            high = torch.where(self._more(x, p, high, r), 2 * high, high)
        for _ in range(60):
            middle = (low + high) / 2
            more = self._more(x, p, middle, r)
            low, high = torch.where(more, middle, low), torch.where(more, high, middle)
        return self._shrunk(x, p, torch.where(self._more(x, p, torch.zeros_like(r), r), high, 0.0))

    def _more(self, x: Tensor, p: Tensor, weight: Tensor, r: Tensor) -> Tensor:
        """Whether the point of this λ is still too large: `[n, 1, ...]`."""
        return (self.size(x, self._shrunk(x, p, weight)) > r.flatten()).reshape(r.shape)

    def _shrunk(self, x: Tensor, p: Tensor, weight: Tensor) -> Tensor:
        return self.into_box(x, p.sign() * (p.abs() - weight * self.beta).clamp_min(0) / (1 + 2 * weight))
