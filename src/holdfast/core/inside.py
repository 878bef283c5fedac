"""Noise that a net draws inside itself: keyed by row while a keyed model is asked, from torch's own generator otherwise.

A layer is told neither of rows nor of asks. `drawing` says for its whole body whose noise is drawn; layers take theirs from `normal`
and `uniform`. A generator is made for each row of the ask, seeded by the row's key and step, and the layers draw from it in the order
in which the net asks them: so a row's noise is a pure function of its key, its step and the net, whatever company it keeps. (Philox as
in `Draw` would do as well, at thirty times the price of what is drawn: a layer of noise would cost more than the convolution after it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ModelError


@dataclass(frozen=True)
class _Ask:
    """Whose noise is drawn; a generator for each row, made when the first layer draws."""

    draw: Draw
    generators: list[torch.Generator] = field(default_factory=list)

    def rows(self, x: Tensor) -> list[torch.Generator]:
        if len(x) != len(self.draw.key):
            raise ModelError(f"a layer draws noise for {len(x)} rows of an ask of {len(self.draw.key)}: keep one row for each input")
        if not self.generators:
            halves = self.draw.bits("inside", 2)
            seeds = halves[:, 0] | ((halves[:, 1] >> 1) << 32)
            self.generators.extend(torch.Generator(x.device).manual_seed(seed) for seed in seeds.tolist())
        return self.generators


_ASK: ContextVar[_Ask | None] = ContextVar("ask", default=None)


@contextmanager
def drawing(draw: Draw) -> Iterator[None]:
    """Inside, layers draw the noise of `draw`'s rows; two asks with the same draw draw the same."""
    before = _ASK.set(_Ask(draw))
    try:
        yield
    finally:
        _ASK.reset(before)


def normal(x: Tensor) -> Tensor:
    """Standard normal noise shaped and typed as `x` `[n, ...]`.

    Raises ModelError where `x` has not one row for each row of the ask.

    >>> with drawing(Draw(torch.tensor([7, 8]), torch.tensor([0, 0]))):
    ...     both = normal(torch.zeros(2, 3))
    >>> with drawing(Draw(torch.tensor([8]), torch.tensor([0]))):
    ...     torch.equal(normal(torch.zeros(1, 3))[0], both[1])
    True
    """
    ask = _ASK.get()
    if ask is None:
        return torch.randn_like(x)
    noise = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    for row, generator in zip(noise, ask.rows(x), strict=True):
        row.normal_(generator=generator)
    return noise


def uniform(x: Tensor, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each row of `x`, in double precision: `[n, count]`.

    Raises ModelError where `x` has not one row for each row of the ask.
    """
    ask = _ASK.get()
    noise = torch.empty(len(x), count, dtype=torch.float64, device=x.device)
    if ask is None:
        return noise.uniform_()
    for row, generator in zip(noise, ask.rows(x), strict=True):
        row.uniform_(generator=generator)
    return noise
