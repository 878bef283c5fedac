"""Views: how the same object looks from elsewhere, in other light, through another camera; each drawn per row and differentiable."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Points


class View(ABC):
    """`x` `[n, c, h, w]` in the model's range as one draw of the view shows it; a row's view follows from its own key."""

    @abstractmethod
    def __call__(self, x: Points, draw: Draw) -> Tensor: ...


@dataclass(frozen=True)
class Perspective(View):
    """Turned, shifted, nearer or farther, and tilted: x'(u) = x(H u), H a homography drawn for each row.

    `turn` in degrees, `shift` and `tilt` as shares of half the image, `zoom` the largest relative change of size: each is drawn uniformly
    from ± its value. What comes from outside the image repeats its edge. Bilinear, so it is differentiable in x.

    Raises ConfigError for values that are negative, or that turn the image inside out.

    >>> draw = Draw(torch.tensor([1]), torch.tensor([0]))
    >>> x = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(Perspective(0, 0, 0, 0)(x, draw), x, atol=1e-5)
    True
    """

    turn: float = 10.0
    shift: float = 0.08
    zoom: float = 0.1
    tilt: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.turn <= 180 and 0 <= self.shift < 1 and 0 <= self.zoom < 1 and 0 <= self.tilt < 0.5):
            raise ConfigError(f"{self}: expected turn in 0..180 degrees, shift and zoom in [0, 1), tilt in [0, 0.5)")

    def __call__(self, x: Points, draw: Draw) -> Tensor:
        u = (draw.uniform("perspective", (6,), x.dtype) * 2 - 1).unbind(dim=1)
        angle, size = u[0] * math.radians(self.turn), 1 + u[1] * self.zoom
        cosine, sine = angle.cos() / size, angle.sin() / size
        x_axis, y_axis = centres(x.shape[-1], x), centres(x.shape[-2], x)
        across, down = x_axis.reshape(1, 1, -1), y_axis.reshape(1, -1, 1)
        c, s, right, low, a, b = (value.reshape(-1, 1, 1) for value in (cosine, sine, self.shift * u[2], self.shift * u[3], u[4], u[5]))
        depth = 1 + self.tilt * (a * across + b * down)
        place = torch.stack([(c * across - s * down + right) / depth, (s * across + c * down + low) / depth], dim=3)
        return grid_sample(x, place, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Light(View):
    """Another exposure and contrast: x' = a x + b with a uniform in 1 ± `contrast`, b in ± `brightness` (in units of the range's width 1).

    Raises ConfigError for negative values, or a contrast of 1 and more.
    """

    contrast: float = 0.2
    brightness: float = 0.05

    def __post_init__(self) -> None:
        if not (0 <= self.contrast < 1 and self.brightness >= 0):
            raise ConfigError(f"{self}: expected contrast in [0, 1) and brightness of at least 0")

    def __call__(self, x: Points, draw: Draw) -> Tensor:
        u = draw.uniform("light", (2,), x.dtype) * 2 - 1
        return x * per_row(1 + self.contrast * u[:, 0], x) + per_row(self.brightness * u[:, 1], x)


@dataclass(frozen=True)
class Rescale(View):
    """From farther away: averaged down to a share of its size, drawn between `least` and 1 (in eighths), and up again.

    Raises ConfigError for a share outside (0, 1].
    """

    least: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ConfigError(f"{self}: expected a share of the size in (0, 1]")

    def __call__(self, x: Points, draw: Draw) -> Tensor:
        share = self.least + (1 - self.least) * draw.uniform("rescale", (1,), x.dtype).squeeze(1)
        eighth = (share * 8).round()
        seen = torch.zeros_like(x)
        for count in range(1, 9):
            size = [max(1, round(side * count / 8)) for side in x.shape[-2:]]
            if count / 8 + 1 / 16 >= self.least:
                small = interpolate(x, size, mode="area")
                seen = torch.where(
                    per_row(eighth == count, x), interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False), seen
                )
        return seen


@dataclass(frozen=True)
class Grain(View):
    """The camera's noise: x' = x + σ z, z standard normal, σ = `deviation`.

    Raises ConfigError for a negative deviation.
    """

    deviation: float = 0.02

    def __post_init__(self) -> None:
        if not self.deviation >= 0:
            raise ConfigError(f"{self}: expected a deviation of at least 0")

    def __call__(self, x: Points, draw: Draw) -> Tensor:
        return x + self.deviation * draw.normal("grain", tuple(x.shape[1:]), x.dtype)


PHOTOGRAPHED: tuple[View, ...] = (Perspective(), Light(), Rescale(), Grain())


def centres(side: int, like: Tensor) -> Tensor:
    """The middles of `side` pixels along an axis from −1 to 1: `[side]`."""
    return (torch.arange(side, dtype=like.dtype, device=like.device) * 2 + 1) / side - 1
