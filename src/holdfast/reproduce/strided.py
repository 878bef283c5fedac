"""A residual net small enough to be trained by the dozen on a processor, and what the feature denoising paper puts into it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from holdfast.defences.layers import Denoise, place
from holdfast.models.resnets import BasicBlock

WORDS = "a residual net of three stages of one block (16, 32 and 64 channels)"


def strided(shape: tuple[int, ...], classes: int, widths: tuple[int, int, int] = (16, 32, 64)) -> nn.Module:
    """Three stages of one residual block each for images `[c, h, w]`; photographs are halved on the way in, and by each later stage."""
    channels, side, _ = shape
    first, second, third = widths
    stem = nn.Conv2d(channels, first, 3, 2 if side > 16 else 1, padding=1, bias=False)
    stages = [nn.Sequential(BasicBlock(*sizes)) for sizes in ((first, first, 1), (first, second, 2), (second, third, 2))]
    named: dict[str, nn.Module] = {"stem": nn.Sequential(stem, nn.BatchNorm2d(first), nn.ReLU())}
    named |= {f"layer{number}": stage for number, stage in enumerate(stages, 1)}
    named |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "linear": nn.Linear(third, classes)}
    return nn.Sequential(OrderedDict(named))


def denoising(shape: tuple[int, ...], operation: str, classes: int) -> nn.Module:
    """The same net with a denoising block at the end of each stage, or for `residual` one more residual block.

    What all of them share has the same weights under the same seed, whatever the blocks.
    """

    def block(channels: int) -> nn.Module:
        return BasicBlock(channels, channels, 1) if operation == "residual" else Denoise(channels, operation)

    return place(strided(shape, classes), "layer[123]", block, torch.zeros(1, *shape))
