"""A model and data whose every figure is known: three bands of brightness, the brightest names the class.

Moving each band by at most r closes a gap of 2r, so a sample with gap g is broken within Linf r exactly where g < 2r.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast.data import Dataset
from holdfast.evaluation import Result, evaluate
from holdfast.models import Classifier
from holdfast.parts.threats import Linf

HOSTILE = "<script>alert(1)</script>"
NAMES = ("top & left", HOSTILE, "[red]low[/red]")
GAPS = (0.08, 0.11, 0.14, 0.17, 0.22, 0.26, 0.31, 0.35, 0.39, 0.43, 0.47, 0.51)
RADIUS, RADII = 0.125, (0.05, 0.1, 0.15, 0.2)

Make = Callable[..., Result]


def bands(gaps: Sequence[float] = GAPS) -> tuple[Tensor, Tensor]:
    """`x` `[n, 1, 6, 6]`, `y` `[n]`: sample i has its band of class i mod 3 brighter than the others by its gap."""
    y = torch.arange(len(gaps)) % 3
    x = torch.full((len(gaps), 1, 6, 6), 0.5)
    for i, gap in enumerate(gaps):
        band = 2 * int(y[i])
        x[i] -= gap / 2
        x[i, :, band : band + 2] += gap
    return x, y


def judge() -> nn.Module:
    """Logits: twenty times the mean of each band."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False))
    weight = torch.zeros(3, 6, 6)
    for band in range(3):
        weight[band, 2 * band : 2 * band + 2] = 20 / 12
    net[1].weight.data = weight.reshape(3, 36)
    return net.eval()


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Evaluate the bands; the last sample's label is wrong, unless other data are given."""

    def made(
        x: Tensor | None = None, y: Tensor | None = None, net: nn.Module | None = None, classes: tuple[str, ...] | None = NAMES,
        name: str = "bands", radius: float = RADIUS, count: int = 3,
        attacks: Sequence[str] = ("fgsm()", "pgd(steps=8)", "deepfool()"), **options: Any,
    ) -> Result:  # fmt: skip
        if x is None or y is None:
            x, y = bands()
            y[-1] = (y[-1] + 1) % 3
        data = Dataset(x, y, torch.arange(len(x)) + 100, name, classes)
        out = options.pop("out", None) or tmp_path_factory.mktemp("run") / "run"
        return evaluate(Classifier(net or judge(), count), data, Linf(radius), attacks=attacks, out=out, **options)

    return made


@pytest.fixture(scope="session")
def bands_run(make: Make) -> Result:
    """The usual run: 12 samples, 11 right, 5 broken."""
    return make(radii=RADII)


@pytest.fixture
def halted_run(make: Make, tmp_path: Path) -> Result:
    """A run stopped after its first attack."""
    stopped: list[str] = []
    return make(out=tmp_path / "run", watch=lambda event: stopped.append(event.label), halt=lambda: "00-fgsm" in stopped)
