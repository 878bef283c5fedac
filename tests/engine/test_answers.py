"""Models that say more than logits, or nothing about classes; and answers that are not numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import flat, perceptron
from conformance.suite import assert_same
from holdfast import attacks
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ModelError
from holdfast.core.rows import Rows
from holdfast.core.types import Access, Batch, Bounds, Goal, Out, Probe, Rule
from holdfast.engine import Outcome, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.goals import Untargeted
from holdfast.parts.threats import Linf

from .lines import after


@dataclass
class Plain:
    """The least that the engine calls a model: `net` answers anything with samples on axis 0."""

    net: nn.Module
    out: type[Out] = Out
    access: Access = Access.GRADIENT
    bounds: Bounds = field(default_factory=Bounds)
    stochastic: bool = False
    independent: bool = True
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    classes: int = 5

    def __call__(self, x: Tensor, /) -> Out:
        answer = self.net(x)
        return self.out(*answer) if isinstance(answer, tuple) else self.out(answer)


@dataclass(frozen=True)
class Seen(Out):
    """Logits, features, and whether an alarm went off."""

    features: Tensor
    alarm: Tensor


class Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.net[:-1](x)
        return self.net[-1](features), features, x.flatten(1).amax(dim=1) > 0.99


@dataclass(frozen=True)
class Unseen(Untargeted):
    """Wrong, and no alarm."""

    def wrong(self, out: Out, batch: Batch) -> Tensor:
        assert isinstance(out, Seen) and isinstance(batch.clean, Seen)
        assert out.features.shape == batch.clean.features.shape
        return super().wrong(out, batch) & ~out.alarm


def test_a_model_with_more_to_say(tmp_path: Path) -> None:
    base = attacks.pgd(0.12, steps=6, restarts=2)
    attack = Attack(Unseen(), base.threat, base.rule, base.stop, base.group)
    model, samples = Plain(Watched().eval(), Seen), flat().samples
    outcome = run(attack, model, samples, Setting(slots=5))
    found = outcome.success & ~outcome.wrong
    assert bool(found.any()) and bool((outcome.adversarial[found].amax(dim=1) <= 0.99).all())
    while not (again := run(attack, model, samples, Setting(slots=5), snapshot=tmp_path / "state", halt=after(2))).complete:
        pass
    assert_same(outcome, again, why="killed, with features in flight")


@dataclass(frozen=True)
class Far(Goal):
    """The answer `[n, k]` is farther than `distance` from the truth `[n, k]`."""

    distance: float = 0.2

    def wrong(self, out: Out, batch: Batch) -> Tensor:
        return self.margin(out, batch) > 0

    def margin(self, out: Out, batch: Batch) -> Tensor:
        return (out.logits - batch.y).flatten(1).norm(dim=1) - self.distance


@dataclass(frozen=True)
class Pixels(Goal):
    """More than half of the pixels `[n, classes, h, w]` are not what `y` `[n, h, w]` says."""

    def wrong(self, out: Out, batch: Batch) -> Tensor:
        return self.margin(out, batch) > 0

    def margin(self, out: Out, batch: Batch) -> Tensor:
        return (out.logits.argmax(dim=1) != batch.y).flatten(1).double().mean(dim=1) - 0.5


@dataclass(frozen=True)
class Point(Rows):
    p: Tensor


@dataclass(frozen=True)
class Drift(Rule):
    """Away from the clean answer, whatever it is: the sign of the gradient of Σ (out − clean − 1)²."""

    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = Point

    def init(self, probe: Probe) -> Point:
        return Point(probe.threat.zero(probe.batch.x))

    def step(self, state: Rows, probe: Probe) -> Point:
        assert isinstance(state, Point)
        _, _, g = probe.grad(state.p, lambda out, batch: (out.logits - batch.clean.logits - 1).square().flatten(1).sum(dim=1))
        return Point(probe.threat.project(probe.batch.x, state.p + 0.05 * g.sign(), probe.batch.radius))


def outcomes(goal: Goal, net: nn.Module, x: Tensor, y: Tensor, folder: Path) -> Outcome:
    """The outcome, the same with 64 slots, with 3, and killed and resumed."""
    attack, model, samples = Attack(goal, Linf(0.3), Drift(), Stop(8)), Plain(net), Samples.of(x, y)
    outcome = run(attack, model, samples)
    assert_same(outcome, run(attack, model, samples, Setting(slots=3)), why="3 slots")
    while not (again := run(attack, model, samples, snapshot=folder / "state", halt=after(2))).complete:
        pass
    assert_same(outcome, again, why="killed")
    return outcome


def test_a_regression(tmp_path: Path) -> None:
    net, x = perceptron(6), flat().samples.x
    with torch.no_grad():
        outcome = outcomes(Far(), net, x, net(x), tmp_path)
        found = outcome.success
        assert bool(found.any()) and not bool(outcome.wrong.any())
        assert bool(((net(outcome.adversarial) - net(x)).norm(dim=1) > 0.2)[found].all())


def test_a_regression_of_one_number(tmp_path: Path) -> None:
    net, x = perceptron(6, classes=1), flat().samples.x
    with torch.no_grad():
        outcome = outcomes(Far(), net, x, -net(x) - 3, tmp_path)
    assert bool(outcome.wrong.all()), "labels below zero and not whole are the goal's affair"


def test_a_segmentation(tmp_path: Path) -> None:
    net = nn.Conv2d(2, 3, 3, padding=1).double().eval()
    x = torch.rand(7, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        y = net(x).argmax(dim=1)
        y[0] = (y[0] + 1) % 3
        outcome = outcomes(Pixels(), net, x, y, tmp_path)
        changed = (net(outcome.adversarial).argmax(dim=1) != y).flatten(1).double().mean(dim=1)
    assert outcome.wrong.tolist() == [True] + [False] * 6
    assert bool((changed > 0.5)[outcome.success].all())


class Holes(nn.Module):
    """NaN where the first value is above `edge`."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.net, self.edge = perceptron(6), edge

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] > self.edge, torch.nan, self.net(x))


@pytest.mark.parametrize(
    "attack",
    [
        attacks.pgd(0.3, steps=6, restarts=2), attacks.apgd(0.3, steps=6, objective="dlr"), attacks.bim_b(0.3, steps=4),
        attacks.deepfool(steps=5), attacks.carlini_wagner(steps=6, searches=3, rate=0.1), attacks.pgd(0.3, steps=6, targeted=True),
        attacks.mi_fgsm(0.3, steps=5),
    ],
    ids=str,
)  # fmt: skip
def test_nan_never_counts(attack: Attack) -> None:
    samples = flat().samples
    below = samples.x[:, 0] <= 0.6
    kept = Samples.of(samples.x[below], samples.y[below])
    outcome = run(attack, Classifier(Holes(0.6).eval(), 5, device="cpu"), kept)
    assert bool((outcome.adversarial[:, 0] <= 0.6).all()) and outcome.complete
    assert not bool(outcome.found.margin.isnan().any()) and not bool(outcome.margin.isnan().any())


def test_nan_for_a_clean_input_is_an_error() -> None:
    samples = flat().samples
    with pytest.raises(ModelError, match="NaN for clean sample") as caught:
        run(attacks.fgsm(0.1), Classifier(Holes(0.6).eval(), 5), samples)
    assert "\n" not in str(caught.value)
