"""Lightning Fabric underneath: devices, precision, processes. It is an extra, asked for when a net is first trained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier

if TYPE_CHECKING:
    from lightning_fabric import Fabric as Fabric
else:
    Fabric = object

__all__ = ["Fabric", "checked", "fabric_of"]


def fabric_of(model: Classifier, precision: str | None = None) -> Fabric:
    """One process on the model's device, or, under `torchrun`, as many as it started.

    Raises ConfigError where the extra is not installed, or the precision is none.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ConfigError(f"training needs Lightning Fabric ({error}): pip install 'holdfast[train]'") from error
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    device, own = model.device, "64-true" if model.dtype == torch.float64 else "32-true"
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device}: nets are trained on cpu or cuda, in float64 sums that others lack; give --device cpu")
    try:
        if world > 1:
            # Some objectives leave some weights alone, as a ranking of features does the last layer.
            strategy, nodes = "ddp_find_unused_parameters_true", world // local
            fabric = Fabric(accelerator=device.type, strategy=strategy, devices=local, num_nodes=nodes, precision=precision or own)  # type: ignore[arg-type]
        else:
            devices = [device.index or 0] if device.type == "cuda" else 1
            fabric = Fabric(accelerator=device.type, devices=devices, precision=precision or own)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"precision={precision!r}: {str(error).splitlines()[0]}") from error
    fabric.launch()
    return fabric


def checked(fabric: Fabric, precision: str | None = None) -> Fabric:
    """The same; raises ConfigError for a strategy that cuts a net in pieces, whose weights attacks and averages could not see whole, and
    for another precision than a recipe names."""
    # By name: the same engine is published under two.
    if not {"DDPStrategy", "SingleDeviceStrategy"} & {kind.__name__ for kind in type(fabric.strategy).__mro__}:
        raise ConfigError(f"strategy {type(fabric.strategy).__name__}: expected one device or ddp, where each process holds the whole net")
    own = fabric.strategy.precision.precision
    if precision is not None and not own.startswith(precision):
        raise ConfigError(
            f"precision={precision!r}, but the fabric given has {own}: give Fabric(precision={precision!r}), or leave one out"
        )
    return fabric
