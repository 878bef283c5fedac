"""Adversarial weight perturbation: the loss where the weights, too, have been led the wrong way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, Wrapping, objective
from holdfast.training.replayed import looked_for


@final
class Elsewhere(nn.Module):
    """A net with other tensors in the place of some of its own, which stay as they are."""

    def __init__(self, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.net, self.tensors = net, dict(tensors)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, functional_call(self.net, self.tensors, (x,)))

    def get_submodule(self, target: str) -> nn.Module:
        """Layers have the names that they have in the net."""
        return self.net.get_submodule(target)


@dataclass(frozen=True)
class WeightsPerturbed(Wrapping):
    gamma: float

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        net = cast(nn.Module, model.net)
        weights = {name: p for name, p in net.named_parameters() if p.ndim > 1 and p.requires_grad}
        # Its own buffers, so that batch norm counts the batch once.
        aside = Elsewhere(net, {name: buffer.clone() for name, buffer in net.named_buffers()})
        with torch.enable_grad():
            value = self.inner.loss(model.around(aside), lesson, found)
            g = torch.autograd.grad(value, list(weights.values()), allow_unused=True, materialize_grads=True)
        moved = {
            name: p + self.gamma * p.detach().norm() / (slope.norm() + 1e-20) * slope
            for (name, p), slope in zip(weights.items(), g, strict=True)
        }
        return self.inner.loss(model.around(Elsewhere(net, moved)), lesson, found)


@objective("Wu, Xia & Wang 2020, arXiv:2004.05884")
def awp(objective: Objective, gamma: float = 0.005) -> WeightsPerturbed:
    """Adversarial weight perturbation: any objective, its loss taken where a step up the loss has moved the weights.

    min_θ max_{v ∈ V} L(θ + v),  v_l = γ ‖θ_l‖ ∇_l L / ‖∇_l L‖ for each tensor l of weights, held fixed while the gradient in θ is taken.

    The inputs `[n, ...]` that `objective` looks for are found at θ and used in both. Tensors of one axis (biases, norms) stay. Twice the
    cost of the loss; a batch norm's statistics see the batch once.

    Raises ConfigError for a γ that is not positive, or an objective that cannot be wrapped.
    Source: Wu et al. 2020, and their code, csdongxian/AWP, where γ is 0.005 with TRADES, and 0.01 with PGD training.
    Differs from their code: weight decay acts on θ, not on θ + v; no epochs go by without it (there ten, with TRADES); a tensor counts
    by its axes alone, whatever its name (there one with `weight` in it).

    >>> from holdfast.training.objectives import trades
    >>> awp(trades(8 / 255)).inner.beta
    6.0
    """
    if not gamma > 0:
        raise ConfigError(f"awp(gamma={gamma:g}): expected a positive share of each weight's norm, as 0.005; without it leave awp out")
    return WeightsPerturbed(looked_for(objective, "awp"), gamma)
