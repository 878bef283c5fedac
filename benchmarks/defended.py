"""Defences that hide the gradient and leave the net as weak as it was, written as their users write them: plain modules, no Holdfast.

Athalye et al. (2018, "Obfuscated gradients give a false sense of security") name the three ways: gradients shattered (here inputs
that are rounded, voted on, or leave torch), random (noise, dropout, resizing), or vanishing (temperatures, saturation, clipping).
Each takes images `[n, c, h, w]` in [0, 1] and answers `[n, classes]`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, one_hot, pad


class KWinners(nn.Module):
    """Keep the largest share of a layer's values and nothing else, so that the net jumps everywhere (k-winners-take-all; Xiao et al.
    2020, broken by Tramèr et al. 2020 with gradients averaged over a neighbourhood)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, h: Tensor) -> Tensor:
        flat = h.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).reshape(h.shape)


class Step(torch.autograd.Function):
    """−1 or 1, or a staircase of `levels` from −1 to 1. While training its derivative is that of the identity within −1..1; else it has
    none, as the function itself."""

    @staticmethod
    def forward(context: Any, h: Tensor, levels: int, trained: bool) -> Tensor:
        context.save_for_backward(h)
        context.trained = trained
        return torch.where(h >= 0, 1.0, -1.0) if levels == 2 else ((h.clamp(-1, 1) + 1) * (levels - 1) / 2).round() * 2 / (levels - 1) - 1

    @staticmethod
    def backward(context: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (h,) = context.saved_tensors
        return g * (h.abs() <= 1) * context.trained, None, None


class Stairs(nn.Module):
    """An activation of few levels: two are the sign (binarised networks; Hubara et al. 2016), broken by search without gradients."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, h: Tensor) -> Tensor:
        return Step.apply(h, self.levels, self.training)


class StochasticRounding(nn.Module):
    """Inputs rounded up or down to one of a few levels, by chance (random discretisation; Zhang & Liang 2019)."""

    def __init__(self, net: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.net, self.levels = net, levels

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x * self.levels + torch.rand_like(x)).floor() / self.levels)


def stepped_net(activation: Callable[[], nn.Module]) -> nn.Sequential:
    """For digits: two strided convolutions and two linear layers, the first activation a special one."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.BatchNorm2d(16), activation(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def quantised_weights(net: nn.Module, levels: int = 15) -> nn.Module:
    """A copy whose weights are rounded to a few levels of their layer's largest (post-training quantisation)."""
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        for weight in rounded.parameters():
            scale = weight.abs().amax() * 2 / (levels - 1)
            weight.copy_((weight / scale).round() * scale)
    return rounded


def small_net(channels: int, side: int, classes: int, width: int = 16, winners: float | None = None) -> nn.Sequential:
    """Two strided convolutions and two linear layers; ReLU between them, or the `winners` share of each layer."""

    def activation() -> nn.Module:
        return nn.ReLU() if winners is None else KWinners(winners)

    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1), activation(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), activation(),
        nn.Flatten(), nn.Linear(2 * width * (side // 4) ** 2, 64), activation(), nn.Linear(64, classes),
    )  # fmt: skip


class Scaled(nn.Module):
    """Logits times a constant: the softmax is 1 and 0 to the last bit, and the cross-entropy has no slope left. What defensive
    distillation (Papernot et al. 2016) amounts to once the temperature is taken away (Carlini & Wagner 2017)."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.net(x)


class Probabilities(nn.Module):
    """A sharp softmax inside the net, which is then attacked through a second one (the mistake that Carlini & Wagner 2017 warn of)."""

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) / self.temperature).softmax(dim=1)


class SafeLog(nn.Module):
    """Log-probabilities kept off minus infinity by a floor, below which nothing has a slope (a habit of old code, not a paper)."""

    def __init__(self, net: nn.Module, temperature: float, floor: float = 1e-6) -> None:
        super().__init__()
        self.net, self.temperature, self.floor = net, temperature, floor

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) / self.temperature).softmax(dim=1).clamp(self.floor, 1 - self.floor).log()


class Clipped(nn.Module):
    """Logits cut one below the largest: where the net is sure, the answer is a constant (confidence clipping against score-based
    attacks; a case of the vanishing gradients of Athalye et al. 2018)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return (logits - logits.amax(dim=1, keepdim=True) + 1).clamp_min(0)


class Rounded(nn.Module):
    """Probabilities with two decimals (the answer of a prediction service; Tramèr et al. 2016 show how little that hides)."""

    def __init__(self, net: nn.Module, decimals: int = 2) -> None:
        super().__init__()
        self.net, self.decimals = net, decimals

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(dim=1).round(decimals=self.decimals)


class Binarised(nn.Module):
    """Inputs made −1 or 1 by a step (one-bit feature squeezing; Xu et al. 2018)."""

    def __init__(self, net: nn.Module, threshold: float) -> None:
        super().__init__()
        self.net, self.threshold = net, threshold

    def forward(self, x: Tensor) -> Tensor:
        return self.net((torch.sign(x - self.threshold) + 1) / 2)


class Quantised(nn.Module):
    """Inputs rounded to a few levels (bit-depth reduction; Xu et al. 2018, Guo et al. 2018)."""

    def __init__(self, net: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.net, self.levels = net, levels

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x * self.levels).round() / self.levels)


class Thermometer(nn.Module):
    """Each pixel as a row of lamps lit up to its value (Buckman et al. 2018). `soft`: lamps that light gradually, which any net
    trained behind the hard ones takes as well."""

    def __init__(self, net: nn.Module, levels: int = 10, soft: bool = False) -> None:
        super().__init__()
        self.net, self.levels, self.soft = net, levels, soft

    def forward(self, x: Tensor) -> Tensor:
        thresholds = ((torch.arange(self.levels, device=x.device) + 0.5) / self.levels).reshape(1, 1, -1, 1, 1)
        above = x.unsqueeze(2) - thresholds
        lamps = (above * self.levels + 0.5).clamp(0, 1) if self.soft else (above > 0).float()
        return self.net(lamps.flatten(1, 2))


class Saturated(nn.Module):
    """Inputs through a steep tanh, flat to the last bit almost everywhere (saturating networks; Nayebi & Ganguli 2017, broken by
    Brendel & Bethge 2017)."""

    def __init__(self, net: nn.Module, slope: float, centre: float) -> None:
        super().__init__()
        self.net, self.slope, self.centre = net, slope, centre

    def forward(self, x: Tensor) -> Tensor:
        return self.net((torch.tanh(self.slope * (x - self.centre)) + 1) / 2)


LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92), (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


class Jpeg(nn.Module):
    """Inputs compressed as JPEG does: blocks of 8 × 8, cosine transform, coefficients rounded (Dziugaite et al. 2016, Guo et al. 2018).

    Each colour channel by itself with the table for brightness.
    """

    def __init__(self, net: nn.Module, quality: int = 75) -> None:
        super().__init__()
        self.net = net
        k = torch.arange(8.0)
        basis = torch.cos((2 * k + 1) * k.reshape(-1, 1) * math.pi / 16) * math.sqrt(2 / 8)
        basis[0] /= math.sqrt(2)
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        self.register_buffer("basis", basis)
        self.register_buffer("table", ((torch.tensor(LUMINANCE) * scale + 50) / 100).floor().clamp(1, 255))

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        blocks = (255 * x - 128).reshape(n, c, height // 8, 8, width // 8, 8).transpose(3, 4)
        coefficients = self.basis @ blocks @ self.basis.T
        kept = (coefficients / self.table).round() * self.table
        blocks = self.basis.T @ kept @ self.basis
        return self.net(((blocks.transpose(3, 4).reshape(x.shape) + 128) / 255).clamp(0, 1))


class ThroughNumpy(nn.Module):
    """Inputs leave torch as bytes and come back: a pipeline that stores images, not a defence, until someone reads its gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        stored = np.rint(255 * x.detach().cpu().numpy()).clip(0, 255).astype(np.uint8)
        return self.net(torch.from_numpy(stored).to(x.device).float() / 255)


class MedianFiltered(nn.Module):
    """Each pixel replaced by the median of itself and its neighbours right and below, in numpy (median smoothing; Xu et al. 2018)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        image = np.pad(x.detach().cpu().numpy(), ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
        three = np.stack([image[..., :-1, :-1], image[..., 1:, :-1], image[..., :-1, 1:]])
        return self.net(torch.from_numpy(np.median(three, axis=0)).to(x.device, x.dtype))


class Vote(nn.Module):
    """Nets that each cast one vote (ensembles as a defence; broken by He et al. 2017). `soft`: they average their logits instead."""

    def __init__(self, nets: Sequence[nn.Module], soft: bool = False) -> None:
        super().__init__()
        self.nets, self.soft = nn.ModuleList(nets), soft

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([net(x) for net in self.nets])
        return logits.mean(dim=0) if self.soft else one_hot(logits.argmax(dim=2), logits.shape[2]).float().sum(dim=0)


class ResizedPadded(nn.Module):
    """Inputs shrunk to a random size and put at a random place on black (Xie et al. 2018)."""

    def __init__(self, net: nn.Module, least: int) -> None:
        super().__init__()
        self.net, self.least = net, least

    def forward(self, x: Tensor) -> Tensor:
        full = x.shape[-1]
        side = int(torch.randint(self.least, full + 1, ()))
        left, top = torch.randint(full - side + 1, (2,)).tolist()
        smaller = interpolate(x, (side, side), mode="nearest")
        return self.net(pad(smaller, (left, full - side - left, top, full - side - top)))


class Noisy(nn.Module):
    """Gaussian noise on the input and after the first convolution (Liu et al. 2018, random self-ensemble)."""

    def __init__(self, net: nn.Sequential, outside: float, inside: float) -> None:
        super().__init__()
        self.net, self.outside, self.inside = net, outside, inside

    def forward(self, x: Tensor) -> Tensor:
        h = self.net[0](x + self.outside * torch.randn_like(x))
        return self.net[1:](h + self.inside * torch.randn_like(h))


class Dropped(nn.Module):
    """Dropout left on when the net answers, on the input and on every activation (the idea of stochastic activation pruning; Dhillon
    et al. 2018)."""

    def __init__(self, net: nn.Sequential, rate: float) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def forward(self, x: Tensor) -> Tensor:
        h = dropout(x, self.rate)
        for layer in self.net:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                h = dropout(h, self.rate)
        return h
