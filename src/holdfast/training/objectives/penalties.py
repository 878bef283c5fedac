"""Penalties on layers, such as smooth filters and smooth feature maps, added to any objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError
from holdfast.defences.layers.blur import filter_penalty, variation_penalty
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, Wrapping, objective
from holdfast.training.objectives.awp import WeightsPerturbed
from holdfast.training.replayed import looked_for
from holdfast.training.taps import answered, tapped


@dataclass(frozen=True)
class Penalised(Wrapping):
    """`name` is what the penalty is called: it is told apart by it, not by where it lies in memory."""

    layers: tuple[str, ...]
    alpha: float
    of: Literal["maps", "weight"]
    name: str
    penalty: Callable[[Tensor], Tensor] = field(repr=False, compare=False)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        with tapped(cast(nn.Module, model.net), self.layers, self._of) as told:
            value = self.inner.loss(model, lesson, found)
        return value + self.alpha * torch.stack([torch.stack([self._priced(one) for one in each]).mean() for each in told.values()]).sum()

    def _of(self, layer: nn.Module, answer: Tensor) -> Tensor:
        # Under awp a weight is a tensor put in the place of the parameter.
        return answered(layer, answer) if self.of == "maps" else cast(Tensor, getattr(layer, "weight", None))

    def _priced(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise ConfigError(f"{self.name}: not each of {', '.join(self.layers)} has {self.of}: name other layers")
        try:
            return self.penalty(tensor)
        except IndexError as error:
            raise ConfigError(
                f"{self.name}: {self.of} {list(tensor.shape)} of {', '.join(self.layers)} do not fit it ({error}): name other layers"
            ) from error


def penalised(
    objective: Objective, penalty: Callable[[Tensor], Tensor], layers: str | tuple[str, ...], alpha: float, of: Literal["maps", "weight"]
) -> Penalised:
    """Any objective, and α times a penalty of each of the named layers: of what they answer (`maps`), or of their `weight`.

    L + α Σ_l P(F_l),  F_l `[n, k, h, w]` the answers of layer l;  or  L + α Σ_l P(W_l).  Where the objective asks the net more than once,
    a layer counts with the mean over the asks.

    `penalty` takes the tensor and gives a scalar, as `variation_penalty` of maps and `filter_penalty` of depthwise filters do.

    Raises ConfigError for no layers, a name that none has, an α that is negative, or an objective that cannot be wrapped.
    Source: Raju & Lipasti 2019, "BlurNet": L∞ regularisation of the depthwise layer, total variation of the first layer's maps.
    Differs from it: nothing known.

    >>> from holdfast.training.objectives import standard
    >>> penalised(standard(), lambda maps: maps.abs().mean(), "conv1", 0.1, "maps").layers
    ('conv1',)
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    if not names or not alpha >= 0 or of not in ("maps", "weight"):
        raise ConfigError(f"penalised(layers={names}, alpha={alpha:g}, of={of!r}): expected names, a weight from 0, and maps or weight")
    if any(isinstance(one, WeightsPerturbed) for one in objective.chain):
        raise ConfigError(
            "a penalty cannot wrap awp, whose first look at the net is over by then: wrap it by awp, as awp(blurnet_variation(pgd, …))"
        )
    return Penalised(looked_for(objective, "penalised"), names, alpha, of, getattr(penalty, "__name__", type(penalty).__name__), penalty)


@objective("Raju & Lipasti 2019, BlurNet")
def blurnet_filters(objective: Objective, layers: str | tuple[str, ...], alpha: float = 0.1) -> Penalised:
    """BlurNet's L∞ regularisation: any objective, and depthwise filters that are kept even, so that they blur.

    L + α (1/K) Σ_k ‖W_k‖_∞,  W_k the filters of the named depthwise `layers`.

    Inputs `[n, ...]` as `objective` takes them; put `holdfast.defences.layers.Depthwise` behind the first layer, and name it.

    Raises ConfigError for no layers, a name that none has, a negative α, or an objective that cannot be wrapped.
    Source: Raju & Lipasti 2019, "BlurNet": L∞ regularisation of the depthwise layer.
    Differs from it: nothing known.

    >>> from holdfast.training.objectives import standard
    >>> blurnet_filters(standard(), "blur").alpha
    0.1
    """
    return penalised(objective, filter_penalty, layers, alpha, "weight")


@objective("Raju & Lipasti 2019, BlurNet")
def blurnet_variation(objective: Objective, layers: str | tuple[str, ...], alpha: float = 1e-4) -> Penalised:
    """BlurNet's total variation: any objective, and feature maps that are kept smooth.

    L + α (1/(N K)) Σ_n Σ_k TV(F_nk),  F `[n, k, h, w]` what the named `layers` answer.

    Inputs: images `[n, ...]` as `objective` takes them.

    Raises ConfigError for no layers, a name that none has, a negative α, or an objective that cannot be wrapped.
    Source: Raju & Lipasti 2019, "BlurNet": total variation of the first layer's maps.
    Differs from it: nothing known; where its slides list the penalty they say "weights", their formula is of maps.

    >>> from holdfast.training.objectives import pgd
    >>> blurnet_variation(pgd(8 / 255), "conv1").layers
    ('conv1',)
    """
    return penalised(objective, variation_penalty, layers, alpha, "maps")
