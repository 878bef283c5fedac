"""Residual networks of bottlenecks for large images: ResNet-50, -101, -152 and ResNeXt-101 32×8d, with torchvision's names of weights."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError
from holdfast.models.resnets import positive


@final
class Bottleneck(nn.Module):
    """y = ReLU(F(x) + shortcut(x)), F = 1×1, 3×3 (strided, grouped) and 1×1 convolutions, each normalised; 4 · `planes` channels come out.

    The last normalisation's γ starts at 0, so that each block starts as its shortcut. Source: He et al. (2016), figure 5; Goyal et
    al. 2017, "Accurate, large minibatch SGD", section 5.1, for γ and for the stride on the 3×3 convolution.
    """

    def __init__(self, inside: int, planes: int, stride: int, inner: int, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU()
        nn.init.zeros_(self.bn3.weight)
        same = stride == 1 and inside == 4 * planes
        shortcut = nn.Conv2d(inside, 4 * planes, 1, stride, bias=False)
        self.downsample = None if same else nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


@final
class BottleneckNet(nn.Module):
    """A 7×7 stem with pooling, four stages of `counts` bottlenecks, the mean over the map, a linear layer `fc`.

    A stage is the chain `layer1` … `layer4`; it has 4 · `width` channels and more by 2 each time, and each but the first halves the map.
    """

    def __init__(self, counts: tuple[int, int, int, int], width: int, classes: int, channels: int, groups: int = 1, share: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        inside = width
        for place, count in enumerate(counts):
            planes = width * 2**place
            stage = nn.Sequential()
            for number in range(count):
                stage.append(Bottleneck(inside, planes, 2 if place and not number else 1, planes * share, groups))
                inside = 4 * planes
            self.add_module(f"layer{place + 1}", stage)
        self.fc = nn.Linear(inside, classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stage(self, place: int) -> nn.Sequential:
        """The chain of bottlenecks of stage 1, 2, 3 or 4."""
        found = self.get_submodule(f"layer{place}")
        assert isinstance(found, nn.Sequential)
        return found

    def forward(self, x: Tensor) -> Tensor:
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for place in range(1, 5):
            y = self.stage(place)(y)
        return self.fc(torch.flatten(y.mean(dim=(2, 3)), 1))


def _made(counts: tuple[int, int, int, int], width: int, classes: int, channels: int, groups: int = 1, share: int = 1) -> BottleneckNet:
    width, inner = positive("width", width), width * share
    if inner % groups:
        raise ConfigError(f"width={width}: {inner} channels do not fall into {groups} groups; take a multiple of {groups // share}")
    return BottleneckNet(counts, width, positive("classes", classes), positive("channels", channels), groups, share)


def resnet50(classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-50 for large images `[n, channels, h, w]`: stages of 3, 4, 6 and 3 bottlenecks, 4 · `width` to 32 · `width` channels.

    Random weights, training mode. Source: He et al. (2016), table 1. *Differs from* it: the stride stands on the 3×3 convolution, as in
    torchvision, whose weights fit.

    Raises ConfigError for a count below one.

    >>> resnet50(classes=5, width=8).eval()(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 5])
    """
    return _made((3, 4, 6, 3), width, classes, channels)


def resnet101(classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-101: as `resnet50`, with stages of 3, 4, 23 and 3 bottlenecks.

    Random weights, training mode. Source: He et al. (2016), table 1.

    Raises ConfigError for a count below one.
    """
    return _made((3, 4, 23, 3), width, classes, channels)


def resnet152(classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-152: as `resnet50`, with stages of 3, 8, 36 and 3 bottlenecks.

    Random weights, training mode. Source: He et al. (2016), table 1.

    Raises ConfigError for a count below one.
    """
    return _made((3, 8, 36, 3), width, classes, channels)


def resnext101(classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNeXt-101 32×8d: as `resnet101`, each 3×3 convolution in 32 groups and four times as wide.

    Random weights, training mode. Source: Xie, Girshick, Dollár, Tu & He 2017, "Aggregated residual transformations", section 3.

    Raises ConfigError for a count below one, or a width that 32 groups do not divide.
    """
    return _made((3, 4, 23, 3), width, classes, channels, groups=32, share=4)
