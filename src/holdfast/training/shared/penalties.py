"""Penalties on the perturbation itself: how large, and how hard to print, it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.types import Points

Colour = tuple[float, ...]


class Penalty(ABC):
    """A number that grows with what is unwanted in `p` `[1, ...]`; its gradient is asked of autograd."""

    @abstractmethod
    def __call__(self, p: Points) -> Float[Tensor, ""]: ...


@dataclass(frozen=True)
class Length(Penalty):
    """λ ‖p‖_power with power 1 or 2 (Eykholt et al. 2018).

    Raises ConfigError for another power or a negative weight.

    >>> Length(0.5, 1)(torch.tensor([[3.0, -4.0]])).item()
    3.5
    """

    weight: float
    power: int = 2

    def __post_init__(self) -> None:
        if self.power not in (1, 2) or not self.weight >= 0:
            raise ConfigError(f"{self}: expected power 1 or 2 and a weight of at least 0")

    def __call__(self, p: Points) -> Float[Tensor, ""]:
        return self.weight * (p.abs().sum() if self.power == 1 else p.norm())


@dataclass(frozen=True)
class NonPrintability(Penalty):
    """λ Σ_{pixels p̂} Π_{c ∈ palette} |p̂ − c| (Sharif et al. 2016), the distance of a pixel's colour to one that a printer has.

    `palette`: colours in the input's units, one number per channel; a pixel that has a printable colour costs nothing.

    Raises ConfigError for an empty palette or a negative weight.

    >>> round(NonPrintability(1.0, ((0.0,), (1.0,)))(torch.full((1, 1, 1, 2), 0.25)).item(), 4)
    0.375
    """

    weight: float
    palette: tuple[Colour, ...]

    def __post_init__(self) -> None:
        colours = isinstance(self.palette, tuple) and all(isinstance(colour, tuple) for colour in self.palette)
        if not colours or not self.palette or not self.weight >= 0:
            raise ConfigError(f"{self}: expected a palette of colours, as in ((0, 0, 0), (1, 1, 1)), and a weight of at least 0")

    def __call__(self, p: Points) -> Float[Tensor, ""]:
        pixels = p.flatten(2).transpose(1, 2).flatten(0, 1)
        if any(len(colour) != pixels.shape[1] for colour in self.palette):
            raise ConfigError(f"palette {self.palette}: expected {pixels.shape[1]} numbers a colour, one for each channel")
        gap = pixels.unsqueeze(1) - p.new_tensor(self.palette)
        return self.weight * gap.norm(dim=2).prod(dim=1).sum()
