"""`place`: any layer put into any network, at modules given by name."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, ModelError

Where = Literal["after", "before", "instead"]


def place(
    net: nn.Module, names: str | Sequence[str], make: Callable[[int], nn.Module], example: Tensor, where: Where = "after"
) -> nn.Module:
    """A copy of `net` with a layer of its own after, before or instead of each module that `names` names; `net` is left as it is.

    `names`: a pattern, or several, of the names that `net.named_modules()` gives, with * ? [] as in file names (* also matches dots);
    the empty name is the net itself, before which the input lies. `make(channels)`: the layer, `channels` being axis 1 of what it
    will see, found by asking the copy, in eval mode, for `example` `[n, ...]`: what the module answers, for `instead` and `before`
    what it is given. The layer has the device, float type and mode of the net.

    A chain (`nn.Sequential`) gets the layer as its last module, so that all weights keep their names; any other module becomes a
    chain of two, `conv1.0` and `conv1.1`: read weights before placing.

    Raises ConfigError where a pattern names nothing, or `where` is no place; ModelError where a module named is not asked for the
    example, or not with one tensor `[n, channels, ...]`, or for one of two widths.

    >>> from holdfast.defences.layers import Blur
    >>> from holdfast.models import lenet5
    >>> blurred = place(lenet5(), "conv1", lambda channels: Blur(5), torch.rand(1, 1, 28, 28))
    >>> blurred.conv1[1], blurred(torch.rand(2, 1, 28, 28)).shape
    (Blur(5, box), torch.Size([2, 10]))
    """
    if where not in ("after", "before", "instead"):
        raise ConfigError(f"where={where!r}: expected after, before or instead")
    made = copy.deepcopy(net)
    modules = dict(made.named_modules(remove_duplicate=False))
    patterns = [names] if isinstance(names, str) else list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            near = difflib.get_close_matches(pattern, modules, 3, 0.4) or list(modules)[1:4]
            raise ConfigError(f"no module is named {pattern!r}: near it are {', '.join(near)}; named_modules() lists all {len(modules)}")
    chosen = [name for name in modules if any(fnmatchcase(name, pattern) for pattern in patterns)]
    channels = _channels(made, [modules[name] for name in chosen], example, where == "after")
    weight = next((t for t in (*made.parameters(), *made.buffers()) if t.is_floating_point()), None)
    for name in reversed(chosen):  # the deepest first: their paths hold until what they stand in is itself wrapped
        old = modules[name]
        if old not in channels:
            raise ModelError(f"module {name!r} is not asked for an example of shape {list(example.shape)}, so its channels are unknown")
        layer = make(channels[old]).train(old.training)
        layer = layer if weight is None else layer.to(weight.device, weight.dtype)
        made = _with(made, name, layer, where)
    return made


def _with(net: nn.Module, name: str, layer: nn.Module, where: Where) -> nn.Module:
    old = net.get_submodule(name)
    if where == "after" and type(old) is nn.Sequential:
        old.append(layer)
        return net
    new = layer if where == "instead" else nn.Sequential(*((old, layer) if where == "after" else (layer, old)))
    if not name:
        return new.train(old.training)
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, new.train(old.training))
    return net


def _channels(net: nn.Module, modules: list[nn.Module], example: Tensor, answered: bool) -> dict[nn.Module, int]:
    """The width of axis 1 that each of `modules` answers, or else is given, when a copy of `net` in eval mode sees `example`."""
    asked = copy.deepcopy((net, modules))  # together, so that the copied modules are the copied net's own
    widths: dict[nn.Module, int] = {}

    def watch(own: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def seen(module: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
            x = answer if answered else given[0] if given else None
            if not isinstance(x, Tensor) or x.ndim < 2 or widths.setdefault(own, x.shape[1]) != x.shape[1]:
                what = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise ModelError(f"a layer at {type(own).__name__} would see {what}: expected one tensor [n, channels, ...] of one width")

        return seen

    for own, copied in zip(modules, asked[1], strict=True):
        copied.register_forward_hook(watch(own))
    with torch.random.fork_rng(devices=[example.device] if example.device.type == "cuda" else []), torch.no_grad():
        asked[0].eval()(example)
    return widths
