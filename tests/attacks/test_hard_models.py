"""Models that give an attack nothing to go by (NaN off the clean input, no slope, huge logits): nothing false comes of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.engine import Samples, run
from holdfast.models import Classifier
from holdfast.parts.threats import L1, L2, Linf

MADE = [
    *[attacks.apgd(threat, steps=8, objective=name) for threat in (Linf(0.2), L2(0.3), L1(0.5)) for name in ("ce", "dlr")],
    *[
        make(threat, steps=8)
        for threat in (Linf(0.2), L2(0.3), L1(0.5))
        for make in (attacks.apgd_targeted, attacks.fab, attacks.fab_targeted)
    ],
    *[attacks.cosine(threat, steps=8, restarts=3, starts=("diversified", "corner", "uniform")) for threat in (Linf(0.2), L2(0.3))],
    attacks.square(0.2, steps=20),
    attacks.square(L2(0.3), steps=20),
    attacks.square(L1(0.5), steps=20),
]
EVERY = pytest.mark.parametrize("attack", MADE, ids=str)


class Shaped(nn.Module):
    """Logits of an affine model, passed through `f(z, x)`."""

    def __init__(self, f, classes: int, features: int) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        weight = torch.randn(features, classes, generator=torch.Generator().manual_seed(features), dtype=torch.float64)
        self.f, self.weight = f, nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x.flatten(1) @ self.weight, x.flatten(1))


def nowhere_but_clean(z: Tensor, x: Tensor) -> Tensor:
    """NaN off the points (0.5, …, 0.5)."""
    return torch.where((x == 0.5).all(dim=1, keepdim=True), z, torch.nan)


SHAPES = {
    "NaN": nowhere_but_clean,
    "flat": lambda z, x: 0 * z + z.detach() * 0 + torch.arange(z.shape[1], 0, -1),
    "huge": lambda z, x: 1e200 * z,
}


@EVERY
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("classes", "features"), [(5, 6), (2, 1), (3, 4)])
def test_nothing_false_comes_of_it(attack: Attack, kind: str, classes: int, features: int) -> None:
    net = Shaped(SHAPES[kind], classes, features).eval()
    x = torch.full((4, features), 0.5, dtype=torch.float64)
    y = net(x).argmax(dim=1)
    outcome = run(attack, Classifier(net, classes), Samples.of(x, y))
    assert outcome.complete and bool(outcome.adversarial.isfinite().all())
    assert torch.equal(net(outcome.adversarial).argmax(dim=1) != y, outcome.success)
    assert not bool(outcome.success.any()) or kind == "huge"


def test_huge_logits_do_not_hide_the_boundary() -> None:
    """Finite logits whose exponentials are not: the objectives that divide by a gap still find what lies within the radius."""
    net = Shaped(SHAPES["huge"], 5, 6).eval()
    x = torch.rand(16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(dim=1)
    plain = Classifier(Shaped(lambda z, x: z, 5, 6).eval(), 5)
    for attack in (attacks.apgd(0.3, steps=20, objective="dlr"), attacks.fab_targeted(0.3, steps=10)):
        huge, usual = (run(attack, model, Samples.of(x, y)) for model in (Classifier(net, 5), plain))
        assert bool(usual.success.any()) and torch.equal(huge.success, usual.success)
