"""`replica`: a faster stand-in for the user's model, asked in search alone; every claim is still put to the model itself."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, Self, final, runtime_checkable

import torch
from torch import Tensor, nn

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.types import Dual, Model
from holdfast.engine.pieces import Pieces

Form = Literal["own", "frozen", "folded"]
Low = Literal["bfloat16", "float16"]


@runtime_checkable
class Wrapper(Protocol):
    """A model around a torch module: `around` gives the same model around another."""

    net: object

    def around(self, net: nn.Module, /) -> Model: ...


@dataclass(frozen=True)
class Choice:
    """What search asks. Decided once a run, stored in its manifest as JSON, obeyed by every shard and resumption.

    `form`: the model's `own` module; a `frozen` copy, whose weights want no gradient and lie in the layout of the inputs; or a `folded`
    one, whose batch norms are folded into the convolutions and linear layers before them as well. `dtype`: the precision of weights and
    activations where it is lower than the model's. `pieces`: rows asked at once and their layout (of verification too). `why`: in words.

    *Differs from* a compiled model: neither `torch.compile` nor CUDA graphs. Compiling costs tens of seconds, which few runs pay back.

    Raises ConfigError for a lower precision of the model's own module, which is never changed.

    >>> Choice.read({"form": "folded", "dtype": None, "pieces": {"rows": 64, "layout": "channels_last"}, "why": ""}).pieces.rows
    64
    """

    form: Form = "own"
    dtype: Low | None = None
    pieces: Pieces = Pieces()
    why: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.form == "own" and self.dtype is not None:
            raise ConfigError(f"Choice(form='own', dtype={self.dtype!r}): the user's module keeps its precision; choose 'frozen'")

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """The choice whose `dataclasses.asdict` was stored."""
        return cls(**{**stored, "pieces": Pieces(**stored["pieces"])})

    def suited(self, attack: Attack) -> Self:
        """The choice for one attack: low precision only where a row ends at its first success, and goes on past it when that is refused.

        Not for the smallest change, nor for rules that step onto the boundary (they require `Dual`): that of low precision is another one.
        """
        onto_boundary = Dual in attack.rule.requires
        return self if attack.keep == "first" and attack.stop.early and not onto_boundary else replace(self, dtype=None)


def replica(model: Model, choice: Choice) -> Model:
    """The model that search asks: the same bounds, classes, dtype of answers and device, around the copy that `choice` describes.

    The user's module is left as it is; the copy shares nothing with it.

    Raises ModelError where the module cannot be copied, or folded, as the choice says.

    >>> from holdfast import Classifier
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), classes=3)
    >>> quick, x = replica(model, Choice("frozen")), torch.rand(2, 1, 2, 2)
    >>> torch.equal(quick(x).logits, model(x).logits)
    True
    """
    if choice.form == "own":
        return model
    if not isinstance(model, Wrapper) or not isinstance(model.net, nn.Module):
        raise ModelError(
            "the model holds no torch module to copy: search on the model itself (replica=False, --no-replica; in training search='own')"
        )
    try:
        net = copied(model.net)
        net = _folded(net) if choice.form == "folded" else net
        net = net.requires_grad_(False)
        if choice.pieces.layout == "channels_last":
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.around(net if choice.dtype is None else _Low(net, choice.dtype, model.dtype))
    except Exception as error:  # copying and tracing run the user's own code: it can raise anything
        raise ModelError(
            f"the module cannot be {choice.form} ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}): "
            f"search on the model itself (replica=False, --no-replica; in training search='own')"
        ) from error


def foldable(net: nn.Module) -> bool:
    """Whether folding could change anything and no hook would be lost by it."""
    modules = list(net.modules())
    hooked = any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in modules)
    return not hooked and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)


def copied(net: nn.Module) -> nn.Module:
    """A deep copy of the net; TypeError where the two share parts."""
    made = copy.deepcopy(net)
    kept = {id(part) for part in (*net.modules(), *net.parameters())}
    if any(id(part) in kept for part in (*made.modules(), *made.parameters())):
        raise TypeError("its copy shares parts with it")
    return made


def _folded(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        # Torch's own file touches what torch has deprecated.
        warnings.simplefilter("ignore")
        from torch.fx.experimental.optimization import fuse
    return fuse(net, inplace=True)


@final
class _Low(nn.Module):
    """A module in low precision between inputs and answers in the model's."""

    def __init__(self, net: nn.Module, dtype: Low, answers: torch.dtype) -> None:
        super().__init__()
        self.low: torch.dtype = getattr(torch, dtype)
        self.net, self.answers = net.to(self.low), answers

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(self.low)).to(self.answers)
