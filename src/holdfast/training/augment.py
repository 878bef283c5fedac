"""Augmentations: whole batches at once on the device they are on, each row by noise of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.rows import per_row


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


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {"crop": Crop, "flip": Flip}
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
