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
        p = self.into_box(x, p)
        fits = self.size(x, p) <= r.flatten()
        low, high = torch.zeros_like(r), torch.full_like(r, 1.0)
        # A λ of max|p| / β leaves nothing; doubling from 1 gets near it from any scale.
        for _ in range(60):
            high = torch.where((self.size(x, self._shrunk(p, high)) > r.flatten()).reshape(r.shape), 2 * high, high)
        for _ in range(60):
            middle = (low + high) / 2
            much = (self.size(x, self._shrunk(p, middle)) > r.flatten()).reshape(r.shape)
            low, high = torch.where(much, middle, low), torch.where(much, high, middle)
        return torch.where(fits.reshape(r.shape), p, self._shrunk(p, high))

    def _shrunk(self, p: Tensor, weight: Tensor) -> Tensor:
        return p.sign() * (p.abs() - weight * self.beta).clamp_min(0) / (1 + 2 * weight)
