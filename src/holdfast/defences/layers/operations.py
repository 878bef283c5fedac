"""The denoising operations: each averages an image's vectors of features, over 3×3 pixels or over all, by weights of its own.

All take images `[n, c, h, w]` of any size to the same shape, are differentiable, and let rows alone. x_i is the vector of the c features
at pixel i; Ω(i) are those of the 3×3 pixels around i that lie in the image; θ and φ `[n, d, h, w]` are what weights are made of, x itself
or embeddings of it.

Source: Xie et al. 2019, "Feature denoising for improving adversarial robustness", section 4.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from holdfast.defences.layers import windows

Maps = Float[Tensor, "n c h w"]
Keys = Float[Tensor, "n d h w"]


def mean(x: Maps) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} x_j / |Ω(i)|, of each feature."""
    return windows.summed(x) / windows.summed(torch.ones_like(x[:1, :1]))


def median(x: Maps) -> Tensor:
    """y_i = the median of 3×3 pixels, of each feature; the image's edge is repeated. Pixels that tie share the gradient.

    *Differs from* the paper: it does not say what lies beside the image.
    """
    return windows.medians(x)


def bilateral_gaussian(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} f_ij x_j / Σ_{j∈Ω(i)} f_ij, f_ij = exp(θ_iᵀφ_j / √d)."""
    one = torch.ones_like(x[:1, :1])
    beside = windows.products(one, one) == 0
    pairs = windows.products(theta, phi) / math.sqrt(theta.shape[1])
    return windows.weighted(pairs.masked_fill(beside, -torch.inf).softmax(dim=1), x)


def bilateral_dot(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_{j∈Ω(i)} (θ_iᵀφ_j) x_j / |Ω(i)|; the weights need not sum to one."""
    return windows.weighted(windows.products(theta, phi) / windows.summed(torch.ones_like(x[:1, :1])), x)


def nonlocal_gaussian(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_j f_ij x_j / Σ_j f_ij over all pixels j, f_ij = exp(θ_iᵀφ_j / √d): attention of the image to itself.

    Of the n (h w)² weights torch's attention keeps a block at a time, and makes them again for the gradient. A gradient of a gradient
    needs all of them: objectives that take one ask for it; elsewhere `with torch.nn.attention.sdpa_kernel(SDPBackend.MATH):`.
    """
    c, d = x.shape[1], theta.shape[1]
    query, key, value = (t.flatten(2).transpose(1, 2).unsqueeze(1) for t in (theta, phi, x))
    # The fast kernels want all three of one width, of whole eights (zeros change no product), and each pixel's features side by side.
    width = math.ceil(max(c, d) / 8) * 8
    query, key, value = (pad(t, (0, width - t.shape[3])).contiguous() for t in (query, key, value))
    y = scaled_dot_product_attention(query, key, value, scale=1 / math.sqrt(d))[..., :c]
    return y.squeeze(1).transpose(1, 2).reshape(x.shape)


def nonlocal_dot(x: Maps, theta: Keys, phi: Keys) -> Tensor:
    """y_i = Σ_j (θ_iᵀφ_j) x_j / N over all N = h w pixels j, which need not be a mean.

    (x φᵀ) θ = x (φᵀ θ): the cheaper product is taken, so that n c d or n (h w)² numbers are kept, about whichever is less.
    """
    value, query, key = x.flatten(2), theta.flatten(2), phi.flatten(2)
    count = value.shape[2]
    if count * (x.shape[1] + key.shape[1]) < 2 * x.shape[1] * key.shape[1]:
        y = value @ (key.transpose(1, 2) @ (query / count))
    else:
        y = (value @ key.transpose(1, 2) / count) @ query
    return y.reshape(x.shape)
