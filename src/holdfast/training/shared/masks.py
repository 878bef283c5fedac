"""Masks: which part of an image a sticker may cover, drawn at any size; values in [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from holdfast.core.errors import ConfigError, InputError
from holdfast.core.types import Points


class Mask(ABC):
    """The share of each place that may change, as `[1, 1, h, w]` in [0, 1] for an image like `x` `[n, c, h, w]`."""

    @abstractmethod
    def __call__(self, x: Points) -> Tensor: ...


@dataclass(frozen=True)
class Bars(Mask):
    """Two horizontal sticker bars, above and below the middle, as on a stop sign (Eykholt et al. 2018, figure 1).

    `width`, `height` of a bar and the `offset` of its middle from the image's, all as shares of the image's side.

    Raises ConfigError for bars that meet or leave the image.

    >>> Bars(0.5, 0.25, 0.25)(torch.zeros(1, 3, 8, 8)).sum(dim=(2, 3)).tolist()
    [[16.0]]
    """

    width: float = 0.88
    height: float = 0.24
    offset: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.width <= 1 and 0 < self.height / 2 <= self.offset and self.offset + self.height / 2 <= 0.5):
            raise ConfigError(
                f"{self}: expected bars within the image that do not meet: width <= 1, height / 2 <= offset <= 0.5 - height / 2"
            )

    def __call__(self, x: Points) -> Tensor:
        across, down = (centres(side, x).abs() / 2 for side in (x.shape[-1], x.shape[-2]))
        row = ((down - self.offset).abs() < self.height / 2).unsqueeze(1)
        return (row & (across < self.width / 2)).to(x.dtype)[None, None]


@dataclass(frozen=True)
class Square(Mask):
    """All of it."""

    def __call__(self, x: Points) -> Tensor:
        return x.new_ones(1, 1, *x.shape[-2:])


@dataclass(frozen=True)
class Disc(Mask):
    """The ellipse that touches all four sides.

    >>> round(Disc()(torch.zeros(1, 1, 100, 100)).mean().item(), 2)
    0.79
    """

    def __call__(self, x: Points) -> Tensor:
        across, down = (centres(side, x) for side in (x.shape[-1], x.shape[-2]))
        return (across.square() + down.square().unsqueeze(1) <= 1).to(x.dtype)[None, None]


@dataclass(frozen=True)
class Picture(Mask):
    """A picture file, white where the sticker may be, scaled to the image (area averages)."""

    path: str

    def __call__(self, x: Points) -> Tensor:
        try:
            with Image.open(Path(self.path)) as picture:
                drawn = picture.convert("L").resize((x.shape[-1], x.shape[-2]), Image.Resampling.BOX)
        except (OSError, ValueError) as error:
            raise InputError(
                f"mask {self.path!r} cannot be read ({error}): give bars, square, disc, or a picture that is white inside"
            ) from error
        return torch.from_numpy(np.asarray(drawn, dtype=np.float32) / 255).to(x)[None, None]


def centres(side: int, like: Tensor) -> Tensor:
    """The middles of `side` pixels along an axis from −1 to 1: `[side]`."""
    return (torch.arange(side, dtype=like.dtype, device=like.device) * 2 + 1) / side - 1


MASKS: dict[str, Mask] = {"bars": Bars(), "disc": Disc(), "square": Square()}


def mask_of(mask: Mask | str) -> Mask:
    """A mask by name (`bars`, `disc`, `square`), or from a picture file.

    Raises ConfigError for a name that is neither.
    """
    if isinstance(mask, Mask):
        return mask
    if mask in MASKS:
        return MASKS[mask]
    if Path(mask).suffix:
        return Picture(mask)
    raise ConfigError(f"mask {mask!r} is unknown: choose one of {', '.join(MASKS)}, or name a picture file")
