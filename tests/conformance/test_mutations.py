"""The suite catches what rules do wrong most often: each flaw below is found by some promise, and the same rule without it passes all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor

from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Rule
from holdfast.parts.goals import Untargeted
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.threats import Linf

from .bench import flat
from .suite import PROMISES, Promise

Flaw = Literal["none", "batch-wide maximum", "abort when all succeed", "abort when any succeeds", "one draw for all", "global generator"]


@dataclass(frozen=True)
class Place(Rows):
    p: Tensor


@dataclass(frozen=True)
class Walk(Rule):
    """From a random start along the gradient divided by its largest value, with a little noise; `flaw` is what is wrong with it."""

    flaw: Flaw = "none"
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = Place

    def init(self, probe: Probe) -> Place:
        x = probe.batch.x
        return Place(probe.threat.project(x, self._noise("start", probe) * per_row(probe.batch.radius, x), probe.batch.radius))

    def step(self, state: Rows, probe: Probe) -> Place:
        assert isinstance(state, Place)
        answer, _, g = probe.grad(state.p, CrossEntropy())
        if (self.flaw == "abort when all succeed" and bool(answer.wrong.all())) or (
            self.flaw == "abort when any succeeds" and bool(answer.wrong.any())
        ):
            return state
        largest = g.abs().amax().expand(len(g)) if self.flaw == "batch-wide maximum" else g.abs().flatten(1).amax(dim=1)
        length = per_row(0.3 * probe.batch.radius, g)
        move = length * (g / per_row(largest, g).clamp_min(1e-12) + 0.1 * self._noise("step", probe))
        return Place(probe.threat.project(probe.batch.x, state.p + move, probe.batch.radius))

    def _noise(self, name: str, probe: Probe) -> Tensor:
        x = probe.batch.x
        if self.flaw == "global generator":
            return torch.rand_like(x) * 2 - 1
        noise = probe.draw.uniform(name, tuple(x.shape[1:]), x.dtype) * 2 - 1
        return noise[:1].expand_as(x) if self.flaw == "one draw for all" else noise

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, Place)
        return state.p


def walk(flaw: Flaw) -> Attack:
    return Attack(Untargeted(), Linf(0.08), Walk(flaw), Stop(5, early=False), Group(2))


def broken(flaw: Flaw, among: tuple[Promise, ...] = PROMISES) -> list[str]:
    """The promises that a walk with this flaw breaks."""
    found = []
    for promise in among:
        try:
            promise(walk(flaw), flat())
        except AssertionError:
            found.append(promise.__name__)
    return found


@pytest.mark.parametrize(
    ("flaw", "least"),
    [
        ("batch-wide maximum", {"slots_do_not_matter", "shards_do_not_matter"}),
        ("abort when any succeeds", {"slots_do_not_matter", "shards_do_not_matter"}),
        ("abort when all succeed", {"slots_do_not_matter"}),
        ("one draw for all", {"slots_do_not_matter", "order_does_not_matter"}),
        ("global generator", {"noise_is_keyed", "slots_do_not_matter", "kills_do_not_matter"}),
    ],
)
def test_the_suite_catches(flaw: Flaw, least: set[str]) -> None:
    assert set(broken(flaw, tuple(promise for promise in PROMISES if promise.__name__ in least))) == least


def test_the_honest_twin_passes() -> None:
    assert broken("none") == []
