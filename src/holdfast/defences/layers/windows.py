"""Windows of 3×3 pixels: sums, weighted sums, products and medians of nine pixels for each, made fast on processors.

All take maps `[n, c, h, w]` of any size, let rows alone, and have gradients, of which there are gradients again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

PLACES = tuple(product(range(3), range(3)))
BLOCK = 2**18
"""How many numbers of a map the processor takes at a time: what it lays by on the way then stays in its cache."""
FEW = 64
"""Up to how many pixels the dot products of all pairs, as one product of matrices, are sooner done than nine for each."""
BESIDE = (1, 1, 1, 2)
"""Pixels to the left, right, above and below; of those below one row serves only to let every move have its length."""


def summed(x: Tensor) -> Tensor:
    """Σ_k x_{i+k} over nine places k, of each feature; zero lies beside the image."""
    return _Sum.apply(x)


def weighted(weights: Tensor, x: Tensor) -> Tensor:
    """y_i = Σ_k w_ki x_{i+k} over nine places k in the image: weights `[n, 9, h, w]`."""
    return _Weighted.apply(weights, x)


def products(theta: Tensor, phi: Tensor) -> Tensor:
    """s_ki = θ_iᵀφ_{i+k} for nine places k, zero where that lies beside the image: `[n, 9, h, w]`."""
    return _Alike.apply(theta) if theta is phi else _Pairs.apply(theta, phi)


def medians(x: Tensor) -> Tensor:
    """The median of nine pixels, of each feature; the image's edge is repeated. What equals it shares its gradient."""
    return _Median.apply(x)


def _by_blocks(operation: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """`operation`, which lets rows alone, of a few rows at a time, and in the widest precision among the maps."""
    device, dtype = maps[0].device.type, functools.reduce(torch.promote_types, (each.dtype for each in maps))
    rows = max(1, BLOCK // max(1, math.prod(maps[0].shape[1:])) if device == "cpu" else len(maps[0]))
    with torch.autocast(device, enabled=False):  # it would narrow some steps and widen others
        parts = [operation(*some) for some in zip(*(each.to(dtype).split(rows) for each in maps), strict=True)]
    return torch.cat(parts)  # of one part, too: what is a view here could not be written over outside


# A map's rows of pixels lie end to end with two pixels more in each, `[n, c, h (w + 2)]`. Moving the map is then moving along one line,
# which is several times as fast as along rows of 32; what the two pixels more come to is cut off in the end.


def _line(x: Tensor) -> Tensor:
    return pad(x, (0, 2)).flatten(2)


def _lines(x: Tensor, mode: str = "constant") -> Iterator[Tensor]:
    """`x` moved to each of 3×3 places; beside the image is zero, or its edge again (mode `replicate`)."""
    return _moved(pad(x, BESIDE, mode=mode).flatten(2), x)


def _moved(line: Tensor, x: Tensor) -> Iterator[Tensor]:
    high, wide = x.shape[2], x.shape[3] + 2
    return (line[..., down * wide + right :][..., : high * wide] for down, right in PLACES)


def _map(line: Tensor, like: Tensor) -> Tensor:
    return line.unflatten(2, (-1, like.shape[3] + 2))[..., :-2]


class _Sum(torch.autograd.Function):
    """Whom a pixel counts for, counts for it, so the gradient is such a sum again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _by_blocks(lambda x: _map(functools.reduce(torch.add, _lines(x)), x), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Sum.apply(grad)


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(weights, x)
        return _by_blocks(_weighted, x, weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, x = ctx.saved_tensors
        return _Pairs.apply(grad, x), _Weighted.apply(_returned(weights), grad)


def _weighted(x: Tensor, weights: Tensor) -> Tensor:
    n, _, high, wide = x.shape
    if high * wide <= FEW:
        every, inside = _beside(high, wide, x.device)
        all_pairs = x.new_zeros(n, (high * wide) ** 2).index_add_(1, every, (weights * inside).flatten(1))
        return (x.flatten(2) @ all_pairs.unflatten(1, (high * wide, -1)).mT).view_as(x)
    first, *rest = zip(_line(weights).split(1, dim=1), _lines(x), strict=True)
    y = torch.mul(*first)
    for weight, moved in rest:
        y.addcmul_(weight, moved)
    return _map(y, x)


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, phi: Tensor) -> Tensor:
        ctx.save_for_backward(theta, phi)
        return _by_blocks(_pairs, theta, phi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        theta, phi = ctx.saved_tensors
        return _Weighted.apply(grad, phi), _Weighted.apply(_returned(grad), theta)


class _Alike(torch.autograd.Function):
    """The products of a map with itself, s_ki = s_{−k, i+k}: half of them are enough, and both their gradients are one sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _by_blocks(_alike, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _Weighted.apply(grad + _returned(grad), x)


def _alike(x: Tensor) -> Tensor:
    later = _pairs(x, x, 4)
    return torch.cat([_returned(later)[:, :4], later], dim=1)


def _pairs(theta: Tensor, phi: Tensor, first: int = 0) -> Tensor:
    """The products for the places from the `first` on."""
    n, _, high, wide = theta.shape
    if high * wide <= FEW:
        every, inside = _beside(high, wide, theta.device)
        return ((theta.flatten(2).mT @ phi.flatten(2)).flatten(1)[:, every].view(n, 9, high, wide) * inside)[:, first:]
    line = _line(theta)
    return _map(torch.stack([(line * moved).sum(dim=1) for moved in islice(_lines(phi), first, None)], dim=1), theta)


@functools.cache
def _beside(high: int, wide: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the pairs of a pixel and nine around it stand among all pairs, `[9 h w]`, and which of them lie in the image, `[9, h, w]`."""
    pixel = torch.arange(high * wide, device=device)
    row, column = pixel // wide, pixel % wide
    moves = [(row + down - 1, column + right - 1) for down, right in PLACES]
    inside = torch.stack([(r >= 0) & (r < high) & (c >= 0) & (c < wide) for r, c in moves])
    place = torch.stack([pixel * high * wide + r * wide + c for r, c in moves])
    return place.where(inside, 0).flatten(), inside.unflatten(1, (high, wide))


def _returned(weights: Tensor) -> Tensor:
    """What each place gets back: w'_ki = w_{−k, i+k} of weights `[n, k, h, w]` of the last k places, as Σ_k w_ki x_{i+k} takes x_j into
    Σ_k w'_kj."""
    high, wide = weights.shape[2:]
    padded = pad(weights, (1, 1, 1, 1))
    back = zip(reversed(padded.unbind(1)), PLACES, strict=False)
    return torch.stack([weight[:, down : down + high, right : right + wide] for weight, (down, right) in back], dim=1)


class _Median(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = _by_blocks(_medians, x)
        ctx.save_for_backward(x, found)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, found = ctx.saved_tensors
        return _by_blocks(_to_medians, x, found, grad)


def _medians(x: Tensor) -> Tensor:
    line, long, wide = pad(x, BESIDE, mode="replicate").flatten(2), (x.shape[2] + 1) * (x.shape[3] + 2), x.shape[3] + 2
    a, b, c = (line[..., down * wide :][..., :long] for down in range(3))
    # Columns of three are put in order once for all windows that they are in; the median of nine is then that of the greatest
    # of three least, the middle of three middles, and the least of three greatest.
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    columns = torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)
    (p, q, r), middles, (s, t, u) = ([one[..., right:][..., : long - wide] for right in range(3)] for one in columns)
    return _map(_middle(torch.maximum(torch.maximum(p, q), r), _middle(*middles), torch.minimum(torch.minimum(s, t), u)), x)


def _to_medians(x: Tensor, found: Tensor, grad: Tensor) -> Tensor:
    # Comparing into floats is the fast way on processors.
    middle = _line(found.detach())
    equal = [torch.eq(moved, middle, out=torch.empty_like(middle)) for moved in _lines(x.detach(), "replicate")]
    share = _line(grad) / functools.reduce(torch.add, equal).clamp_min(1)  # none equals where the median is NaN
    total = torch.zeros_like(pad(x, BESIDE))
    for part, some in zip(_moved(total.flatten(2), x), equal, strict=True):
        part.addcmul_(share, some)
    high, wide = x.shape[2:]
    for dim, last in ((2, high), (3, wide)):
        for beside, edge in ((0, 1), (last + 1, last)):
            total.select(dim, edge).add_(total.select(dim, beside))
    return total[:, :, 1 : high + 1, 1 : wide + 1]


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
