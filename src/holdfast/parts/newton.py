"""The limited memory of BFGS with a history of its own for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.core.rows import Rows


@dataclass(frozen=True)
class Memory(Rows):
    """The last m steps s and the changes y of a loss's gradient along them, newest last: both `[n, m, d]`; 0 where there are none yet.

    The function that is minimised is the loss + w/2 ‖r‖², so that its own changes of gradient are y + w s: the memory outlives a new w.

    >>> memory = Memory.fresh(torch.zeros(1, 2), 3).with_pair(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]))
    >>> memory.solve(torch.tensor([[8.0, 8.0]]), torch.tensor([[True, True]]), torch.tensor([1.0])).tolist()
    [[2.0, 2.0]]
    """

    s: Tensor
    y: Tensor

    @classmethod
    def fresh(cls, like: Tensor, pairs: int) -> Self:
        """Nothing known yet of rows that look like `like` `[n, ...]`."""
        zero = like.new_zeros(len(like), pairs, like[0].numel())
        return cls(zero, zero)

    def with_pair(self, s: Tensor, y: Tensor) -> Self:
        """With one more step `s` and change `y` `[n, ...]`, and without the oldest."""
        pushed = (torch.cat([old[:, 1:], new.flatten(1).unsqueeze(1)], dim=1) for old, new in ((self.s, s), (self.y, y)))
        return type(self)(*pushed)

    def solve(self, g: Tensor, free: Tensor, weight: Tensor) -> Tensor:
        """H g among the `free` values, H the approximate inverse Hessian (Nocedal & Wright 2006, algorithm 7.4); 1/w at first.

        `g` `[n, ...]` is 0 where not free; a pair along which the gradient did not grow is passed over.
        """
        mask = free.flatten(1).unsqueeze(1)
        s = self.s * mask
        y = (self.y + weight.reshape(-1, 1, 1) * self.s) * mask
        along, steep = (s * y).sum(dim=2), y.square().sum(dim=2)
        good = along > 1e-8 * steep
        inverse = torch.where(good, 1 / torch.where(good, along, 1.0), 0.0)
        z, shares = g.flatten(1), []
        scale = 1 / weight
        for i in range(s.shape[1]):
            scale = torch.where(good[:, i], along[:, i] / torch.where(good[:, i], steep[:, i], 1.0), scale)
        for i in reversed(range(s.shape[1])):
            share = inverse[:, i] * (s[:, i] * z).sum(dim=1)
            shares.append(share)
            z = z - share.unsqueeze(1) * y[:, i]
        z = scale.unsqueeze(1) * z
        for i in range(s.shape[1]):
            share = shares[-1 - i] - inverse[:, i] * (y[:, i] * z).sum(dim=1)
            z = z + share.unsqueeze(1) * s[:, i]
        return torch.where(free, z.reshape(g.shape), 0.0)
