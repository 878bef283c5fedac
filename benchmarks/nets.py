"""Small nets that the references are made on and the catalogue does not have."""

from __future__ import annotations

from torch import nn

from holdfast.models import preact_resnet18


def strided(channels: int, classes: int) -> nn.Module:
    """Three convolutions with stride 2 and batch norm, then two linear layers: `[n, channels, h, w]`, 28×28 or 32×32."""
    layers: list[nn.Module] = []
    for inside, outside in ((channels, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU(), nn.Linear(256, classes))


def halved_preact() -> nn.Module:
    """A PreAct-ResNet-18 of width 24 whose stem halves the map: a quarter of the work, for processors."""
    net = preact_resnet18(width=24)
    net.conv1 = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
    return net
