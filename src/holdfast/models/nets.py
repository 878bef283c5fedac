"""Our small networks: the plain chains `lenet5` and `mlp`, and the table of names that `--model` looks in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from holdfast.core.errors import ConfigError
from holdfast.models.bottlenecks import resnet50, resnet101, resnet152, resnext101
from holdfast.models.resnets import positive, preact_resnet18, resnet20, wide_resnet


def lenet5(classes: int = 10) -> nn.Sequential:
    """A LeNet-5 for `[n, 1, 28, 28]`: two convolutions, each with ReLU and halved by pooling, then two linear layers.

    A chain of named layers, so that a certificate can walk it. Random weights, training mode.
    *Differs from* LeCun et al. (1998): 3×3 kernels, ReLU, max pooling, 32 and 64 channels, as robustness papers have it.

    Raises ConfigError for a count below one.

    >>> import torch
    >>> lenet5()(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 32, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(32, 64, 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flat", nn.Flatten()),
        ("linear1", nn.Linear(64 * 7 * 7, 200)),
        ("relu3", nn.ReLU()),
        ("linear2", nn.Linear(200, positive("classes", classes))),
    ]
    return nn.Sequential(OrderedDict(layers))


def mlp(features: int, classes: int, hidden: Sequence[int] = (256, 256)) -> nn.Sequential:
    """A multilayer perceptron with ReLU; it flattens `[n, ...]` to `[n, features]`.

    `hidden`: the widths of the layers between; `()` makes an affine model. Random weights; `.double()` makes it float64.

    Raises ConfigError for a width below one.

    >>> import torch
    >>> mlp(64, 10, hidden=(32,)).double()(torch.rand(5, 1, 8, 8, dtype=torch.float64)).shape
    torch.Size([5, 10])
    """
    if not isinstance(hidden, list | tuple):
        raise ConfigError(f"hidden={hidden!r}: expected widths in brackets, such as (256, 256)")
    widths = [positive("features", features), *(positive("hidden width", width) for width in hidden)]
    layers: list[tuple[str, nn.Module]] = [("flat", nn.Flatten())]
    for place, (inside, outside) in enumerate(pairwise(widths), start=1):
        layers += [(f"linear{place}", nn.Linear(inside, outside)), (f"relu{place}", nn.ReLU())]
    layers.append((f"linear{len(widths)}", nn.Linear(widths[-1], positive("classes", classes))))
    return nn.Sequential(OrderedDict(layers))


NETS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": lenet5,
    "mlp": mlp,
    "preact_resnet18": preact_resnet18,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "resnext101": resnext101,
    "wide_resnet": wide_resnet,
}
"""The networks that `--model` knows by name."""
