"""The one-liner: attack these inputs, give the adversarial ones."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.errors import InputError
from holdfast.core.expect import typed
from holdfast.core.rows import per_row
from holdfast.core.types import Model
from holdfast.engine.run import run
from holdfast.engine.samples import Samples
from holdfast.engine.setting import Setting


@typed
def attack(
    attack: Attack, model: Model, x: Tensor, y: Tensor, target: Tensor | None = None, seed: int = 0, slots: int | None = None
) -> Tensor:
    """Verified adversarial examples of `x` `[n, ...]` with labels `y` `[n]`; the clean input where none was found.

    `x` in the model's range, or uint8; `target` `[n]` the classes a targeted attack aims at (without it the attack chooses). The answer has
    the dtype (uint8: the model's) and the device of `x`. For what was found on the way, use `holdfast.engine.run`.

    Raises ConfigError, InputError or ModelError, each with what to do.

    >>> from holdfast import Classifier, attacks
    >>> model = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval(), classes=3)
    >>> attack(attacks.pgd(0.1, steps=3), model, torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])).shape
    torch.Size([2, 1, 2, 2])
    """
    samples = Samples.of(x, y, target=target)
    if x.is_floating_point() and torch.finfo(x.dtype).bits < torch.finfo(model.dtype).bits:
        raise InputError(f"x is {x.dtype}, the model {model.dtype}: rounding would undo the verification; pass x.to({model.dtype})")
    outcome = run(attack, model, samples, Setting(seed=seed, slots=slots))
    if x.dtype == torch.uint8:
        return outcome.adversarial.to(x.device)
    found = outcome.adversarial.to(device=x.device, dtype=x.dtype)
    return torch.where(per_row(outcome.success.to(x.device), x), found, x)
