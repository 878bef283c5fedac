"""Keyed noise: a pure function of (row key, row step, name), with no generator that advances.

The bits come from Philox-4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
written on 64-bit integer tensors so that each row of a batch has a stream of its own on any device.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four words of 32 random bits for each counter: Philox-4x32-10; words are int64 tensors that broadcast."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        # A signed 64-bit product wraps, which leaves its 64 bits right; the mask after the shift drops the sign's copies.
        left, right = a * _MULTIPLY[0], c * _MULTIPLY[1]
        a, b, c, d = (
            ((right >> 32) & _MASK) ^ b ^ k0,
            right & _MASK,
            ((left >> 32) & _MASK) ^ d ^ k1,
            left & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return a, b, c, d


def row_key(seed: int, sample: Tensor, member: Tensor) -> Tensor:
    """The 64-bit key of one row `[n]`: all its noise follows from the run's seed, its sample's id and its place in the group."""
    word = torch.full_like(sample, seed)
    counter = (sample & _MASK, (sample >> 32) & _MASK, member & _MASK, torch.zeros_like(member))
    low, high, *_ = philox(counter, (word & _MASK, (word >> 32) & _MASK))
    return low | (high << 32)


@cache
def _code(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


@dataclass(frozen=True)
class Draw:
    """Noise for a batch of rows, each with its own `key` `[n]` and its own count of steps `step` `[n]`.

    The same (key, step, name, shape) always gives the same numbers, whatever company the row keeps.

    >>> draw = Draw(torch.tensor([7, 8]), torch.tensor([0, 0]))
    >>> torch.equal(draw.uniform("start", (3,))[1], Draw(torch.tensor([8]), torch.tensor([0])).uniform("start", (3,))[0])
    True
    """

    key: Tensor
    step: Tensor

    def apart(self, place: int) -> Draw:
        """Noise of its own, as pure, for the part of that number: two parts may use the same names."""
        return Draw(row_key(place, self.key, torch.zeros_like(self.key)), self.step)

    def bits(self, name: str, count: int) -> Tensor:
        """`count` words of 32 random bits for each row: int64 `[n, count]`."""
        block = torch.arange((count + 3) // 4, device=self.key.device)
        key = self.key.unsqueeze(1)
        step = self.step.unsqueeze(1)
        counter = (block & _MASK, step & _MASK, torch.full_like(step, _code(name)), (step >> 32) & _MASK)
        words = philox(counter, (key & _MASK, (key >> 32) & _MASK))
        return torch.stack(words, dim=2).flatten(1)[:, :count]

    def uniform(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform on (0, 1), both ends excluded: `[n, *shape]`."""
        bits = self.bits(name, math.prod(shape)).reshape(-1, *shape)
        # Halves of 2^-23 are exact in float32; a shorter type rounds them, but not up to 1.
        fine = ((bits >> 9).to(dtype if dtype == torch.float64 else torch.float32) + 0.5) * 2.0**-23
        return fine.to(dtype).clamp(max=1 - torch.finfo(dtype).eps / 2)

    def normal(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal (Box–Muller, in double precision): `[n, *shape]`."""
        count = math.prod(shape)
        pair = self.uniform(name, (2, count), torch.float64)
        radius = (-2 * pair[:, 0].log()).sqrt()
        return (radius * (2 * math.pi * pair[:, 1]).cos()).to(dtype).reshape(-1, *shape)

    def integer(self, name: str, shape: tuple[int, ...], high: int | Tensor) -> Tensor:
        """Whole numbers in [0, high), `high` ≤ 2^31, one for all or one per row `[n]`: int64 `[n, *shape]`."""
        bits = self.bits(name, math.prod(shape)).reshape(-1, *shape)
        return (bits * (high if isinstance(high, int) else high.reshape(-1, *[1] * len(shape)))) >> 32

    def sign(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Minus or plus one with equal chance: `[n, *shape]`."""
        return ((self.bits(name, math.prod(shape)).reshape(-1, *shape) & 1) * 2 - 1).to(dtype)
