"""The chains with names: print, photograph and crop; and the transformations of the plane that robust examples were first made for."""

from __future__ import annotations

import math

from holdfast.core.errors import ConfigError
from holdfast.parts.views.blur import Blurred
from holdfast.parts.views.camera import Cropped, Photographed
from holdfast.parts.views.colour import Exposed, Printed
from holdfast.parts.views.jpeg import Jpeg
from holdfast.parts.views.view import Chain


def physical(strength: float = 1.0) -> Chain:
    """From file to file through the physical world: printed, photographed, out of focus, exposed, cropped, stored as JPEG.

    `strength` from 0 to 1 draws every range toward what changes nothing; at 0 JPEG's rounding at quality 100 is left.

    Raises ConfigError for another strength.
    Source: Kurakin, Goodfellow & Bengio 2017, "Adversarial examples in the physical world", section 3: the steps, and their order.
    Differs from it: printer, light and camera are models; the paper gives no figures for its own, so the ranges are ours: those of an
    office printer and of a telephone held by hand, the print cropped within a tenth of its side.

    >>> physical().random, [type(view).__name__ for view in physical().views]
    (True, ['Printed', 'Photographed', 'Blurred', 'Exposed', 'Cropped', 'Jpeg'])
    """
    s = _share(strength)
    return Chain(
        (
            Printed((0, 0.1 * s), (1 - 0.12 * s, 1), (1 - 0.25 * s, 1), (1 - 0.15 * s, 1 + 0.25 * s), 0.01 * s),
            Photographed((0, 15 * s), (-5 * s, 5 * s), (1 - 0.05 * s, 1 + 0.05 * s), (-0.02 * s, 0.02 * s), (0.7, 0.9)),
            Blurred((0, 0.5 * s)),
            Exposed((1 - 0.25 * s, 1 + 0.25 * s), (-0.05 * s, 0.05 * s), (1 - 0.06 * s, 1 + 0.06 * s), 0, (0, 0.02 * s)),
            Cropped((1 - 0.1 * s, 1)),
            Jpeg((100 - 30 * s, 100 - 5 * s)),
        )
    )


def athalye(strength: float = 1.0) -> Chain:
    """The plane's transformations: turned by up to 22.5°, 0.9 to 1.4 times as large, lighter or darker by 0.05, noise up to 0.1.

    `strength` from 0 to 1 draws every range toward what changes nothing.

    Raises ConfigError for another strength.
    Source: Athalye et al. 2018, "Synthesizing robust adversarial examples": the transformations of images in the plane.
    Differs from it: moved by up to a tenth of the side, where theirs stays anywhere inside a larger canvas; what is beside it is grey.

    >>> [type(view).__name__ for view in athalye(0.5).views]
    ['Photographed', 'Exposed']
    """
    s = _share(strength)
    camera = Photographed(0, (-22.5 * s, 22.5 * s), (1 - 0.1 * s, 1 + 0.4 * s), (-0.1 * s, 0.1 * s))
    return Chain((camera, Exposed(offset=(-0.05 * s, 0.05 * s), noise=(0, 0.1 * s))))


def driven_by(strength: float = 1.0) -> Chain:
    """A sign by the road as a passing car sees it: from the side, nearer and farther, in sun and shade, out of focus, with noise.

    `strength` from 0 to 1 draws every range toward what changes nothing.

    Raises ConfigError for another strength.
    Source: Eykholt et al. 2018, section 4.1: distances and angles of a drive-by test; they give no ranges for what they synthesise.

    >>> driven_by(0).random
    False
    """
    s = _share(strength)
    camera = Photographed((0, 20 * s), (-10 * s, 10 * s), (1 - 0.1 * s, 1 + 0.1 * s), (-0.04 * s, 0.04 * s), None)
    light = Exposed((1 - 0.2 * s, 1 + 0.2 * s), (-0.05 * s, 0.05 * s), noise=(0, 0.03 * s))
    return Chain((camera, Blurred((0, 0.8 * s)), light))


def _share(strength: float) -> float:
    if not (isinstance(strength, int | float) and math.isfinite(strength) and 0 <= strength <= 1):
        raise ConfigError(f"strength={strength!r}: expected a number from 0, which changes nothing, to 1")
    return float(strength)
