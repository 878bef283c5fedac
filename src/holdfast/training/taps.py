"""What layers of a net answer while it is asked, by their names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from holdfast.core.errors import ConfigError

Tapped = dict[str, list[Tensor]]


def answered(layer: nn.Module, answer: Tensor) -> Tensor:
    """The layer's answer, out of reach of a next layer that writes over it, as `ReLU(inplace=True)` does."""
    return answer.clone() if isinstance(answer, Tensor) else answer


@contextmanager
def tapped(net: nn.Module, layers: Sequence[str], take: Callable[[nn.Module, Tensor], Tensor] = answered) -> Iterator[Tapped]:
    """Inside, what `take` makes of each layer and its answer is added to the list of its name, once for every ask of the net.

    Raises ConfigError for a name that no layer has, and afterwards where a layer was not asked.
    """
    told: Tapped = {name: [] for name in layers}

    def hook(name: str, layer: nn.Module, _: object, answer: Tensor) -> None:
        told[name].append(take(layer, answer))

    layers_found = [(name, found(net, name)) for name in layers]
    handles = [layer.register_forward_hook(partial(hook, name)) for name, layer in layers_found]
    try:
        yield told
    finally:
        for handle in handles:
            handle.remove()
    for name, answers in told.items():
        if not answers:
            raise ConfigError(f"layer {name!r} was not asked on the way to the answer: choose another")


def found(net: nn.Module, name: str) -> nn.Module:
    """The layer of that name, as `print(net)` lists them; ConfigError with the nearest otherwise."""
    try:
        return net.get_submodule(name)
    except AttributeError as error:
        names = [each for each, _ in net.named_modules() if each]
        near = difflib.get_close_matches(name, names, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise ConfigError(f"the net has no layer {name!r}: {hint}") from error
