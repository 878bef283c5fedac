"""`Jpeg`: lossy compression with a gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from holdfast.core.draw import Draw
from holdfast.parts.views.colour import luma
from holdfast.parts.views.view import Images, Range, View, between, within

_BRIGHTNESS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92), (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_COLOUR = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)  # fmt: skip


@dataclass(frozen=True)
class Jpeg(View):
    """JPEG there and back: blocks of 8 × 8, cosine transform, coefficients rounded to multiples of a table, and all of it undone.

    v' = D⁻¹( q · round( D(v) / q ) ), q the standard's table times 50 / Q for a quality Q < 50, 2 − Q / 50 above.

    `quality` Q from 1 to 100, a number or (low, high) of which each row draws a whole number; `subsampling` halves the chroma's sides, as
    cameras do (4:2:0); three channels are red, green and blue, others are each compressed as brightness. Any size: borders are repeated up
    to whole blocks. `soft=False` rounds as a file does, and the gradient goes straight through the rounding; `soft=True` rounds by
    r + (u − r)³, r = round(u), whose slope is its own: no file does so, but steps on it are exact.

    Raises ConfigError for a value outside its range.
    Source: ITU-T T.81, annexes A and K; the slope Athalye, Carlini & Wagner 2018 (BPDA); `soft` Shin & Song 2017, eq. 1.
    Differs from them: pixels are not rounded to 8 bits at either end.

    >>> v = torch.full((1, 1, 8, 8), 0.502)
    >>> (Jpeg(50).seen(v, Draw(torch.tensor([1]), torch.tensor([0]))) - v).abs().amax(dim=(1, 2, 3)).mul(255).round().tolist()
    [0.0]
    """

    quality: Range
    subsampling: bool = True
    soft: bool = False

    def __post_init__(self) -> None:
        within(self, 1.0, 100.0, "quality")

    def seen(self, v: Images, draw: Draw) -> Images:
        low, high = self.quality if isinstance(self.quality, tuple) else (self.quality, self.quality)
        # Up to the next whole number, so that both ends are drawn.
        quality = between(draw, "quality", (math.floor(low), math.floor(high) + 1), v).floor().clamp_max(math.floor(high))
        scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        if v.shape[1] != 3:
            return ((self._coded(255 * v - 128, scale, _BRIGHTNESS) + 128) / 255).clamp(0, 1)
        high_, wide = v.shape[2:]
        grain = 16 if self.subsampling else 8
        v = _filled(v, grain)
        grey = luma(v)
        chroma = torch.cat([(v[:, 2:] - grey) / 1.772, (v[:, :1] - grey) / 1.402], dim=1)
        chroma = avg_pool2d(chroma, 2) if self.subsampling else chroma
        grey = (self._coded(255 * grey - 128, scale, _BRIGHTNESS) + 128) / 255
        chroma = self._coded(255 * chroma, scale, _COLOUR) / 255
        if self.subsampling:
            chroma = interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
        red, blue = grey + 1.402 * chroma[:, 1:], grey + 1.772 * chroma[:, :1]
        green = (grey - 0.299 * red - 0.114 * blue) / 0.587
        return torch.cat([red, green, blue], dim=1)[:, :, :high_, :wide].clamp(0, 1)

    def _coded(self, levels: Tensor, scale: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
        """Levels around 0, `[n, c, h, w]`, as they come back from their rounded coefficients."""
        high, wide = levels.shape[2:]
        levels = _filled(levels, 8)
        n, c, h, w = levels.shape
        basis = _cosines().to(levels)
        blocks = levels.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
        step = (levels.new_tensor(table) * scale + 0.5).floor().clamp(1, 255).reshape(n, 1, 1, 1, 8, 8)
        kept = self._rounded(basis @ blocks @ basis.T / step) * step
        return (basis.T @ kept @ basis).transpose(3, 4).reshape(n, c, h, w)[:, :, :high, :wide]

    def _rounded(self, u: Tensor) -> Tensor:
        whole = u.round().detach()
        rest = u - whole
        return whole + (rest * rest * rest if self.soft else rest - rest.detach())

    @property
    def random(self) -> bool:
        return isinstance(self.quality, tuple) and math.floor(self.quality[0]) < math.floor(self.quality[1])


def _filled(v: Tensor, grain: int) -> Tensor:
    """`v` with its last row and column repeated up to multiples of `grain`."""
    high, wide = v.shape[2:]
    return pad(v, (0, -wide % grain, 0, -high % grain), mode="replicate")


@cache
def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values: `[8, 8]`, in double precision."""
    k = torch.arange(8, dtype=torch.float64)
    basis = ((2 * k + 1) * k.unsqueeze(1) * (math.pi / 16)).cos() / 2
    return torch.cat([basis[:1] / math.sqrt(2), basis[1:]])
