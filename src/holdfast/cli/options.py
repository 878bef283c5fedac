"""What the commands share: the console, the options that several take, and the model and numbers that were typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from torch import nn

from holdfast import catalogue
from holdfast.core.errors import ConfigError
from holdfast.models import Classifier, load_net, load_views

# What is printed are names, paths and docstrings, whose brackets are no markup.
console = Console(markup=False)

Model = Annotated[str, typer.Option(help="One of ours by name (holdfast list models), or pkg.mod:callable.")]
Weights = Annotated[Path | None, typer.Option(help="A .safetensors file, or a .pt read as weights only.")]
Data = Annotated[str, typer.Option(help="digits | npz:FILE | idx:DIR | folder:DIR | cifar10:DIR | hf:NAME | torchvision:NAME")]
Split = Annotated[str, typer.Option(help="Which part of the data.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many samples.")]
Offset = Annotated[int, typer.Option(min=0, help="Leave out so many samples first.")]
Mean = Annotated[str | None, typer.Option(help="Subtracted before the model: a number, or one per channel, a,b,c.")]
Std = Annotated[str | None, typer.Option(help="Divided by before the model: a number, or one per channel, a,b,c.")]
Bounds = Annotated[str, typer.Option(help="Range of the inputs before normalisation: low,high.")]
Classes = Annotated[int | None, typer.Option(min=2, help="Number of classes; asked of the model when not given.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; where the weights are when not given.")]
Views = Annotated[
    str | None, typer.Option(help="What the model sees its inputs through: physical, athalye(0.5), jpeg(75) (holdfast list views).")
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="The model draws random numbers: verify each claim by many asks.")]
Seed = Annotated[int, typer.Option(help="All randomness follows from it.")]
SlotCount = Annotated[int | None, typer.Option(min=1, help="Rows in flight at once.")]
Replica = Annotated[
    bool, typer.Option("--replica/--no-replica", help="Search on a faster copy of the model; claims are put to the model itself.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.")]


def classifier(
    model: str, weights: Path | None, mean: str | None, std: str | None, bounds: str, classes: int | None, device: str | None,
    stochastic: bool, views: str | None,
) -> Classifier:  # fmt: skip
    """The model that was typed."""
    plain = around(net_of(model, weights, device), mean, std, bounds, classes, device, stochastic)
    return plain.viewed(load_views(views)) if views else plain


def around(
    net: nn.Module, mean: str | None, std: str | None, bounds: str, classes: int | None, device: str | None, stochastic: bool = False
) -> Classifier:
    """A network with the range and the normalisation that were typed."""
    span = numbers(bounds, "--bounds")
    if len(span) != 2:
        raise ConfigError(f"--bounds {bounds!r}: expected low,high, as in 0,1 or 0,255")
    low, high = span
    return Classifier(
        net, classes, (low, high), numbers(mean, "--mean") if mean else None, numbers(std, "--std") if std else None, device, stochastic
    )


def net_of(model: str, weights: Path | None, device: str | None) -> nn.Module:
    """The network that was typed, on the device that was typed."""
    net = load_net(model, weights, catalogue.NETS)
    try:
        return net.to(device) if device else net
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {device!r} cannot be used ({str(error).splitlines()[0][:120]}): choose cpu, or leave it out"
        ) from error


def numbers(text: str, option: str) -> list[float]:
    """Comma-separated numbers, each of which may be a fraction."""
    try:
        return [float(top) / float(bottom or 1) for top, _, bottom in (part.partition("/") for part in text.split(","))]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas, as in 0.5,0.5,0.5 or 2/255,4/255") from error
