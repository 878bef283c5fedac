"""Residual networks for small images: the CIFAR ResNet-20, and the pre-activation PreAct-ResNet-18 and Wide ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn
from torch.nn.functional import pad

from holdfast.core.errors import ConfigError


def positive(name: str, value: int) -> int:
    """`value`, where it is a whole number above zero.

    Raises ConfigError otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: expected a whole number, 1 or more")
    return value


def _conv3(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    # No bias: the normalisation that follows would take it out again.
    return nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)


@final
class Subsample(nn.Module):
    """A shortcut without parameters: every `stride`-th pixel, with `extra` zero channels in front and as many behind.

    `[n, c, h, w]` becomes `[n, c + 2 · extra, ⌈h / stride⌉, ⌈w / stride⌉]`. Source: He et al. (2016), 4.2, option A.
    """

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))


@final
class BasicBlock(nn.Module):
    """y = ReLU(F(x) + shortcut(x)), F = two 3×3 convolutions, each normalised. Source: He et al. (2016), figure 2."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3(inside, outside, stride)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = _conv3(outside, outside)
        self.bn2 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU()
        same = stride == 1 and inside == outside
        self.shortcut: nn.Module = nn.Identity() if same else Subsample(stride, (outside - inside) // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


@final
class PreActivationBlock(nn.Module):
    """y = F(a) + shortcut, a = ReLU(norm(x)); the shortcut is x, or a 1×1 convolution of a where the shape changes.

    Source: He et al., "Identity mappings in deep residual networks" (ECCV 2016), figure 1(b).
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = _conv3(inside, outside, stride)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = _conv3(outside, outside)
        self.relu = nn.ReLU()
        same = stride == 1 and inside == outside
        # A chain of one, because published weights call it shortcut.0.
        self.shortcut = None if same else nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        y = self.conv2(self.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


def _stage(block: type[BasicBlock] | type[PreActivationBlock], inside: int, outside: int, stride: int, count: int) -> nn.Sequential:
    first = block(inside, outside, stride)
    return nn.Sequential(first, *(block(outside, outside, 1) for _ in range(count - 1)))


@final
class ResNet20(nn.Module):
    """The module that `resnet20` returns."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(BasicBlock, 16, 16, stride=1, count=3)
        self.layer2 = _stage(BasicBlock, 16, 32, stride=2, count=3)
        self.layer3 = _stage(BasicBlock, 32, 64, stride=2, count=3)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.linear(y.mean(dim=(2, 3)))


@final
class PreActivationNet(nn.Module):
    """A 3×3 stem, stages of pre-activation blocks, a last normalisation, the mean over the map, a linear layer.

    Every stage but the first halves the map.
    """

    def __init__(self, stem: int, widths: Sequence[int], count: int, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, stem)
        insides = (stem, *widths)
        self.stages = len(widths)
        for place, (inside, outside) in enumerate(zip(insides, widths, strict=False), start=1):
            stride = 1 if place == 1 else 2
            self.add_module(f"layer{place}", _stage(PreActivationBlock, inside, outside, stride, count))
        self.bn = nn.BatchNorm2d(insides[-1])
        self.relu = nn.ReLU()
        self.linear = nn.Linear(insides[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        for place in range(1, self.stages + 1):
            y = self.get_submodule(f"layer{place}")(y)
        return self.linear(self.relu(self.bn(y)).mean(dim=(2, 3)))


def resnet20(classes: int = 10, channels: int = 3) -> ResNet20:
    """The CIFAR ResNet-20 for `[n, channels, h, w]`: three stages of three blocks, shortcuts without parameters.

    Random weights, training mode. Source: He et al., "Deep residual learning" (CVPR 2016), section 4.2.
    *Differs from* the paper: the zero channels stand in front and behind in equal parts, as published weights expect.

    Raises ConfigError for a count below one.

    >>> import torch
    >>> resnet20().eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ResNet20(positive("classes", classes), positive("channels", channels))


def preact_resnet18(width: int = 64, classes: int = 10, channels: int = 3) -> PreActivationNet:
    """PreAct-ResNet-18 for small images `[n, channels, h, w]`: four stages of two blocks, `width` to 8 · `width` channels.

    Random weights, training mode. Source: He et al., "Identity mappings in deep residual networks" (ECCV 2016).
    *Differs from* the paper: a 3×3 stem without pooling, as is usual at 32×32.

    Raises ConfigError for a count below one.

    >>> import torch
    >>> preact_resnet18(width=8).eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    width = positive("width", width)
    widths = [width, 2 * width, 4 * width, 8 * width]
    return PreActivationNet(width, widths, 2, positive("classes", classes), positive("channels", channels))


def wide_resnet(depth: int = 28, widen: int = 10, classes: int = 10, channels: int = 3) -> PreActivationNet:
    """WRN-`depth`-`widen` for small images `[n, channels, h, w]`: three stages of (depth − 4) / 6 blocks.

    16, 32 and 64 times `widen` channels. Random weights, training mode, no dropout.
    Source: Zagoruyko and Komodakis, "Wide residual networks" (BMVC 2016), table 1.

    Raises ConfigError for a depth that is not 6k + 4, or a count below one.

    >>> import torch
    >>> wide_resnet(10, 1).eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    count, rest = divmod(positive("depth", depth) - 4, 6)
    if rest or count < 1:
        near = 6 * max(1, round((depth - 4) / 6)) + 4
        raise ConfigError(f"depth={depth}: a wide ResNet has depth 6k + 4 (10, 16, 22, 28, ...); the nearest is {near}")
    widths = [stage * positive("widen", widen) for stage in (16, 32, 64)]
    return PreActivationNet(16, widths, count, positive("classes", classes), positive("channels", channels))
