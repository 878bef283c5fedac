"""Roughness: how much a field changes from place to place, and what a threat says that can tell."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from holdfast.core.types import PerRow, Points

_SOFT = 1e-5


@runtime_checkable
class Penalised(Protocol):
    """A threat that says by how much a change is to be avoided, beside its size: `[n]`, at least 0, with a gradient in p."""

    def penalty(self, x: Points, p: Tensor) -> PerRow: ...


def roughness(field: Tensor) -> PerRow:
    """Σ_a Σ_{b ∈ N(a)} ‖f(a) − f(b)‖₂ over the places a of a grid and their nearest neighbours along each axis: `[n]`.

    `field` `[n, k, ...]`: a vector of k numbers at each place. Each pair counts twice, once from either end. A root of s² + 1e-10, less
    1e-5, so that there is a gradient where neighbours agree; a field that is the same everywhere has roughness 0.

    Source: Xiao et al. 2018, eq. 4 (a plane); Laidlaw & Feizi 2019 (a table of colours).

    >>> roughness(torch.tensor([[[[0.0, 3.0]], [[0.0, 4.0]]]])).round().tolist()
    [10.0]
    """
    total = field.new_zeros(len(field))
    for axis in range(2, field.ndim):
        apart = (field.diff(dim=axis).square().sum(dim=1) + _SOFT * _SOFT).sqrt() - _SOFT
        total = total + 2 * apart.flatten(1).sum(dim=1)
    return total
