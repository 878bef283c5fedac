"""CIELUV: colours as lightness and two chromaticities, in which equal steps look about alike; with gradients both ways."""

from __future__ import annotations

import torch
from torch import Tensor

# Linear sRGB to CIE XYZ (IEC 61966-2-1, white D65), one row each for X, Y and Z.
_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_RGB = [[float(value) for value in row] for row in torch.tensor(_XYZ, dtype=torch.float64).inverse()]
_X, _Y, _Z = (sum(row) for row in _XYZ)
_WHITE_U, _WHITE_V = 4 * _X / (_X + 15 * _Y + 3 * _Z), 9 * _Y / (_X + 15 * _Y + 3 * _Z)
_DARK, _SLOPE = 8.0, (29 / 3) * (29 / 3) * (29 / 3)
_TINY = 1e-10


def _root(value: Tensor, power: float) -> Tensor:
    """value to a power, from logarithms: powers round by a row's place in the batch."""
    return (value.log() * power).exp()


def _mixed(matrix: tuple[tuple[float, ...], ...] | list[list[float]], colour: Tensor) -> list[Tensor]:
    """Rows of a matrix times the three channels, one by one: a product over all pixels would round by their number."""
    first, second, third = colour.unbind(dim=1)
    return [row[0] * first + row[1] * second + row[2] * third for row in matrix]


def luv(rgb: Tensor) -> Tensor:
    """sRGB `[n, 3, ...]` in [0, 1] as (L*/100, (u* + 100)/200, (v* + 100)/200), the scale of ReColorAdv's code: about 0 to 1.

    u* = 13 L* (u' − u'_n),  v* = 13 L* (v' − v'_n),  u' = 4X / (X + 15Y + 3Z),  v' = 9Y / (X + 15Y + 3Z).

    >>> luv(torch.ones(1, 3, 1, 1)).flatten().round(decimals=3).tolist()
    [1.0, 0.5, 0.5]
    """
    curved = _root((rgb.clamp_min(0.04) + 0.055) / 1.055, 2.4)
    x, y, z = _mixed(_XYZ, torch.where(rgb > 0.04045, curved, rgb / 12.92))
    lightness = torch.where(y > _DARK / _SLOPE, 116 * _root(y.clamp_min(0.008), 1 / 3) - 16, _SLOPE * y)
    whole = (x + 15 * y + 3 * z).clamp_min(_TINY)
    u, v = 13 * lightness * (4 * x / whole - _WHITE_U), 13 * lightness * (9 * y / whole - _WHITE_V)
    return torch.stack([lightness / 100, (u + 100) / 200, (v + 100) / 200], dim=1)


def rgb(luv: Tensor) -> Tensor:
    """The inverse of `luv`; a colour that no screen shows comes out beyond [0, 1].

    >>> grey = torch.full((1, 3, 1, 1), 0.4)
    >>> torch.allclose(rgb(globals()["luv"](grey)), grey, atol=1e-6)
    True
    """
    lightness = luv[:, 0].clamp_min(0) * 100
    share = (13 * lightness).clamp_min(_TINY)
    u = ((luv[:, 1] * 200 - 100) / share + _WHITE_U).clamp(0, 1)
    # Chromaticities of light have a v' of 0.02 at least; what shifts lead beyond that has no colour of its own.
    v = ((luv[:, 2] * 200 - 100) / share + _WHITE_V).clamp(0.02, 1)
    cube = (lightness + 16) / 116
    y = torch.where(lightness > _DARK, cube * cube * cube, lightness / _SLOPE)
    linear = torch.stack(_mixed(_RGB, torch.stack([y * 9 * u / (4 * v), y, y * (12 - 3 * u - 20 * v) / (4 * v)], dim=1)), dim=1)
    curved = 1.055 * _root(linear.clamp_min(0.003), 1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear)
