"""`Photographed`, `Cropped` and `Rescaled`: a print before a camera, the part of an image that is kept, fewer pixels; without moiré."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.parts.views.blur import smoothed
from holdfast.parts.views.view import Images, Range, View, between, ends, within

_DEGREE = math.pi / 180


@dataclass(frozen=True)
class Photographed(View):
    """A flat print seen by a pinhole camera that is not quite in front of it.

    The print turned by `roll` in its plane and tipped by `tilt` about an axis of its plane in any direction, its centre `distance` half
    sides away and moved by `shift`, the picture enlarged by `zoom`; a ray (p, q) across and along the tilt meets the print at
    Q = q d / (d cos t − q sin t), P = p (1 + Q sin t / d). What lies beside the print is `background`.

    `tilt` 0 to 60 and `roll` −180 to 180, in degrees; `zoom` 0.05 to 20; `shift` −1 to 1, a share of the longer side, drawn for each
    direction; `background` 0 to 1: each a number or (low, high); where it is None the print's edge goes on. `distance` 2 to 1000. The
    defaults change nothing.

    Bilinear, after a Gaussian as wide as the picture is smaller than the print, so that no pattern aliases.

    Raises ConfigError for a value outside its range.
    Source: Athalye et al. 2018, supplement: rotation, scale, translation, camera distance, background.
    Differs from it: their three-dimensional objects are flat here.

    >>> v = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])
    >>> Photographed(roll=90).seen(v, Draw(torch.tensor([1]), torch.tensor([0]))).mul(100).round().flatten().tolist()
    [50.0, 0.0, 100.0, 25.0]
    """

    tilt: Range = 0.0
    roll: Range = 0.0
    zoom: Range = 1.0
    shift: Range = 0.0
    background: Range | None = 0.5
    distance: float = 3.0

    def __post_init__(self) -> None:
        within(self, 0.0, 60.0, "tilt")
        within(self, -180.0, 180.0, "roll")
        within(self, 0.05, 20.0, "zoom")
        within(self, -1.0, 1.0, "shift")
        if self.background is not None:
            within(self, 0.0, 1.0, "background")
        within(self, 2.0, 1000.0, "distance")

    def seen(self, v: Images, draw: Draw) -> Images:
        down, across = _pixels(v)
        shift, zoom = 2 * between(draw, "shift", self.shift, v, 2), between(draw, "zoom", self.zoom, v)
        tilt, roll = _DEGREE * between(draw, "tilt", self.tilt, v), _DEGREE * between(draw, "roll", self.roll, v)
        axis = _DEGREE * between(draw, "axis", (0.0, 360.0), v)
        p, q = _turned((across - shift[:, :1]) / zoom, (down - shift[:, 1:]) / zoom, -axis)
        q = q * self.distance / (self.distance * tilt.cos() - q * tilt.sin())
        p = p * (1 + q * tilt.sin() / self.distance)
        across, down = _turned(p, q, axis - roll)
        beside = None if self.background is None else between(draw, "background", self.background, v)
        return resampled(v, down, across, beside)

    @property
    def random(self) -> bool:
        # A print that is tipped at all is tipped any way.
        return super().random or ends(self.tilt)[1] > 0


@dataclass(frozen=True)
class Cropped(View):
    """A window of `share` of each side, anywhere in the image, brought back to the image's size.

    `share` from 0.05 to 1, a number or (low, high); 1 changes nothing.

    Raises ConfigError for a value outside its range.
    Source: Kurakin, Goodfellow & Bengio 2017, section 3: the photograph is cropped to the print.
    Differs from it: their crop follows marks on the paper; here it misses by what `share` leaves.

    >>> v = torch.arange(4.0).reshape(1, 1, 1, 4) / 4
    >>> Cropped(1.0).seen(v, Draw(torch.tensor([1]), torch.tensor([0]))).flatten().tolist()
    [0.0, 0.25, 0.5, 0.75]
    """

    share: Range

    def __post_init__(self) -> None:
        within(self, 0.05, 1.0, "share")

    def seen(self, v: Images, draw: Draw) -> Images:
        share = between(draw, "share", self.share, v)
        return windowed(v, share, share, between(draw, "place", (-1.0, 1.0), v, 2))

    @property
    def random(self) -> bool:
        return ends(self.share)[0] < 1


@dataclass(frozen=True)
class Rescaled(View):
    """Made smaller, to `share` of each side, as a thumbnail is, and brought back to the image's size; both bilinear.

    `share` from 0.05 to 1; a side keeps one pixel at least, and 1 changes nothing.

    Raises ConfigError for a value outside its range.
    Source: Zheng et al. 2016, "Improving the robustness of deep neural networks via stability training": thumbnails among the distortions.
    Differs from it: a share of the side, so that images of any size do; no kernel is named there.

    >>> v = torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 1, 4)
    >>> Rescaled(0.25).seen(v, Draw(torch.tensor([1]), torch.tensor([0]))).flatten().tolist()
    [0.5, 0.5, 0.5, 0.5]
    """

    share: float

    def __post_init__(self) -> None:
        if isinstance(self.share, tuple):
            raise ConfigError(f"rescaled({self.share}): expected a number, one for all images, as 0.75")
        within(self, 0.05, 1.0, "share")

    def seen(self, v: Images, draw: Draw) -> Images:
        high, wide = v.shape[2:]
        size = max(1, round(self.share * high)), max(1, round(self.share * wide))
        small = interpolate(v, size, mode="bilinear", align_corners=False, antialias=True)
        return interpolate(small, (high, wide), mode="bilinear", align_corners=False)


def windowed(v: Images, tall: Tensor, wide: Tensor, place: Tensor) -> Images:
    """Of each image the window of so large shares of its sides `[n, 1, 1, 1]`, `place` `[n, 2, 1, 1]` between its ends at −1 and 1 down and
    across, brought back to the image's size."""
    (down, across), (high, broad), side = _pixels(v), v.shape[2:], max(v.shape[2:])
    tops, sides = (1 - tall) * high / side, (1 - wide) * broad / side
    return resampled(v, tall * down + place[:, :1] * tops, wide * across + place[:, 1:] * sides)


def resampled(v: Images, down: Tensor, across: Tensor, background: Tensor | None = None) -> Images:
    """`v` at the points (`down`, `across`), together `[n, 1, h, w]`, in half sides of the longer side from the centre.

    Beside it lies `background`, or what its border shows. Where a step from pixel to pixel is s > 1 pixels of `v`, it is first
    smoothed by a Gaussian of ½ √(s² − 1) pixels.
    """
    side = max(v.shape[2:])
    down, across = torch.broadcast_tensors(down, across)
    there = (down.abs() <= v.shape[2] / side) & (across.abs() <= v.shape[3] / side)
    v = smoothed(v, _excess(down * side / 2, there), _excess(across * side / 2, there))
    grid = torch.cat([across * side / v.shape[3], down * side / v.shape[2]], dim=1).permute(0, 2, 3, 1)
    if background is None:
        return grid_sample(v, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return background + grid_sample(v - background, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _excess(place: Tensor, there: Tensor) -> Tensor:
    """½ √(s² − 1) `[n, 1, 1, 1]`, s the longest step between neighbours of `place` `[n, 1, h, w]` `there`; 0 where it is no more than 1."""
    steps = (place.diff(dim=axis, append=place.narrow(axis, place.shape[axis] - 1, 1)) for axis in (2, 3))
    squared = sum((step.square() for step in steps), start=torch.zeros_like(place))
    squared = torch.where(there, squared, 0.0).flatten(1).amax(dim=1)
    return 0.5 * (squared - 1).clamp_min(0).sqrt().reshape(-1, 1, 1, 1)


def _pixels(v: Images) -> tuple[Tensor, Tensor]:
    """The centres of the pixels, down `[h, 1]` and across `[w]`, in half sides of the longer side from the centre."""
    (high, wide), side = v.shape[2:], max(v.shape[2:])
    down, across = ((2 * torch.arange(size, device=v.device, dtype=v.dtype) + 1 - size) / side for size in (high, wide))
    return down.unsqueeze(1), across


def _turned(across: Tensor, down: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """A point turned by an angle, from across toward down."""
    return across * angle.cos() - down * angle.sin(), across * angle.sin() + down * angle.cos()
