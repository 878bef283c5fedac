"""Augmentations: whole batches at once on the device they are on, each row by noise of its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.rows import per_row
from holdfast.parts.views.camera import windowed
from holdfast.parts.views.colour import luma
from holdfast.parts.views.view import between


class Augmentation(ABC):
    """Inputs `[n, c, h, w]` of any type as another sight of the same things."""

    @abstractmethod
    def __call__(self, x: Tensor, draw: Draw) -> Tensor: ...


@dataclass(frozen=True)
class Crop(Augmentation):
    """Moved by up to an eighth of the shorter side, each way, what enters being 0.

    >>> draw = Draw(torch.tensor([7]), torch.tensor([0]))
    >>> Crop()(torch.ones(1, 1, 8, 8), draw).shape
    torch.Size([1, 1, 8, 8])
    """

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        high, wide = x.shape[2:]
        most = max(1, min(high, wide) // 8)
        place = draw.integer("crop", (2,), 2 * most + 1)
        down, across = (place[:, i, None] + torch.arange(size, device=x.device) for i, size in ((0, high), (1, wide)))
        row = torch.arange(len(x), device=x.device)[:, None, None]
        return pad(x, (most,) * 4).permute(0, 2, 3, 1)[row, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Left and right exchanged, in half of the rows. Not for what can be read: letters, digits, most traffic signs."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        return torch.where(per_row(draw.sign("flip", (1,)).squeeze(1) > 0, x), x.flip(3), x)


@dataclass(frozen=True)
class Zoom(Augmentation):
    """A window of 8 % to all of the area, its sides from 3 : 4 to 4 : 3 of the image's, anywhere in it, brought to the image's size.

    As nets for ImageNet are trained (Szegedy et al. 2015, arXiv:1409.4842, section 6). Differs from common code: a side longer than the
    image's is cut, where there another window is drawn; the sides' ratio is uniform in its logarithm.

    >>> Zoom()(torch.ones(1, 1, 8, 8), Draw(torch.tensor([7]), torch.tensor([0]))).shape
    torch.Size([1, 1, 8, 8])
    """

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        v = x if x.is_floating_point() else x.float()
        area, slant, place = (
            between(draw, "area", (0.08, 1.0), v),
            between(draw, "slant", (-1.0, 1.0), v),
            between(draw, "place", (-1.0, 1.0), v, 2),
        )
        tall, wide = ((area * (sign * slant * math.log(4 / 3)).exp()).sqrt().clamp_max(1) for sign in (-1, 1))
        seen = windowed(v, tall, wide, place)
        return seen if x.is_floating_point() else seen.round().to(x.dtype)


@dataclass(frozen=True)
class Colour(Augmentation):
    """Brighter or darker, in more or less contrast, more or less coloured, each by a factor from 0.6 to 1.4 of its own, in this order.

    Brightness b v; contrast m + c (v − m), m the image's mean luma; saturation l + s (v − l), l each pixel's luma. uint8 images alone.

    Raises InputError for floats, whose white is not known here.
    Source: facebookarchive/fb.resnet.torch, whose recipe papers on ImageNet follow. Differs from it: the order is not shuffled,
    each result is cut off at black and white, and there is no noise along the colours' principal axes.

    >>> Colour()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), Draw(torch.tensor([7]), torch.tensor([0]))).max()
    tensor(0, dtype=torch.uint8)
    """

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        if x.dtype != torch.uint8:
            raise InputError(f"augmentation colour: inputs are {x.dtype}, expected uint8 0..255; store them so, or leave colour out")
        v = x.float()
        bright, contrast, strong = (between(draw, name, (0.6, 1.4), v) for name in ("brightness", "contrast", "saturation"))
        v = (bright * v).clamp(0, 255)
        mean = luma(v).mean(dim=(2, 3), keepdim=True)
        v = (mean + contrast * (v - mean)).clamp(0, 255)
        grey = luma(v)
        return (grey + strong * (v - grey)).clamp(0, 255).round().to(torch.uint8)


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {"crop": Crop, "flip": Flip, "zoom": Zoom, "colour": Colour}
"""The augmentations by name."""


def augmentations(names: str) -> tuple[Augmentation, ...]:
    """Those of the `names`, separated by commas; of an empty string none.

    Raises ConfigError for a name that there is not.

    >>> augmentations("crop,flip")
    (Crop(), Flip())
    """
    given = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    for name in given:
        if name not in AUGMENTATIONS:
            raise ConfigError(f"augmentation {name!r} is unknown: choose of {', '.join(AUGMENTATIONS)}, separated by commas, or none")
    return tuple(AUGMENTATIONS[name]() for name in given)


def augmented(x: Tensor, made: tuple[Augmentation, ...], draw: Draw) -> Tensor:
    """The inputs under all of the augmentations, in order.

    Raises InputError for inputs that are no images.
    """
    if made and x.ndim != 4:
        raise InputError(f"augmentations are of images [n, c, h, w], not of inputs {list(x.shape)}: leave them out")
    for augmentation in made:
        x = augmentation(x, draw)
    return x
