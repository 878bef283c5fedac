"""On affine models DeepFool and Carlini–Wagner find the exact smallest change, and never less than it."""

import math

import pytest
import torch
from affine import Affine

from holdfast.attacks import carlini_wagner, deepfool, fab, fab_targeted, fmn
from holdfast.core.rows import per_row
from holdfast.engine import Samples, run
from holdfast.parts.threats import L1, L2, Linf

SIZES = [(2, 2), (10, 3), (40, 6)]
NORMS = [(L2(math.inf), 2), (Linf(math.inf), math.inf)]
DTYPES = [torch.float64, torch.float32]


def ratios(outcome, exact):
    """Found over exact; every claim is checked against the definition, outside the library."""
    assert outcome.success.all() and outcome.complete
    return outcome.found.size.double() / exact


def changes(outcome, affine):
    return (outcome.adversarial.double() - affine.x.double()).flatten(1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), SIZES)
@pytest.mark.parametrize(("threat", "p"), NORMS)
def test_deepfool_reaches_the_nearest_boundary(dtype, d, classes, threat, p):
    affine = Affine.drawn(40, d, classes, dtype)
    outcome = run(deepfool(threat), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(p))
    assert float(ratio.min()) >= 1.0 and float(ratio.median()) <= 1.03 and float(ratio.max()) <= 1.1
    assert torch.allclose(torch.linalg.vector_norm(changes(outcome, affine), p, dim=1), outcome.found.size, rtol=1e-3)
    assert bool((affine.net(outcome.adversarial).argmax(dim=1) != affine.y).all())


def test_deepfool_is_done_in_one_step_on_an_affine_model():
    affine = Affine.drawn(40, 10, 5, torch.float64)
    assert run(deepfool(steps=1), affine.model, Samples.of(affine.x, affine.y)).success.all()


def test_deepfool_in_l1_moves_one_value():
    affine = Affine.drawn(40, 10, 4, torch.float64, spread=0.02)
    outcome = run(deepfool(L1(math.inf)), affine.model, Samples.of(affine.x, affine.y))
    assert float(ratios(outcome, affine.distance(1)).max()) <= 1.03
    assert (changes(outcome, affine) != 0).sum(dim=1).tolist() == [1] * 40


def test_deepfool_in_l1_goes_on_with_other_values_where_one_is_used_up():
    affine = Affine.drawn(30, 40, 2, torch.float64)
    x = (affine.x > 0.5).double() * 0.98 + 0.01
    y = affine.net(x).argmax(dim=1)
    gap, normal = Affine(affine.net, x, y).gaps(y)
    rival = (1 - y).unsqueeze(1)
    need, w = -gap.gather(1, rival).squeeze(1), normal[torch.arange(30), 1 - y]
    # The cheapest way in a box: each value in turn to its edge, those with the largest weights first.
    room = torch.where(w > 0, 1 - x, x)
    weight, order = w.abs().sort(dim=1, descending=True)
    gain = (weight * room.gather(1, order)).cumsum(dim=1)
    whole = gain < need.unsqueeze(1)
    spent = (room.gather(1, order) * whole).sum(dim=1)
    left = need - (weight * room.gather(1, order) * whole).sum(dim=1)
    exact = spent + left / weight.gather(1, whole.sum(dim=1, keepdim=True)).squeeze(1)
    assert int((whole.sum(dim=1) > 0).sum()) > 10
    outcome = run(deepfool(L1(math.inf)), affine.model, Samples.of(x, y))
    assert float(ratios(outcome, exact).max()) <= 1.03


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_deepfool_does_not_depend_on_the_scale_of_the_logits(scale):
    affine = Affine.drawn(20, 10, 4, torch.float64)
    exact = affine.distance(2)
    affine.net.weight.mul_(scale)
    affine.net.bias.mul_(scale)
    assert float(ratios(run(deepfool(), affine.model, Samples.of(affine.x, affine.y)), exact).median()) <= 1.03


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), [(2, 2), (10, 3)])
@pytest.mark.parametrize(("threat", "p"), NORMS)
def test_targeted_deepfool_reaches_the_region_of_its_target(dtype, d, classes, threat, p):
    affine = Affine.drawn(40, d, classes, dtype)
    target = (affine.y + 1) % classes
    outcome = run(deepfool(threat, targeted=True), affine.model, Samples.of(affine.x, affine.y, target=target))
    ratio = ratios(outcome, affine.distance_to(target, p))
    assert float(ratio.min()) >= 1.0 - 1e-6 and float(ratio.median()) <= 1.03
    assert torch.equal(affine.net(outcome.adversarial).argmax(dim=1), target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), [(2, 2), (20, 5)])
def test_carlini_wagner_reaches_the_nearest_boundary(dtype, d, classes):
    affine = Affine.drawn(24, d, classes, dtype, spread=0.1)
    outcome = run(carlini_wagner(steps=100, searches=5, rate=0.005, initial=0.1), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(2))
    assert float(ratio.min()) >= 1.0 - 1e-6 and float(ratio.median()) <= 1.03
    lengths = changes(outcome, affine).norm(dim=1)
    assert torch.allclose(lengths, outcome.found.size, rtol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), [(2, 2), (20, 5)])
def test_targeted_carlini_wagner_reaches_the_region_of_its_target(dtype, d, classes):
    affine = Affine.drawn(24, d, classes, dtype, spread=0.1)
    target = (affine.y + 1) % classes
    attack = carlini_wagner(steps=100, searches=5, rate=0.005, initial=0.1, targeted=True)
    outcome = run(attack, affine.model, Samples.of(affine.x, affine.y, target=target))
    ratio = ratios(outcome, affine.distance_to(target, 2))
    assert float(ratio.min()) >= 1.0 - 1e-6 and float(ratio.median()) <= 1.05
    assert torch.equal(affine.net(outcome.adversarial).argmax(dim=1), target)


@pytest.mark.parametrize("kappa", [0.5, 2.0])
def test_carlini_wagner_with_confidence_goes_as_far_as_the_shifted_boundary(kappa):
    affine = Affine.drawn(24, 20, 2, torch.float64)
    attack = carlini_wagner(steps=120, searches=5, rate=0.005, initial=0.1, confidence=kappa)
    outcome = run(attack, affine.model, Samples.of(affine.x, affine.y))
    gap, normal = affine.gaps(affine.y)
    rival = (1 - affine.y).unsqueeze(1)
    exact = ((kappa - gap).gather(1, rival) / normal.norm(dim=2).gather(1, rival)).squeeze(1)
    ratio = ratios(outcome, exact)
    assert float(ratio.min()) >= 1.0 - 1e-6 and float(ratio.median()) <= 1.05
    assert bool((outcome.found.margin >= kappa).all())


def test_a_change_of_less_than_the_exact_distance_fools_nothing():
    affine = Affine.drawn(40, 10, 4, torch.float64)
    outcome = run(deepfool(), affine.model, Samples.of(affine.x, affine.y))
    change = outcome.adversarial - affine.x
    shorter = affine.x + change * per_row(0.999 * affine.distance(2) / outcome.found.size, change)
    assert torch.equal(affine.net(shorter).argmax(dim=1), affine.y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), SIZES)
@pytest.mark.parametrize(("threat", "p"), [*NORMS, (L1(math.inf), 1)])
def test_fab_reaches_the_nearest_boundary(dtype, d, classes, threat, p):
    affine = Affine.drawn(40, d, classes, dtype, spread=0.02)
    outcome = run(fab(threat, steps=30), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(p))
    assert float(ratio.min()) >= 1 - 1e-5 and float(ratio.median()) <= 1.01 and float(ratio.max()) <= 1.1


@pytest.mark.parametrize("threat", [Linf(math.inf), L2(math.inf)])
def test_fab_toward_every_rival_finds_the_nearest(threat):
    affine = Affine.drawn(40, 10, 4, torch.float64, spread=0.02)
    outcome = run(fab_targeted(threat, steps=30, rivals=3), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(2 if isinstance(threat, L2) else math.inf))
    assert float(ratio.min()) >= 1 - 1e-5 and float(ratio.max()) <= 1.05


def test_fab_within_a_radius_ends_at_the_first_success():
    affine = Affine.drawn(40, 10, 4, torch.float64, spread=0.02)
    exact = affine.distance(2)
    radius = float(exact.median())
    outcome = run(fab(L2(radius), restarts=2), affine.model, Samples.of(affine.x, affine.y))
    assert torch.equal(outcome.success, exact < radius)
    assert int(outcome.found.step[outcome.success].max()) < 20


@pytest.mark.parametrize("threat", [Linf(math.inf), L2(math.inf), L1(math.inf)])
def test_fmn_crosses_the_boundary_that_it_sits_on(threat):
    affine = Affine.drawn(60, 1, 2, torch.float32)
    assert run(fmn(threat, steps=60), affine.model, Samples.of(affine.x, affine.y)).success.all()


def test_deepfool_toward_an_unlikely_class_of_many():
    affine = Affine.drawn(24, 40, 30, torch.float64)
    target = affine.net(affine.x).argmin(dim=1)
    outcome = run(deepfool(steps=100, targeted=True), affine.model, Samples.of(affine.x, affine.y, target=target))
    assert float(outcome.success.double().mean()) > 0.5
