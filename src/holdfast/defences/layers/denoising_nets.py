"""The networks of the feature denoising paper, as `--model` knows them by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from holdfast.defences.layers.denoise import Denoise
from holdfast.models.bottlenecks import BottleneckNet, resnet50, resnet101, resnet152, resnext101


def resnet50_denoise(operation: str = "nonlocal_gaussian", classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-50 with four denoising blocks, one after the last residual block of each stage (res2 to res5).

    Images `[n, channels, h, w]`; `operation` as `Denoise` takes it. Random weights, training mode; torchvision's weights fit all but the
    blocks `layer1.3`, `layer2.4`, `layer3.6`, `layer4.3`.

    Raises ConfigError for an unknown operation, or a count below one.
    Source: Xie et al. 2019, "Feature denoising for improving adversarial robustness", section 6.

    >>> import torch
    >>> resnet50_denoise("null", classes=5, width=8).eval()(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 5])
    """
    return _after_stages(resnet50(classes, channels, width), operation, width)


def resnet101_denoise(operation: str = "nonlocal_gaussian", classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-101 with four denoising blocks: as `resnet50_denoise`. Source: Xie et al. 2019, section 6."""
    return _after_stages(resnet101(classes, channels, width), operation, width)


def resnet152_denoise(operation: str = "nonlocal_gaussian", classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNet-152 with four denoising blocks: as `resnet50_denoise`. Source: Xie et al. 2019, section 6, their largest of four blocks."""
    return _after_stages(resnet152(classes, channels, width), operation, width)


def resnext101_denoise_all(operation: str = "nonlocal_dot", classes: int = 1000, channels: int = 3, width: int = 64) -> BottleneckNet:
    """ResNeXt-101 32×8d with a denoising block after each of its 33 residual blocks, the entry that won CAAD 2018.

    Images `[n, channels, h, w]`. Random weights, training mode. Residual block and denoising block are a chain in the place of the former.

    Raises ConfigError for an unknown operation, a count below one, or a width that 32 groups do not divide.
    Source: Xie et al. 2019, section 6.2; the dot product without embedding is that of the authors' published model.
    """
    net = resnext101(classes, channels, width)
    for place in range(1, 5):
        stage = net.stage(place)
        for number, block in enumerate(list(stage)):
            stage[number] = nn.Sequential(block, Denoise(2 * width * 2**place, operation))
    return net


def _after_stages(net: BottleneckNet, operation: str, width: int) -> BottleneckNet:
    for place in range(1, 5):
        net.stage(place).append(Denoise(2 * width * 2**place, operation))
    return net


DENOISING_NETS: dict[str, Callable[..., nn.Module]] = {
    "resnet101_denoise": resnet101_denoise,
    "resnet152_denoise": resnet152_denoise,
    "resnet50_denoise": resnet50_denoise,
    "resnext101_denoise_all": resnext101_denoise_all,
}
"""More networks that `--model` knows by name."""
