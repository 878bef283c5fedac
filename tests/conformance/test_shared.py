"""Every shared perturbation of the catalogue keeps every promise of its suite, and the suite catches what breaks them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from holdfast import L2, training
from holdfast.core.draw import Draw
from holdfast.core.rows import Rows
from holdfast.core.types import Bounds
from holdfast.training.shared import SHARED, Shared, patch, rp2, universal, universal_gradient
from holdfast.training.shared.ask import Ask
from holdfast.training.shared.moves import Climb
from holdfast.training.shared.placements import Added

from .bench import case, images
from .shared_suite import PROMISES, Promise, counts_are_honest, noise_is_keyed, the_perturbation_holds

SMALL: dict[str, list[Shared]] = {
    "patch": [patch(2, side=0.5, passes=3, rate=0.2), patch(side=0.5, shape="square", passes=2, draws=2, batch=5)],
    "rp2": [
        rp2(1, mask="disc", weight=0.01, passes=3, rate=0.2, draws=2),
        rp2(threat=L2(0.5), mask="square", power=1, palette=((0.0, 0.0), (1.0, 1.0)), passes=2, rate=0.2, draws=1),
    ],
    "universal": [universal(0.15, passes=2, steps=4), universal(L2(0.5), passes=2, until=0.3, together=1, target=4)],
    "universal_gradient": [universal_gradient(0.15, passes=3, batch=5), universal_gradient(L2(0.5), passes=2, target=2, batch=5)],
}
METHODS = [method for methods in SMALL.values() for method in methods]


def test_every_method_is_tried() -> None:
    assert set(SMALL) == set(SHARED) and training.__doc__


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_promises(method: Shared, promise: Promise) -> None:
    promise(method, images())


@pytest.mark.parametrize("method", [universal(0.2, passes=1), universal_gradient(0.2, passes=1)], ids=str)
def test_small_inputs(method: Shared) -> None:
    for one in (case((1,), n=9), case((6,), n=9, classes=2), case((1, 3, 3), n=2)):
        the_perturbation_holds(method, one)


Flaw = Literal["none", "global generator", "unheld", "uncounted"]


@dataclass(frozen=True)
class Bent(Added):
    """An addition that is not held to its ball, or whose first point comes from the global generator."""

    flaw: Flaw = "none"

    def fresh(self, x: Tensor, bounds: Bounds, draw: Draw) -> Tensor:
        return 0.01 * torch.randn(1, *x.shape[1:]).to(x.dtype) if self.flaw == "global generator" else super().fresh(x, bounds, draw)

    def project(self, p: Tensor, bounds: Bounds) -> Tensor:
        return p if self.flaw == "unheld" else super().project(p, bounds)


@dataclass(frozen=True)
class Sly(Climb):
    """A climb that also asks the model behind the counter's back."""

    def step(self, p: Tensor, memory: Rows, ask: Ask, share: float) -> tuple[Tensor, Rows]:
        ask.model._model(ask.x)  # type: ignore[attr-defined]
        return super().step(p, memory, ask, share)


def bent(flaw: Flaw) -> Shared:
    honest = universal_gradient(0.1, passes=2, rate=1.0, batch=5)
    if flaw == "uncounted":
        climb = honest.move
        assert isinstance(climb, Climb)
        return replace(honest, move=Sly(climb.objective, climb.rate, climb.steepest))
    placement = honest.scene.placement
    assert isinstance(placement, Added)
    return replace(honest, scene=replace(honest.scene, placement=Bent(placement.threat, None, flaw)))


@pytest.mark.parametrize(
    ("flaw", "promise"),
    [("global generator", noise_is_keyed), ("unheld", the_perturbation_holds), ("uncounted", counts_are_honest)],
)
def test_the_suite_catches(flaw: Flaw, promise: Promise) -> None:
    promise(bent("none"), images())
    with pytest.raises(AssertionError):
        promise(bent(flaw), images())
