"""The denoising operations: each averages an image's vectors of features, over 3×3 pixels or over all, by weights of its own.

All take images `[n, c, h, w]` of any size to the same shape, are differentiable, and let rows alone. x_i is the vector of the c features
at pixel i; Ω(i) are those of the 3×3 pixels around i that lie in the image; θ and φ `[n, d, h, w]` are what weights are made of, x itself
or embeddings of it.

Source: Xie et al. 2019, "Feature denoising for improving adversarial robustness", section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad, scaled_dot_product_attention

Maps = Float[Tensor, "n c h w"]
Keys = Float[Tensor, "n d h w"]


def mean(x: Maps) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} x_j / |Ω(i)|, of each feature."""
    return _Sum.apply(x) / _Sum.apply(torch.ones_like(x[:1, :1]))


def median(x: Maps) -> Tensor:
    """y_i = the median of 3×3 pixels, of each feature; the image's edge is repeated. Pixels that tie share the gradient.

    *Differs from* the paper: it does not say what lies beside the image.
    """
    tall = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    return _Median.apply(torch.cat([tall[:, :, :, :1], tall, tall[:, :, :, -1:]], dim=3))


def bilateral_gaussian(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} f_ij x_j / Σ_{j∈Ω(i)} f_ij, f_ij = exp(θ_iᵀφ_j / √d)."""
    beside = torch.cat(list(_around(torch.ones_like(x[:1, :1])))).reshape(1, 9, *x.shape[2:]) == 0
    pairs = _Pairs.apply(theta / math.sqrt(theta.shape[1]), phi)
    return _Weighted.apply(pairs.masked_fill(beside, -torch.inf).softmax(dim=1), x)


def bilateral_dot(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} (θ_iᵀφ_j) x_j / |Ω(i)|; the weights need not sum to one."""
    return _Weighted.apply(_Pairs.apply(theta, phi), x) / _Sum.apply(torch.ones_like(x[:1, :1]))


def nonlocal_gaussian(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_j f_ij x_j / Σ_j f_ij over all pixels j, f_ij = exp(θ_iᵀφ_j / √d): attention of the image to itself.

    Of the n (h w)² weights torch's attention keeps a block at a time, and makes them again for the gradient. A gradient of a gradient
    needs all of them: objectives that take one ask for it; elsewhere `with torch.nn.attention.sdpa_kernel(SDPBackend.MATH):`.
    """
    c, d = x.shape[1], theta.shape[1]
    query, key, value = (t.flatten(2).transpose(1, 2).unsqueeze(1) for t in (theta, phi, x))
    # The fast kernels want all three of one width (zeros change no product), and each pixel's features side by side.
    query, key, value = pad(query, (0, c - d)).contiguous(), pad(key, (0, c - d)).contiguous(), value.contiguous()
    y = scaled_dot_product_attention(query, key, value, scale=1 / math.sqrt(d))
    return y.squeeze(1).transpose(1, 2).reshape(x.shape)


def nonlocal_dot(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_j (θ_iᵀφ_j) x_j / N over all N = h w pixels j, which need not be a mean.

    (x φᵀ) θ = x (φᵀ θ): the cheaper product is taken, so that n c d or n (h w)² numbers are kept, whichever is less.
    """
    value, query, key = x.flatten(2), theta.flatten(2), phi.flatten(2)
    count = value.shape[2]
    if count * (x.shape[1] + key.shape[1]) < 2 * x.shape[1] * key.shape[1]:
        y = value @ (key.transpose(1, 2) @ (query / count))
    else:
        y = (value @ key.transpose(1, 2) / count) @ query
    return y.reshape(x.shape)


PLACES = tuple(product(range(3), range(3)))


def _around(x: Tensor) -> Iterator[Tensor]:
    """`x` moved to each of 3×3 places, zero beside the image."""
    padded = pad(x, (1, 1, 1, 1))
    return (padded[:, :, down : down + x.shape[2], right : right + x.shape[3]] for down, right in PLACES)


class _Sum(torch.autograd.Function):
    """Sums of 3×3 pixels, zero beside the image. Whom a pixel counts for, counts for it, so the gradient is such a sum again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return avg_pool2d(x, 3, 1, 1, divisor_override=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Sum.apply(grad)


class _Weighted(torch.autograd.Function):
    """y_i = Σ_k w_ki x_{i+k} over nine places k: weights `[n, 9, h, w]`, `x` `[n, c, h, w]`."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(weights, x)
        y = torch.zeros_like(x)
        for place, moved in enumerate(_around(x)):
            y.addcmul_(weights[:, place : place + 1], moved)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, x = ctx.saved_tensors
        return _Pairs.apply(grad, x), _Weighted.apply(_returned(weights), grad)


class _Pairs(torch.autograd.Function):
    """s_ki = θ_iᵀφ_{i+k} for nine places k, zero where that lies beside the image: `[n, 9, h, w]` of two `[n, d, h, w]`."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, phi: Tensor) -> Tensor:
        ctx.save_for_backward(theta, phi)
        return torch.stack([(theta * moved).sum(dim=1) for moved in _around(phi)], dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        theta, phi = ctx.saved_tensors
        return _Weighted.apply(grad, phi), _Weighted.apply(_returned(grad), theta)


def _returned(weights: Tensor) -> Tensor:
    """What each place gets back: w'_ki = w_{−k, i+k} of weights `[n, 9, h, w]`, as Σ_k w_ki x_{i+k} takes x_j into Σ_k w'_kj."""
    high, wide = weights.shape[2:]
    padded = pad(weights, (1, 1, 1, 1))
    parts = [padded[:, 8 - place, down : down + high, right : right + wide] for place, (down, right) in enumerate(PLACES)]
    return torch.stack(parts, dim=1)


class _Median(torch.autograd.Function):
    """The medians `[n, c, h, w]` of 3×3 windows of `[n, c, h + 2, w + 2]`. The gradient goes in equal parts to what equals the median."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor) -> Tensor:
        a, b, c = (padded[:, :, down : padded.shape[2] - 2 + down] for down in range(3))
        # Columns of three are put in order once for all windows that they are in; the median of nine is then that of the greatest
        # of three least, the middle of three middles, and the least of three greatest.
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        least, middle, most = torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)
        (p, q, r), middles, (s, t, u) = ([x[..., k : x.shape[3] - 2 + k] for k in range(3)] for x in (least, middle, most))
        found = _middle(torch.maximum(torch.maximum(p, q), r), _middle(*middles), torch.minimum(torch.minimum(s, t), u))
        ctx.save_for_backward(padded, found)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        padded, found = ctx.saved_tensors
        high, wide = found.shape[2:]
        equal = [padded[:, :, down : down + high, right : right + wide] == found for down, right in PLACES]
        count = torch.zeros_like(found, dtype=torch.int8)
        for some in equal:
            count += some
        share = grad / count.clamp_min(1)  # none equals where the median is NaN
        total = torch.zeros_like(padded)
        for (down, right), some in zip(PLACES, equal, strict=True):
            total[:, :, down : down + high, right : right + wide] += share * some
        return total


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
