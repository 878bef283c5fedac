"""Low-pass filtering inside a net: a fixed blur, a learned filter for each channel, and the penalties that make filters and maps smooth."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from holdfast.core.errors import ConfigError
from holdfast.models.resnets import positive

Maps = Float[Tensor, "n c h w"]
KINDS = ("box", "gaussian")


@final
class Blur(nn.Module):
    """y_k = w ∗ x_k: every channel under one fixed low-pass filter w of `size` × `size` pixels.

    `[n, c, h, w]` of any size to the same shape; zero beside the image. `kind`: `box` (all weights 1 / size²) or `gaussian` (those of
    a Gaussian of deviation 0.3 ((size − 1) / 2 − 1) + 0.8 pixels, which sum to one).

    Raises ConfigError for a size that is not odd, or another kind.
    Source: Raju & Lipasti 2019, "BlurNet: defense by filtering the feature maps": standard blur kernels on the input or on the first
    layer's maps. Differs from it: the kernels are not named there; the Gaussian's deviation is OpenCV's for the size.

    >>> Blur(3)(torch.ones(1, 2, 3, 3))[0, 0].mul(9).round().int().tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """

    weight: Tensor

    def __init__(self, size: int = 3, kind: str = "box") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"kind={kind!r}: expected {' or '.join(KINDS)}")
        self.size, self.kind = odd(size), kind
        place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        line = torch.exp(-((place / (0.3 * ((size - 1) / 2 - 1) + 0.8)) ** 2) / 2) if kind == "gaussian" else torch.ones_like(place)
        line = line / line.sum()
        # No part of the weights that are stored: it follows from the arguments.
        self.register_buffer("weight", torch.outer(line, line).float()[None, None], persistent=False)

    def forward(self, x: Maps) -> Tensor:
        return conv2d(x, self.weight.expand(x.shape[1], 1, -1, -1), padding=self.size // 2, groups=x.shape[1])

    def extra_repr(self) -> str:
        return f"{self.size}, {self.kind}"


@final
class Depthwise(nn.Conv2d):
    """y_k = w_k ∗ x_k: a filter of its own for each channel, learned, of `size` × `size` pixels, without bias.

    `[n, channels, h, w]` to the same shape; zero beside the image. Starts as a box blur, the filter that `filter_penalty` is smallest
    for among those of the same sum. Train it with `filter_penalty` added to the loss.

    Raises ConfigError for a size that is not odd, or fewer than one channel.
    Source: Raju & Lipasti 2019, "BlurNet": a depthwise convolution after the first layer. Differs from it: where it starts is not
    said there.

    >>> Depthwise(8, 5)(torch.rand(2, 8, 6, 7)).shape
    torch.Size([2, 8, 6, 7])
    """

    def __init__(self, channels: int, size: int = 5) -> None:
        super().__init__(positive("channels", channels), channels, odd(size), padding=size // 2, groups=channels, bias=False)
        nn.init.constant_(self.weight, 1 / size**2)


def filter_penalty(weight: Float[Tensor, "k 1 h w"]) -> Float[Tensor, ""]:
    """1/K Σ_k ‖w_k‖_∞ of K depthwise filters: small where a filter spreads its weight evenly, as a low pass does.

    Source: Raju & Lipasti 2019, "BlurNet", L∞ regularisation; their objective adds α times this.

    >>> filter_penalty(torch.tensor([[[[1.0, -3.0]]], [[[0.5, 0.5]]]])).item()
    1.75
    """
    return weight.abs().amax(dim=(1, 2, 3)).mean()


def variation_penalty(maps: Maps) -> Float[Tensor, ""]:
    """1/(N K) Σ_n Σ_k TV(F_nk), TV(f) = Σ_ij |f_{i+1,j} − f_ij| + |f_{i,j+1} − f_ij|, of feature maps F `[n, k, h, w]`.

    Source: Raju & Lipasti 2019, "BlurNet", total variation regularisation of the first layer's maps; they add α_TV times it.

    >>> variation_penalty(torch.tensor([[[[0.0, 1.0], [3.0, 3.0]]]])).item()
    6.0
    """
    rough = maps.diff(dim=2).abs().sum(dim=(2, 3)) + maps.diff(dim=3).abs().sum(dim=(2, 3))
    return rough.mean()


def odd(size: int) -> int:
    """`size`, where it is an odd whole number; raises ConfigError otherwise."""
    if positive("size", size) % 2 == 0:
        raise ConfigError(f"size={size}: a filter has a middle, so its size is odd: {size - 1} or {size + 1}")
    return size
