"""Small nets that the references are made on and the catalogue does not have."""

from __future__ import annotations

from torch import nn

from holdfast.models import preact_resnet18


def traffic_net() -> nn.Module:
    """Three convolutions with stride 2 and batch norm, then two linear layers: `[n, 3, 32, 32]` to 43 kinds of traffic signs."""
    layers: list[nn.Module] = []
    for inside, outside in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU(), nn.Linear(256, 43))


def halved_preact() -> nn.Module:
    """A PreAct-ResNet-18 of width 24 whose stem halves the map: a quarter of the work, for processors."""
    net = preact_resnet18(width=24)
    net.conv1 = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
    return net
