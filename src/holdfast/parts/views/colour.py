"""`Printed` and `Exposed`: what ink and paper, light and sensor do to each pixel by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.parts.views.view import Images, Range, View, between, ends, within

_LUMA = (0.299, 0.587, 0.114)
# The slope of x^γ has no end at 0, where whole backgrounds lie: one of 256 levels is as near as the curve comes to it.
_TOE = 1 / 255


@dataclass(frozen=True)
class Printed(View):
    """Ink on paper: colours lose saturation, tones bend, black is not black nor white white, and the raster adds noise.

    u = l + s (v − l), l the luma;  g(u) = ((u + δ)^γ − δ^γ) / ((1 + δ)^γ − δ^γ);  v' = b + (w − b) g(u) + σ n,  δ = 1/255, n normal.

    `black` b and `white` w the reflectances of full ink and bare paper, `saturation` s, `noise` σ, in [0, 1]; `gamma` γ from 0.1 to 10
    (above 1 darkens: dot gain). Each a number or (low, high); the defaults change nothing.

    Raises ConfigError for a value outside its range.
    Source: Kurakin, Goodfellow & Bengio 2017, section 3: the printout.
    Differs from it: a model of a printer, where the paper had a printer.

    >>> import torch
    >>> still = Draw(torch.tensor([1]), torch.tensor([0]))
    >>> Printed(black=0.1, white=0.9).seen(torch.tensor([[[[0.0, 0.5, 1.0]]]]), still).mul(255).round().flatten().tolist()
    [26.0, 127.0, 230.0]
    """

    black: Range = 0.0
    white: Range = 1.0
    saturation: Range = 1.0
    gamma: Range = 1.0
    noise: Range = 0.0

    def __post_init__(self) -> None:
        within(self, 0.0, 1.0, "black", "white", "saturation", "noise")
        within(self, 0.1, 10.0, "gamma")

    def seen(self, v: Images, draw: Draw) -> Images:
        grey = luma(v)
        v = grey + between(draw, "saturation", self.saturation, v) * (v - grey)
        gamma = between(draw, "gamma", self.gamma, v)
        dark, light = (gamma * math.log(_TOE)).exp(), (gamma * math.log(1 + _TOE)).exp()
        # Rounding in the luma may leave a hair below 0.
        v = ((gamma * (v.clamp_min(0) + _TOE).log()).exp() - dark) / (light - dark)
        black, white = between(draw, "black", self.black, v), between(draw, "white", self.white, v)
        return noisy(black + (white - black) * v, self.noise, draw)

    @property
    def random(self) -> bool:
        return super().random or ends(self.noise)[1] > 0


@dataclass(frozen=True)
class Exposed(View):
    """Light and sensor: brighter or darker, tinted, noisy, cut off at black and white.

    v' = clip( g t_c v + o + o_c + σ n ),  n normal.

    `gain` g and `offset` o one for the image, `tint` t_c and `cast` o_c one for each channel; `noise` σ in [0, 1]. Gains from 0 to 10,
    offsets from −1 to 1, each a number or (low, high); the defaults change nothing.

    Raises ConfigError for a value outside its range.
    Source: Athalye et al. 2018, supplement: lighten and darken, additive and multiplicative, whole and per channel; Gaussian noise.
    Differs from it: cut off to the valid range before the model.

    >>> import torch
    >>> still = Draw(torch.tensor([1]), torch.tensor([0]))
    >>> Exposed(gain=2.0, offset=0.25).seen(torch.tensor([[[[0.0, 0.25, 0.5]]]]), still).flatten().tolist()
    [0.25, 0.75, 1.0]
    """

    gain: Range = 1.0
    offset: Range = 0.0
    tint: Range = 1.0
    cast: Range = 0.0
    noise: Range = 0.0

    def __post_init__(self) -> None:
        within(self, 0.0, 10.0, "gain", "tint")
        within(self, -1.0, 1.0, "offset", "cast")
        within(self, 0.0, 1.0, "noise")

    def seen(self, v: Images, draw: Draw) -> Images:
        channels = v.shape[1]
        gain = between(draw, "gain", self.gain, v) * between(draw, "tint", self.tint, v, channels)
        offset = between(draw, "offset", self.offset, v) + between(draw, "cast", self.cast, v, channels)
        return noisy(gain * v + offset, self.noise, draw)

    @property
    def random(self) -> bool:
        return super().random or ends(self.noise)[1] > 0


def luma(v: Images) -> Tensor:
    """The brightness `[n, 1, h, w]`: of red, green and blue as JPEG weighs them, of other channels their mean."""
    if v.shape[1] != 3:
        return v.mean(dim=1, keepdim=True)
    red, green, blue = (weight * v[:, place : place + 1] for place, weight in enumerate(_LUMA))
    return red + green + blue


def noisy(v: Images, noise: Range, draw: Draw) -> Images:
    """v + σ n, cut off to [0, 1]; a row's deviation σ is drawn from the range `noise`."""
    if ends(noise)[1] > 0:
        v = v + between(draw, "deviation", noise, v) * draw.normal("noise", tuple(v.shape[1:]), v.dtype)
    return v.clamp(0, 1)
