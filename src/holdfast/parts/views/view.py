"""`View`: one thing that happens to an image on its way to a model; `Chain`: several, one after the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from jaxtyping import Float
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.types import Bounds

Images = Float[Tensor, "n c h w"]
Range = float | tuple[float, float]
"""A number, or the two ends between which each row draws its own, uniformly."""


class View(ABC):
    """x' = T(x; θ), θ drawn for each row from its own `Draw`: the same draw gives the same view, whatever company the row keeps.

    `[n, c, h, w]` in the model's bounds, which must have two ends; of any number of channels. Everything is differentiable in x.
    """

    def __call__(self, x: Tensor, draw: Draw, bounds: Bounds) -> Tensor:
        """The view of `x` `[n, c, h, w]`, in the same range.

        Raises InputError for inputs that are no images, ConfigError for a range without two ends.
        """
        if x.ndim != 4:
            raise InputError(f"inputs of shape {list(x.shape)}: a view is of images [n, c, h, w]; reshape them, and flatten inside the net")
        if not bounds.finite:
            raise ConfigError(f"bounds {bounds.low} to {bounds.high}: a view needs to know black and white; give Classifier(bounds=(0, 1))")
        low, high = bounds.pair(x)
        return low + (high - low) * self.seen((x - low) / (high - low), draw)

    @abstractmethod
    def seen(self, v: Images, draw: Draw) -> Images:
        """The view of images in [0, 1], 0 being black."""

    @property
    def random(self) -> bool:
        """Whether two draws may differ."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return any(low < high for low, high in (ends(value) for value in values if value is not None))


@dataclass(frozen=True)
class Chain(View):
    """T = T_k ∘ … ∘ T_1: the `views` in order, each with noise of its own.

    >>> from holdfast.parts.views import Blurred, Jpeg
    >>> Chain((Blurred(0.5), Jpeg(75))).random, Chain((Blurred((0, 1)), Jpeg(75))).random
    (False, True)
    """

    views: tuple[View, ...]

    def seen(self, v: Images, draw: Draw) -> Images:
        for place, view in enumerate(self.views):
            v = view.seen(v, draw.apart(place))
        return v

    @property
    def random(self) -> bool:
        return any(view.random for view in self.views)


def ends(value: Range) -> tuple[float, float]:
    """The two ends of a range; a number is both."""
    return value if isinstance(value, tuple) else (value, value)


def between(draw: Draw, name: str, value: Range, like: Tensor, count: int = 1) -> Tensor:
    """`count` numbers of the range for each row: `[n, count, 1, 1]`."""
    low, high = ends(value)
    if low == high:
        return like.new_full((len(like), count, 1, 1), low)
    return low + (high - low) * draw.uniform(name, (count, 1, 1), like.dtype)


def within(view: View, least: float, most: float, *names: str) -> None:
    """Raise ConfigError unless the ranges of these names lie in [`least`, `most`] and are in order."""
    for name in names:
        given = getattr(view, name)
        numbers = given if isinstance(given, tuple) else (given, given)
        sound = len(numbers) == 2 and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        if not sound or not least <= numbers[0] <= numbers[1] <= most:
            raise ConfigError(
                f"{type(view).__name__}({name}={given!r}): expected a number from {least:g} to {most:g}, or two in ascending order"
            )
