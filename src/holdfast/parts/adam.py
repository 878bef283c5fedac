"""Adam with one time per row, so that rows may begin anew while others go on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.core.rows import Rows, per_row

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Adam(Rows):
    """m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²;  the step down is α m̂ / (√v̂ + 1e-8)  (Kingma & Ba 2015, algorithm 1).

    `first`, `second` `[n, ...]` the moments, `time` `[n]` how many gradients each row has seen; β₁ = 0.9, β₂ = 0.999.

    >>> move, adam = Adam.fresh(torch.zeros(1, 2)).step(torch.tensor([[3.0, -5.0]]), 0.1)
    >>> [round(value, 4) for value in move[0].tolist()]
    [0.1, -0.1]
    """

    first: Tensor
    second: Tensor
    time: Tensor

    @classmethod
    def fresh(cls, like: Tensor) -> Self:
        """No gradient seen yet, for variables that look like `like` `[n, ...]`."""
        zero = torch.zeros_like(like)
        return cls(zero, zero, torch.zeros(len(like), dtype=torch.int64, device=like.device))

    def step(self, g: Tensor, rate: float | Tensor) -> tuple[Tensor, Self]:
        """What to subtract to descend along the gradient `g` at the `rate`, and the memory after it."""
        time = self.time + 1
        first = _BETA1 * self.first + (1 - _BETA1) * g
        second = _BETA2 * self.second + (1 - _BETA2) * g.square()
        # β^t from a logarithm: powers round by a row's place in the batch.
        passed = time.to(g.dtype)
        unbias1, unbias2 = per_row(1 - (passed * math.log(_BETA1)).exp(), g), per_row(1 - (passed * math.log(_BETA2)).exp(), g)
        move = rate * (first / unbias1) / ((second / unbias2).sqrt() + _EPSILON)
        return move, type(self)(first, second, time)
