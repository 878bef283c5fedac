"""On affine models and nets of two neurons the minimum-norm attacks come close to the exact smallest change, and never below it."""

import math
from functools import cache

import pytest
import torch
from affine import Affine
from two_neurons import TwoNeurons

from holdfast.attacks import carlini_wagner, ddn, deepfool, ead, fab, fmn, sigma_zero
from holdfast.engine import Samples, run
from holdfast.parts.threats import L0, L1, Linf

# The attack, and how far above the exact distance its median may lie: as far as the best of its norm, but for two.
ATTACKS = {
    2: [
        (fmn(steps=150), 1.03),
        # Of three classes the cross-entropy climbs toward both rivals, each by its probability, and not straight to the nearest.
        (ddn(steps=150, length=0.1), 1.1),
        (fab(steps=30), 1.03),
        (carlini_wagner(steps=100, searches=5, rate=0.005, initial=0.1), 1.03),
        (deepfool(), 1.03),
    ],
    math.inf: [(fmn(Linf(math.inf), steps=150), 1.03), (fab(Linf(math.inf), steps=30), 1.03), (deepfool(Linf(math.inf)), 1.03)],
    1: [
        (fmn(L1(math.inf), steps=150), 1.03),
        (fab(L1(math.inf), steps=30), 1.03),
        # It minimises β‖p‖₁ + ‖p‖₂², whose second part spreads what the first would give one value: less so, the larger β is.
        (ead(steps=200, searches=9, initial=1.0, beta=0.1, rate=0.1), 1.1),
    ],
    0: [(fmn(L0(math.inf), steps=150), 1.1), (sigma_zero(steps=300), 1.1)],
}
BEST = {2: 1.03, math.inf: 1.03, 1: 1.10, 0: 1.10}


@cache
def case(kind, p):
    """Models with their exact distances; L0 has its own, small and inside the box, for anywhere else one value would do."""
    if kind == "affine":
        affine = Affine.drawn(24, 12, 3, torch.float64, spread=0.02) if p else Affine.drawn(24, 40, 2, torch.float64, spread=0.3)
        affine = affine if p else affine.within_the_box()
        return affine, affine.distance(p)
    net = TwoNeurons.drawn(16, 8, 3, seed=2) if p else TwoNeurons.drawn(10, 6, 2, seed=2, spread=0.2, lead=1.5)
    return net, net.distance(p)


@cache
def ratios(attack, kind, p):
    """Found over exact, each distance measured here from what was stored; ∞ where nothing was found, as may be where both neurons are
    dead and no gradient points anywhere, and nowhere else. (In L0 longer ways lead into that region, too.)"""
    model, exact = case(kind, p)
    outcome = run(attack, model.model, Samples.of(model.x, model.y))
    fooled = model.net(outcome.adversarial).argmax(dim=1) != model.y
    assert torch.equal(fooled, outcome.success)
    assert bool(fooled.all()) or (kind == "two neurons" and (p == 0 or bool((fooled | model.dead()).all())))
    change = outcome.adversarial - model.x
    size = (change != 0).sum(dim=1).double() if p == 0 else torch.linalg.vector_norm(change, p, dim=1)
    return torch.where(fooled, size / exact, torch.inf)


EACH = [(p, attack, bar) for p, attacks in ATTACKS.items() for attack, bar in attacks]


@pytest.mark.parametrize("kind", ["affine", "two neurons"])
@pytest.mark.parametrize(("p", "attack", "bar"), EACH, ids=lambda value: str(value))
def test_each_comes_close_and_never_below(kind, p, attack, bar):
    ratio = ratios(attack, kind, p)
    assert float(ratio.min()) >= 1 - 1e-5, "a point nearer than the nearest one fools the model"
    assert float(ratio.median()) <= bar


@pytest.mark.parametrize("kind", ["affine", "two neurons"])
@pytest.mark.parametrize("p", ATTACKS)
def test_the_best_is_all_but_exact(kind, p):
    best = min(float(ratios(attack, kind, p).median()) for attack, _ in ATTACKS[p])
    assert best <= BEST[p]


def test_ddn_is_exact_where_there_is_one_rival():
    """Its gradient is then the normal of the boundary, whatever the probabilities."""
    affine = Affine.drawn(24, 12, 2, torch.float64, spread=0.02)
    outcome = run(ddn(steps=150, length=0.1), affine.model, Samples.of(affine.x, affine.y))
    ratio = outcome.found.size / affine.distance(2)
    assert outcome.success.all() and float(ratio.min()) >= 1 - 1e-5 and float(ratio.max()) <= 1.03


def test_the_two_neurons_are_no_affine_model():
    net, exact = case("two neurons", 2)
    assert 0.2 <= float(net.crosses_a_kink().double().mean()) <= 0.8
    # The box is far: no bound on the distances comes from it.
    assert float((net.x - 0.5).abs().max()) + float(case("two neurons", 1)[1].max()) < 0.5 and float(exact.min()) > 0


def test_the_exact_distance_in_l0_is_more_than_one_value_for_some():
    for kind in ("affine", "two neurons"):
        assert set(case(kind, 0)[1].tolist()) > {1.0}
