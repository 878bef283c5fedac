"""What a run of training is known by and goes on from: weights, average, optimiser, schedule, best so far, history; one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from holdfast.core.errors import StoreError
from holdfast.engine.snapshot import Facts, Snapshots


@dataclass
class Progress:
    """How far a run is: steps done, the history of its epochs, the best epoch, and the loss of every step."""

    losses: Tensor
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0


class Scaling(Protocol):
    """What the engine's precision remembers: in float16 the scale of the loss, and since when it has held; else nothing."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """All that a step changes, to and from one file of tensors; nothing in it is ever executed."""

    net: nn.Module
    average: AveragedModel | None
    optimiser: Optimizer
    schedule: LambdaLR
    kept: dict[str, Tensor]
    memory: dict[str, Tensor]
    progress: Progress
    scaling: Scaling

    def write(self, snapshots: Snapshots, identity: str) -> None:
        """Store it all."""
        moments, numbers = _moments(self.optimiser)
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in (self.average.state_dict() if self.average else {}).items()}
        tensors |= {f"kept.{name}": tensor for name, tensor in self.kept.items()}
        tensors |= {f"memory.{name}": tensor for name, tensor in self.memory.items()}
        tensors |= {f"moment.{name}": tensor for name, tensor in moments.items()} | {"losses": self.progress.losses}
        one = self.progress
        facts: Facts = {"step": one.step, "best": one.best, "seconds": one.seconds, "history": json.dumps(one.history)}
        facts["scaling"] = json.dumps(self.scaling.state_dict())
        snapshots.write(tensors, facts | {"identity": identity, "numbers": json.dumps(numbers)})

    def read(self, snapshots: Snapshots, identity: str) -> bool:
        """Whether there was something to go on from; it is all put back.

        Raises StoreError for the file of another run.
        """
        found = snapshots.read()
        if found is None:
            return False
        tensors, facts = found
        if facts["identity"] != identity:
            raise StoreError(
                f"{snapshots.path} holds another run ({facts['identity']}): give another folder, or repeat the call it is from, "
                f"with a net of the same first weights"
            )
        self.net.load_state_dict(_under(tensors, "net."))
        if self.average is not None:
            self.average.load_state_dict(_under(tensors, "average."))
        self.kept.update(_under(tensors, "kept."))
        self.memory.update({name: tensor.to(self.progress.losses.device) for name, tensor in _under(tensors, "memory.").items()})
        _restore(self.optimiser, _under(tensors, "moment."), json.loads(str(facts["numbers"])))
        self.scaling.load_state_dict(json.loads(str(facts["scaling"])))
        one = self.progress
        one.step, one.best, one.seconds = int(facts["step"]), int(facts["best"]), float(facts["seconds"])
        one.history, one.losses = json.loads(str(facts["history"])), tensors["losses"].to(one.losses.device)
        # The rate is a function of the step alone.
        self.schedule.last_epoch = one.step
        for group, base, share in zip(self.optimiser.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True):
            group["lr"] = base * share(one.step)
        return True


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What the optimiser remembers of each weight, named by the weight's place: its tensors, and its numbers."""
    state = optimiser.state_dict()["state"]
    named = {f"{place}.{name}": value for place, held in state.items() for name, value in held.items()}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in named.items() if isinstance(value, int | float)}


def _restore(optimiser: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
    whole = optimiser.state_dict()
    whole["state"] = {}
    for name, value in (dict(tensors) | dict(numbers)).items():
        place, _, key = name.partition(".")
        whole["state"].setdefault(int(place), {})[key] = value
    optimiser.load_state_dict(whole)


def weights_of(net: nn.Module, average: AveragedModel | None) -> dict[str, Tensor]:
    """A copy, on the host, of the weights and buffers that are validated and kept: the average's, where there is one."""
    source = net if average is None else average.module
    return {name: tensor.detach().cpu().clone() for name, tensor in source.state_dict().items()}
