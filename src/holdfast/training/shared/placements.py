"""Placements: how one shared perturbation gets onto each input, and how large it may be. `p` is `[1, ...]`, with no row of its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds, Points, Threat
from holdfast.parts.threats import Additive
from holdfast.training.shared.masks import Mask, Square, centres

_FREE = Bounds(-math.inf, math.inf)


class Placement(ABC):
    """`fresh` begins p for inputs like `x` `[n, ...]`; `apply` puts p on each of them, inside `bounds`; `project` keeps p admissible."""

    @abstractmethod
    def fresh(self, x: Points, bounds: Bounds, draw: Draw) -> Tensor: ...

    @abstractmethod
    def apply(self, x: Points, p: Tensor, bounds: Bounds, draw: Draw) -> Tensor: ...

    @abstractmethod
    def project(self, p: Tensor, bounds: Bounds) -> Tensor: ...

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The step of the whole radius that climbs the linear function `g` most."""

    @abstractmethod
    def size(self, p: Tensor) -> float:
        """How large p is, in the units of the radius."""


@dataclass(frozen=True)
class Added(Placement):
    """x' = clamp(x + M p), p in the ball of `threat` (whose radius may be infinite); the mask M everywhere unless given.

    The ball is held by p itself; the valid range by x', since how far p may go depends on each x.

    Raises ConfigError for a threat that is no norm ball.

    >>> from holdfast import Linf
    >>> added = Added(Linf(0.1))
    >>> added.project(torch.tensor([[0.3, -0.05]]), Bounds())
    tensor([[ 0.1000, -0.0500]])
    """

    threat: Threat
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Additive):
            raise ConfigError(f"{self.threat!r} is no norm ball: a shared perturbation is added, choose Linf, L2, L1 or L0")

    def fresh(self, x: Points, bounds: Bounds, draw: Draw) -> Tensor:
        if self.mask is not None and x.ndim != 4:
            raise ConfigError(f"a mask lies on images [n, c, h, w], not on inputs of shape {list(x.shape)}: choose a method without one")
        return torch.zeros_like(x[:1])

    def apply(self, x: Points, p: Tensor, bounds: Bounds, draw: Draw) -> Tensor:
        return bounds.clamp(x + self._masked(p))

    def project(self, p: Tensor, bounds: Bounds) -> Tensor:
        # No value can move farther than the range is wide.
        low, high = bounds.pair(p)
        p = torch.clamp(self._masked(p), low - high, high - low)  # type: ignore[arg-type]
        if math.isinf(self.threat.radius):
            return p
        return self.threat.within(_FREE).project(torch.zeros_like(p), p)

    def steepest(self, g: Tensor) -> Tensor:
        return self.threat.radius * self.threat.steepest(g)  # type: ignore[attr-defined]

    def size(self, p: Tensor) -> float:
        return float(self.threat.size(torch.zeros_like(p), p))

    def _masked(self, p: Tensor) -> Tensor:
        return p if self.mask is None else p * self.mask(p)


@dataclass(frozen=True)
class Pasted(Placement):
    """x' = (1 − M_t) x + p_t: a picture p `[1, c, s, s]` covers a part of x; its place, size and turn t are drawn per row.

    `side`: the patch's side as a share of the image's shorter one, times a scale between `least` and 1; `turn` in degrees, ±;
    the place is uniform among those where the upright patch lies wholly inside.

    Raises ConfigError for shares outside (0, 1].
    """

    side: float = 0.4
    least: float = 0.6
    turn: float = 20.0
    shape: Mask = Square()

    def __post_init__(self) -> None:
        if not (0 < self.side <= 1 and 0 < self.least <= 1 and 0 <= self.turn <= 180):
            raise ConfigError(f"{self}: expected side and least (the smallest scale) in (0, 1], turn in 0..180 degrees")

    def fresh(self, x: Points, bounds: Bounds, draw: Draw) -> Tensor:
        if x.ndim != 4 or not bounds.finite:
            raise ConfigError(f"a patch needs images [n, c, h, w] of finite range, not inputs {list(x.shape)} in {bounds}")
        pixels = max(1, round(self.side * min(x.shape[-2:])))
        low, high = bounds.pair(x)
        return low + (high - low) * draw.uniform("patch", (x.shape[1], pixels, pixels), x.dtype)

    def apply(self, x: Points, p: Tensor, bounds: Bounds, draw: Draw) -> Tensor:
        height, width = x.shape[-2:]
        u = draw.uniform("paste", (4,), x.dtype)
        scale = self.least + (1 - self.least) * u[:, 0]
        angle = math.radians(self.turn) * (2 * u[:, 1] - 1)
        pixels = scale * p.shape[-1]
        # The middle of the patch, in pixels, so far from every edge that the upright patch is inside.
        right, low = ((pixels / 2 + (side - pixels) * u[:, i]) for side, i in ((width, 2), (height, 3)))
        across = (centres(width, x) + 1) * width / 2 - right.reshape(-1, 1, 1)
        down = ((centres(height, x) + 1) * height / 2).unsqueeze(1) - low.reshape(-1, 1, 1)
        c, s, half = (value.reshape(-1, 1, 1) for value in (angle.cos(), angle.sin(), pixels / 2))
        place = torch.stack([(c * across + s * down) / half, (c * down - s * across) / half], dim=3)
        # One ring of nothing around it: bilinear edges would else fade within the patch.
        ring = 1 + 2 / p.shape[-1]
        mask = self.shape(p)
        carried = pad(torch.cat([p * mask, mask], dim=1), (1, 1, 1, 1)).expand(len(x), -1, -1, -1)
        shown = grid_sample(carried, place / ring, mode="bilinear", padding_mode="zeros", align_corners=False)
        return bounds.clamp(x * (1 - shown[:, -1:]) + shown[:, :-1])

    def project(self, p: Tensor, bounds: Bounds) -> Tensor:
        return bounds.clamp(p)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def size(self, p: Tensor) -> float:
        """Its side in pixels."""
        return float(p.shape[-1])
