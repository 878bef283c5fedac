"""The unbounded variable of Carlini and Wagner: every value of it is a valid input, so that no step has to be clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds


@dataclass(frozen=True)
class TanhBox:
    """x'(w) = low + (high − low)(tanh w + 1)/2  (Carlini & Wagner 2017, section V-C).

    `bounds` must be finite: `TanhBox.of` says so in the name of an attack. An input at the end of the range is moved to `edge` of the way
    there, so that its variable is finite; the nearer to 1, the longer its way back.

    >>> import torch
    >>> box = TanhBox(Bounds(0.0, 1.0))
    >>> x = torch.tensor([[0.25, 0.5]])
    >>> change, slope = box.change(box.inverse(x), x)
    >>> bool((change.abs() < 1e-6).all()), [round(value, 4) for value in slope[0].tolist()]
    (True, [0.375, 0.5])
    """

    bounds: Bounds
    edge: float = 0.999999

    @classmethod
    def of(cls, bounds: Bounds, name: str, edge: float = 0.999999) -> Self:
        """The box of a model's range; ConfigError where that has no ends."""
        if not bounds.finite:
            raise ConfigError(f"{name} moves within a finite range, not {bounds}: give Classifier(bounds=(low, high))")
        return cls(bounds, edge)

    def change(self, w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """x'(w) − x and its derivative in w, both `[n, ...]`."""
        low, high = self.bounds.pair(w)
        half, squash = (high - low) / 2, w.tanh()
        return low + half * (squash + 1) - x, half * (1 - squash.square())

    def inverse(self, x: Tensor) -> Tensor:
        """The variable of the input `x` `[n, ...]`, kept off the infinite ends."""
        low, high = self.bounds.pair(x)
        unit = (x - low) / (high - low) * 2 - 1
        unit = unit * self.edge
        # The inverse of tanh, from logarithms: `atanh` and powers round by a row's place in the batch.
        return (unit.log1p() - (-unit).log1p()) / 2
