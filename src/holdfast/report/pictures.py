"""From values to pictures: images where inputs are images, bars elsewhere, as PNG data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

SIDE = 112
LARGEST = 256
BARS = 112
PAPER, INK, GREY = (255, 255, 255), (0, 114, 178), (128, 128, 128)

Array = np.ndarray[Any, Any]


def scaled(values: Array, low: Any, high: Any, like: Array | None = None) -> Array:
    """Values `[c, ...]` from the model's range (numbers, or one per channel) to 0..1.

    Where the range is not finite, that of `like` (or of the values) stands in.
    """
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    floor, ceiling = _spread(low, values), _spread(high, values)
    if not (np.isfinite(floor).all() and np.isfinite(ceiling).all()):
        base = np.nan_to_num(np.asarray(values if like is None else like, dtype=np.float64))
        floor, ceiling = base.min(), base.max()
    return np.asarray((values - floor) / np.maximum(ceiling - floor, 1e-12))


def amplified(clean: Array, found: Array) -> tuple[Array, float]:
    """The difference of two scaled inputs around 0.5, so that the largest change reaches 0 or 1; and the factor it took."""
    change = found - clean
    factor = 0.5 / max(float(np.abs(change).max()), 1e-12)
    return 0.5 + factor * change, factor


def is_image(values: Array) -> bool:
    return values.ndim == 3 and values.shape[0] in (1, 3, 4)


def drawn(values: Array, middle: bool = False, side: int = SIDE, largest: int = LARGEST) -> Image.Image:
    """Values in 0..1: `[c, h, w]` with 1, 3 or 4 channels as an image whose longer side has about `side` to `largest` pixels (small ones
    grow by whole factors), anything else as bars, from the `middle` for differences, whose transparency is not shown."""
    values = np.clip(values, 0.0, 1.0)
    if middle and is_image(values):
        values = values[:3]
    image = Image.fromarray(_pixels(values) if is_image(values) else _bars(values.reshape(-1), middle))
    longest = max(image.size)
    if longest > largest:
        image = image.resize((max(1, image.width * largest // longest), max(1, image.height * largest // longest)), Image.Resampling.BOX)
    elif longest < side:
        factor = round(side / longest)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return image


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file: the same for the same picture."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def source(image: Image.Image) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def picture(values: Array, middle: bool = False) -> str:
    """`drawn` as a data URI."""
    return source(drawn(values, middle))


def _spread(bound: Any, values: Array) -> Array:
    """A bound ready to broadcast against `values` `[c, ...]`."""
    array = np.asarray(bound, dtype=np.float64)
    return array.reshape((-1,) + (1,) * (values.ndim - 1)) if array.ndim else array


def _pixels(values: Array) -> Array:
    whole = np.round(values * 255).astype(np.uint8)
    return whole[0] if len(whole) == 1 else np.ascontiguousarray(whole.transpose(1, 2, 0))


def _bars(values: Array, middle: bool) -> Array:
    """One bar per value, or per run of values where there are many."""
    if len(values) > BARS:
        values = np.array([run[np.abs(run - 0.5).argmax()] if middle else run.mean() for run in np.array_split(values, BARS)])
    width = max(1, BARS // len(values))
    height = 1 - (np.arange(SIDE)[:, None] + 0.5) / SIDE
    top, bottom = (np.maximum(values, 0.5), np.minimum(values, 0.5)) if middle else (values, np.zeros_like(values))
    filled = (height <= top) & (height >= bottom)
    filled = np.repeat(filled, width, axis=1)
    if width > 2:
        filled[:, ::width] = False
    pixels = np.where(filled[..., None], np.array(INK), np.array(PAPER)).astype(np.uint8)
    pixels[SIDE // 2 if middle else SIDE - 1] = GREY
    return pixels
