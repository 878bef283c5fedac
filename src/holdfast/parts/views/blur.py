"""`Blurred`, and the Gaussian that resampling needs before it takes fewer samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.parts.views.view import Images, Range, View, between, within

PerImage = Float[Tensor, "n 1 1 1"]


@dataclass(frozen=True)
class Blurred(View):
    """A lens out of focus: v' = G_σ ∗ v, normalised at the borders.

    `sigma`: the Gaussian's deviation in pixels, 0 to 100, a number or (low, high).

    Raises ConfigError for a value outside its range.
    Source: Kurakin, Goodfellow & Bengio 2017, section 4: Gaussian blur.
    Differs from it: nothing but the borders, where the Gaussian is renormalised.

    >>> v = torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]]]])
    >>> [round(value, 3) for value in Blurred(0.5).seen(v, Draw(torch.tensor([1]), torch.tensor([0]))).flatten().tolist()]
    [0.0, 0.106, 0.787, 0.106, 0.0]
    """

    sigma: Range

    def __post_init__(self) -> None:
        within(self, 0.0, 100.0, "sigma")

    def seen(self, v: Images, draw: Draw) -> Images:
        sigma = between(draw, "sigma", self.sigma, v)
        return smoothed(v, sigma, sigma)


def smoothed(v: Images, tall: PerImage, wide: PerImage) -> Images:
    """`v` under a Gaussian of each row's own deviations, in pixels down and across; 0 leaves it as it is."""
    return _weights(tall, v.shape[2]) @ v @ _weights(wide, v.shape[3]).transpose(2, 3)


def _weights(sigma: PerImage, size: int) -> Tensor:
    """The Gaussian between all pairs of `size` places, rows summing to one: `[n, 1, size, size]`."""
    place = torch.arange(size, device=sigma.device, dtype=sigma.dtype)
    apart = (place.unsqueeze(1) - place).square()
    # From σ = 0.01 pixels down even a neighbour's weight is 0.
    weight = (-apart / (2 * sigma.square()).clamp_min(2e-4)).exp()
    return weight / weight.sum(dim=3, keepdim=True)
