"""Values as colours: dark to bright for what is never negative, blue over white to red for what may be."""

from __future__ import annotations

import numpy as np
from PIL import Image

from holdfast.report.pictures import PAPER, Array

HEAT = ((0, 0, 20), (70, 10, 105), (185, 50, 75), (245, 140, 25), (252, 253, 190))
SIGNED = ((0, 68, 136), (90, 160, 215), PAPER, (240, 140, 100), (150, 10, 30))


def heat(values: Array, top: float, signed: bool = False, side: int = 112) -> Image.Image:
    """`[h, w]` from 0 (signed: −top) to `top` as colours, with a longer side of about `side` pixels, or its own where that is more."""
    share = np.nan_to_num(np.asarray(values, np.float64)) / max(top, 1e-12)
    place = np.clip((share + 1) / 2 if signed else share, 0, 1)
    stops = np.array(SIGNED if signed else HEAT, np.float64)
    at = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(place, at, stops[:, channel]) for channel in range(3)], axis=-1)
    image = Image.fromarray(np.round(colours).astype(np.uint8))
    factor = max(1, round(side / max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
