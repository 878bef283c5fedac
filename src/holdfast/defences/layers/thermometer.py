"""`Thermometer`: numbers as rows of bits, a net's input without a gradient."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from holdfast.models.resnets import positive

Maps = Float[Tensor, "n c *places"]


@final
class Thermometer(nn.Module):
    """τ(x)_l = 1 where x ≤ l / k, else 0, for the levels l = 1, …, k: as many ones as there are levels above x.

    `[n, c, ...]` in [0, 1] to `[n, c · k, ...]`, the k = `levels` bits of a channel side by side; the last is 1 for every x ≤ 1. Stands
    before a net for c · k channels: `nn.Sequential(Thermometer(16), net)`, `Classifier(…, bounds=(0, 1))` without normalisation.

    The forward pass is discrete and its gradient zero everywhere, which is what makes it look robust. `slope=True` leaves the bits as
    they are and gives them the gradient of 1 − min(max(x − l / k, 0), 1): what an attacker takes it for, and what adversarial
    training needs who attacks the input itself.

    Raises ConfigError for fewer than one level.
    Source: Buckman, Roy, Raffel & Goodfellow 2018, "Thermometer encoding: one hot way to resist adversarial examples"; the slope
    after Athalye, Carlini & Wagner 2018, "Obfuscated gradients".
    Differs from the former: none of its logit-space attack (LS-PGA); attacks here move the input. From the code of the latter: it counts
    levels below, and its ramp is as wide as one level, the one before; here every level below x has a slope.

    >>> Thermometer(10)(torch.tensor([[0.13], [0.66]])).int().tolist()
    [[0, 1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]]
    """

    def __init__(self, levels: int = 16, slope: bool = False) -> None:
        super().__init__()
        self.levels, self.slope = positive("levels", levels), slope

    def forward(self, x: Maps) -> Tensor:
        level = torch.arange(1, self.levels + 1, device=x.device, dtype=x.dtype) / self.levels
        level = level.reshape(-1, *[1] * (x.ndim - 2))
        x = x.unsqueeze(2)
        bits = (x <= level).to(x.dtype)
        if self.slope:
            soft = 1 - (x - level).clamp(0, 1)
            bits = bits + (soft - soft.detach())
        return bits.flatten(1, 2)

    def extra_repr(self) -> str:
        return f"{self.levels}{', slope' if self.slope else ''}"
