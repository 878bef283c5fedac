"""`ResizePad`: each image at a size of its own, somewhere on a larger canvas."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, InputError
from holdfast.core.inside import uniform
from holdfast.models.resnets import positive

Maps = Float[Tensor, "n c h w"]
KINDS = ("nearest", "bilinear")


@final
class ResizePad(nn.Module):
    """y = the image at a random size, at a random place on a canvas of `side` pixels, `value` around it.

    `[n, c, h, w]` with max(h, w) ≤ `side` to `[n, c, side, side]`: the longer side gets s pixels, s uniform in {max(h, w), …, side − 1}
    (in {side} where the image is as large), the other its share of them, and each margin is uniform. Every row draws for itself, in
    training and eval mode alike: keyed inside `Classifier(net, stochastic=True)`, from torch's generator elsewhere. Linear in x.
    `kind`: `nearest`, or `bilinear`. Stands before a net that takes any size: `nn.Sequential(ResizePad(331), net)`.

    Raises ConfigError for another kind, a side below one, or a value that is not finite; InputError for an image larger than `side`.
    Source: Xie, Wang, Zhang, Ren & Yuille 2018, "Mitigating adversarial effects through randomization": 299 to [299, 331), padded with
    zeros to 331. Differs from their code (cihangxie/NIPS2017_adv_challenge_defense): a size for every image, not one for the batch; no
    flips; sizes from that of the image as their text has it, not from 310. Their net sees pixels in −1..1, where zero is grey: for inputs
    in 0..1 that is `value=0.5`.

    >>> x = ResizePad(4, value=0.5)(torch.ones(1, 1, 3, 3))
    >>> x.shape, int((x == 1).sum()), int((x == 0.5).sum())
    (torch.Size([1, 1, 4, 4]), 9, 7)
    """

    def __init__(self, side: int = 331, kind: str = "nearest", value: float = 0.0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"kind={kind!r}: expected {' or '.join(KINDS)}")
        if not math.isfinite(value):
            raise ConfigError(f"value={value}: expected a number, in the units of the net's input")
        self.side, self.kind, self.value = positive("side", side), kind, float(value)

    def forward(self, x: Maps) -> Tensor:
        longer = max(x.shape[2:])
        if longer > self.side:
            raise InputError(f"an image of {x.shape[2]} by {x.shape[3]} pixels is larger than side={self.side}: give a larger side")
        u = uniform(x, 3)
        size = longer + (u[:, 0] * max(1, self.side - longer)).floor()
        tall, wide = ((size * part / longer).round().clamp_min(1) for part in x.shape[2:])
        down = self._weights(x, x.shape[2], tall, (u[:, 1] * (self.side - tall + 1)).floor())
        right = self._weights(x, x.shape[3], wide, (u[:, 2] * (self.side - wide + 1)).floor())
        # Around zero, so that what lies beside the image is the value: the weights are zero there.
        return down @ (x - self.value) @ right.transpose(2, 3) + self.value

    def _weights(self, x: Tensor, before: int, after: Tensor, margin: Tensor) -> Tensor:
        """The share of each of `before` pixels in each of the canvas's, where they become `after` `[n]`: `[n, 1, side, before]`."""
        place = torch.arange(self.side, device=x.device, dtype=torch.float64) - margin.unsqueeze(1)
        inside = (place >= 0) & (place < after.unsqueeze(1))
        source = ((place + 0.5) * (before / after.unsqueeze(1)) - 0.5).clamp(0, before - 1)
        source = source if self.kind == "bilinear" else (source + 0.5).floor().clamp(max=before - 1)
        apart = (source.unsqueeze(2) - torch.arange(before, device=x.device, dtype=torch.float64)).abs()
        return ((1 - apart).clamp_min(0) * inside.unsqueeze(2)).to(x.dtype).unsqueeze(1)

    def extra_repr(self) -> str:
        return f"{self.side}, {self.kind}, value={self.value:g}"
