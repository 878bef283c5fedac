"""`Bench`: what every study stands on: data, fresh nets, nets trained once and kept, runs that go on where they stopped."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from holdfast.core.attack import Attack
from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.data import Dataset, load_data
from holdfast.engine.noise import kept_generators
from holdfast.evaluation import Result, evaluate
from holdfast.models import Classifier, lenet5, mlp, resnet20
from holdfast.training import Objective, Recipe, train

T = TypeVar("T")
Each = Callable[[Classifier, int], None]
"""What hears of a net after each epoch, with the epoch's number from 0."""


BATCH = 64


@dataclass(frozen=True)
class Kind:
    """What inputs of one shape are studied with: a small net for so many classes, and the L∞ radius that is usual for them."""

    words: str
    net: Callable[[int], nn.Module]
    radius: float


KINDS: dict[tuple[int, ...], Kind] = {
    (1, 8, 8): Kind("an MLP of 64–128–128–10", lambda classes: mlp(64, classes, (128, 128)), 0.15),
    (1, 28, 28): Kind("our LeNet-5", lenet5, 0.2),
    (3, 32, 32): Kind("our ResNet-20", resnet20, 8 / 255),
}
"""The nets and radii by the shape of an input."""


def four_layers(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Three convolutions `conv1` to `conv3` with ReLU and a linear layer, for inputs `[c, h, w]`; no norms, so that scales count."""
    stride = 2 if min(shape[1:]) >= 16 else 1
    high, wide = (-(-side // (4 * stride)) for side in shape[1:])
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(shape[0], 32, 5, stride, 2)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(32, 64, 3, 2, 1)),
        ("relu2", nn.ReLU()),
        ("conv3", nn.Conv2d(64, 128, 3, 2, 1)),
        ("relu3", nn.ReLU()),
        ("flat", nn.Flatten()),
        ("linear", nn.Linear(128 * high * wide, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))


@dataclass(frozen=True)
class Bench:
    """One call of a study.

    `data`: as `load_data` takes it, with the splits train and test; `out`: where all is kept; `fast`: in minutes, on less.
    """

    data: str
    out: Path
    fast: bool = False
    seed: int = 0
    say: Callable[[str], None] = print
    halt: Callable[[], bool] = lambda: False

    def of(self, fast: T, full: T) -> T:
        """The one that this run is to use."""
        return fast if self.fast else full

    @cached_property
    def kind(self) -> Kind:
        """The net and radius for these data; raises ConfigError for a shape that there are none for."""
        shape = tuple(self._whole["test"].x.shape[1:])
        if shape not in KINDS:
            known = ", ".join(str(list(one)) for one in KINDS)
            raise ConfigError(f"--data {self.data!r} has inputs {list(shape)}: the studies know {known}")
        return KINDS[shape]

    @cached_property
    def _whole(self) -> dict[str, Dataset]:
        """Both splits, each in an order drawn by the seed, so that the first n are a fair sample, and within the first 2n."""
        found = {}
        for split, mark in (("train", 0), ("test", 1)):
            data = load_data(self.data, split=split)
            order = row_key(self.seed, data.ids, torch.full_like(data.ids, mark)).argsort(stable=True)
            found[split] = replace(data, x=data.x[order], y=data.y[order], ids=data.ids[order])
        return found

    def samples(self, split: str, limit: int) -> Dataset:
        """The first `limit` of `train` or `test`, all where there are fewer; by their ids, as `standing` has them."""
        data = self._whole[split].select(limit)
        order = data.ids.argsort()
        return replace(data, x=data.x[order], y=data.y[order], ids=data.ids[order])

    @property
    def classes(self) -> int:
        """How many classes the data have."""
        return 1 + max(int(data.y.max()) for data in self._whole.values())

    def fresh(self, make: Callable[[int], nn.Module] | None = None) -> Classifier:
        """A net of these data's kind, or what `make` makes for so many classes, with random weights, the same at each call."""
        with kept_generators(torch.device("cpu")):
            torch.manual_seed(self.seed)
            return Classifier((make or self.kind.net)(self.classes).eval(), self.classes)

    def trained(
        self, name: str, objective: Objective, data: Dataset, steps: int, each: Each = lambda model, epoch: None,
        begin: Classifier | None = None,
    ) -> Classifier:  # fmt: skip
        """A fresh net, or a copy of `begin`, after at least so many steps of AdamW; kept under `name`, found there by the next call."""
        batch, model = min(BATCH, len(data)), self.fresh() if begin is None else begin.around(copy.deepcopy(cast(nn.Module, begin.net)))
        epochs = max(1, math.ceil(steps / (len(data) // batch)))

        def watch(step: int, steps: int, row: dict[str, float]) -> None:
            if row.get("step") == step:
                each(model, int(row["epoch"]))

        self.say(f"net {name}: {len(data):,} samples, {epochs} epochs")
        recipe = Recipe(objective, epochs, batch, "adamw", 2e-3, decay=0.0)
        made = train(model, data, recipe, held=0, out=self.out / "nets" / name, seed=self.seed, watch=watch, halt=self.halt)
        if not made.complete:
            raise KeyboardInterrupt
        return made.model

    def attacked(self, name: str, model: Classifier, data: Dataset, threat: Threat, attacks: Sequence[Attack] = ()) -> Result:
        """A net under `standard-1`, or attacks of one's own, within a threat; kept under `name`."""
        self.say(f"run {name}: {len(data):,} samples")
        out, suite = self.out / "runs" / name, None if attacks else "standard-1"
        found = evaluate(model, data, threat, suite, attacks, out=out, seed=self.seed, halt=self.halt, trust=False)
        if not found.complete:
            raise KeyboardInterrupt
        return found


def standing(found: Result) -> tuple[Tensor, Tensor]:
    """Per sample of a run, in the order of their ids: right when clean, and right under all attacks; bool `[n]`."""
    table = found.standing.sort("sample")
    correct, robust = (torch.from_numpy(table[name].to_numpy().copy()) for name in ("correct", "robust"))
    return correct, robust


def right(model: Classifier, data: Dataset, through: Callable[[Tensor, Tensor], Tensor] = lambda x, y: x, piece: int = 500) -> Tensor:
    """Which samples the model classifies right, bool `[n]`; each piece of inputs is first led `through` something, such as an attack."""
    found = []
    for rows in torch.arange(len(data)).split(piece):
        x, y = model.bounds.intake(data.x[rows], model.dtype, model.device), data.y[rows]
        with torch.no_grad():
            found.append(model(through(x, y)).logits.argmax(dim=1) == y)
    return torch.cat(found)
