"""The input of a model's last linear layer, taken from a copy of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from holdfast.core.draw import Draw
from holdfast.core.errors import ModelError
from holdfast.core.types import Out
from holdfast.engine.noise import by_place, kept_generators
from holdfast.models import Classifier


@dataclass(frozen=True)
class Seen(Out):
    """What a model answers with its last layer's input beside it: `features` `[n, f]`."""

    features: Tensor


@final
class Features:
    """A copy of `model` that answers with the input of its last linear layer as well; the user's own is never touched.

    Raises ModelError where there is no such layer: the last `nn.Linear` called must answer `[n, classes]` to `[n, f]`.
    """

    def __init__(self, model: Classifier, x: Tensor) -> None:
        if not isinstance(model.net, nn.Module):
            raise ModelError(f"the net is a {type(model.net).__name__}, not an nn.Module: its last layer's input cannot be seen")
        try:
            self.model = copy.deepcopy(model)
        except (RuntimeError, TypeError) as error:
            raise ModelError(f"the net cannot be copied ({error}): give it as a plain nn.Module") from error
        self.access, self.bounds, self.stochastic = model.access, model.bounds, model.stochastic
        self.dtype, self.device, self.classes = model.dtype, model.device, 2
        self._seen: Tensor | None = None
        last_linear(self.model, x).register_forward_pre_hook(self._keep)

    @property
    def independent(self) -> bool:
        return self.model.independent

    def _keep(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._seen = args[0]

    def __call__(self, x: Tensor, /) -> Seen:
        return self._with(self.model(x))

    def drawn(self, x: Tensor, draw: Draw, /) -> Seen:
        """The same under the noise of `draw`."""
        return self._with(self.model.drawn(x, draw))

    def _with(self, out: Out) -> Seen:
        features = self._seen
        # Let go, or the graph behind it would live on.
        self._seen = None
        assert features is not None
        return Seen(out.logits, features)


def last_linear(model: Classifier, x: Tensor) -> nn.Linear:
    """The linear layer that makes the logits: the last one called when the model is asked about `x` `[n, ...]`."""
    assert isinstance(model.net, nn.Module)
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def note(layer: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        assert isinstance(layer, nn.Linear)
        calls.append((layer, args[0], out))

    hooks = [layer.register_forward_hook(note) for layer in model.net.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad(), kept_generators(model.device):
        logits = by_place(model, x).logits
    for hook in hooks:
        hook.remove()
    if calls:
        layer, before, after = calls[-1]
        if before.ndim == 2 and after.shape == logits.shape:
            return layer
    last = f"the last nn.Linear called answers {list(calls[-1][2].shape)}" if calls else "it calls no nn.Linear"
    raise ModelError(f"the net does not end in a linear layer over features: {last}, its logits are {list(logits.shape)}")
