"""What the suite runs attacks on: small nets whose rows never meet, even in their arithmetic, and samples of two shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from holdfast.core.attack import Attack
from holdfast.engine import Outcome, Pieces, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.views import View

CLASSES = 5


class RowwiseLinear(nn.Module):
    """y = W x + b as one product per row.

    A matrix product over many rows may add in another order for another number of rows, so its last bits are not the row's own.
    """

    def __init__(self, features: int, outputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(outputs, features, generator=generator, dtype=torch.float64) / math.sqrt(features)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.randn(outputs, generator=generator, dtype=torch.float64) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self.weight).sum(dim=2) + self.bias


class Counted(nn.Module):
    """The net it wraps, with its own count of the rows that went forward and of those whose input got a gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self._back)
        return self.net(x)

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def perceptron(features: int, classes: int = CLASSES, width: int = 10) -> nn.Module:
    """A float64 perceptron of three layers, in eval mode, the same at every call."""
    layers = [RowwiseLinear(features, width, 1), nn.Tanh(), RowwiseLinear(width, width, 2), nn.ReLU(), RowwiseLinear(width, classes, 3)]
    return nn.Sequential(nn.Flatten(), *layers).eval()


def convolutional(channels: int = 2, classes: int = CLASSES) -> nn.Module:
    """A small net as users have them: convolution, batch norm with its own statistics, dropout, a linear head; float32, eval."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes),
        )  # fmt: skip
        net(torch.rand(32, channels, 4, 4))
    return net.eval()


@dataclass(frozen=True)
class Case:
    """A net and samples to attack it on."""

    net: nn.Module
    samples: Samples
    stochastic: bool = False
    classes: int = CLASSES
    views: View | None = None

    @property
    def model(self) -> Classifier:
        return Classifier(self.net, self.classes, stochastic=self.stochastic).viewed(self.views)

    def at(self, index: Tensor) -> Case:
        """The same case with the samples at `index`, which keep their ids."""
        s = self.samples
        target = None if s.target is None else s.target[index]
        return replace(self, samples=Samples.of(s.x[index], s.y[index], s.ids[index], target))

    def run(self, attack: Attack, slots: int = 64, harvest: int | None = None, rows: int = 128, seed: int = 0, **more: object) -> Outcome:
        return run(attack, self.model, self.samples, Setting(seed, slots, harvest, Pieces(rows)), **more)  # type: ignore[arg-type]


def case(shape: tuple[int, ...] = (6,), n: int = 24, classes: int = CLASSES, net: nn.Module | None = None, targets: bool = False) -> Case:
    """`n` random samples of `shape`, labelled by the net itself but for every eighth, which it gets wrong; ids with gaps."""
    net = perceptron(math.prod(shape), classes) if net is None else net
    weight = next(net.parameters())
    generator = torch.Generator().manual_seed(n)
    x = torch.rand(n, *shape, generator=generator, dtype=torch.float64).to(weight.dtype)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    target = (y + 1 + torch.arange(n) % (classes - 1)) % classes if targets else None
    y[::8] = (y[::8] + 1) % classes
    return Case(net, Samples.of(x, y, torch.arange(n) * 7 + 3, target), classes=classes)


def flat() -> Case:
    return case((6,))


def images() -> Case:
    return case((2, 4, 4), n=12)
