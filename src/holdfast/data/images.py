"""Pictures of any origin, made into one uint8 array: a colour mode, a size, a check that all are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from holdfast.core.errors import ConfigError, InputError
from holdfast.data.source import Source

OPTIONS = ("size", "resize", "channels")
Pixels = NDArray[np.uint8]
MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Frame:
    """How a picture is cut and coloured before it enters the array.

    `size` None leaves it at its own size; else its shorter side becomes `resize` pixels (bilinear) and the `size` × `size`
    pixels in its centre are kept. `channels`: 1 (grey), 3 (RGB), or None: 1 for grey pictures and 3 for others.
    """

    size: int | None = None
    resize: int | None = None
    channels: int | None = 3

    @classmethod
    def of(cls, source: Source, channels: int | None = 3) -> Frame:
        """The frame that the options `size`, `resize` (= size unless given) and `channels` (else the argument) ask for.

        Raises ConfigError for numbers that make no frame.
        """
        size = source.number("size")
        resize = source.number("resize", size)
        channels = source.number("channels", channels)
        if channels is not None and channels not in MODES:
            raise ConfigError(f"data {source.spec!r}: channels={channels}: expected 1 (grey) or 3 (RGB)")
        if resize is not None and (size is None or resize < size):
            raise ConfigError(f"data {source.spec!r}: resize={resize}, size={size}: expected resize >= size, as in resize=256&size=224")
        return cls(size, resize, channels)

    def apply(self, picture: Image.Image) -> Image.Image:
        """The picture inside the frame.

        Raises ValueError for pictures with more than eight bits a channel, which 0..255 cannot hold.
        """
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f"mode {picture.mode} has more than 8 bits a channel")
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        picture = picture.convert(MODES[self.channels or (1 if picture.mode in ("1", "L") else 3)])
        if self.size is None or self.resize is None:
            return picture
        width, height = picture.size
        short = min(width, height)
        picture = picture.resize((self.resize * width // short, self.resize * height // short), Image.Resampling.BILINEAR)
        left, top = round((picture.width - self.size) / 2), round((picture.height - self.size) / 2)
        return picture.crop((left, top, left + self.size, top + self.size))


def stack(
    pictures: Iterable[tuple[str, Image.Image]], count: int, frame: Frame, source: Source,
    room: Callable[[tuple[int, ...]], Pixels] = lambda shape: np.empty(shape, np.uint8),
) -> Tensor:  # fmt: skip
    """`count` named pictures as uint8 `[n, c, h, w]`, a view of `[n, h, w, c]` in what `room` makes; decoded one at a time.

    Raises InputError for a picture that cannot be decoded, or whose size differs from the first.
    """
    pixels, first = np.empty((0, 0, 0, 0), np.uint8), ""
    for place, (name, picture) in enumerate(pictures):
        try:
            framed = frame.apply(picture)
            array = np.asarray(framed).reshape(framed.height, framed.width, -1)
        except Exception as error:  # a damaged picture can raise anything on its way through the decoders
            raise InputError(f"data {source.spec!r}: {name} cannot be decoded ({error}): mend it or take it out") from error
        if place == 0:
            pixels, first = room((count, *array.shape)), name
        elif array.shape != pixels.shape[1:]:
            sizes = f"{name} is {_size(array.shape)}, {first} is {_size(pixels.shape[1:])}"
            option = "size=224" if array.shape[:2] != pixels.shape[1:3] else "channels=3"
            remedy = f"{source.spec}{'&' if source.options else '?'}{option}"
            raise InputError(f"data {source.spec!r}: {sizes}: pictures must be of one size: pass {remedy}")
        pixels[place] = array
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}x{height}{' grey' if channels == 1 else ''}"
