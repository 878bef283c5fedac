"""On affine models L-BFGS and Carlini–Wagner L∞ find the exact smallest change, and Carlini–Wagner L0 the fewest features."""

import itertools
import math

import pytest
import torch
from affine import Affine

from holdfast.attacks import carlini_wagner_l0, carlini_wagner_linf, lbfgs
from holdfast.engine import Samples, run
from holdfast.parts.threats import L0

SIZES = [(2, 2), (20, 5)]
DTYPES = [torch.float64, torch.float32]


def ratios(outcome, exact):
    assert outcome.success.all() and outcome.complete and outcome.refused == 0
    return outcome.found.size.double() / exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), SIZES)
def test_lbfgs_reaches_the_nearest_boundary(dtype, d, classes):
    affine = Affine.drawn(24, d, classes, dtype, spread=0.1)
    outcome = run(lbfgs(searches=20), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(2))
    # In float32 the margin itself is rounded by as much.
    assert float(ratio.min()) >= (1 - 1e-5 if dtype == torch.float64 else 0.999) and float(ratio.median()) <= 1.03
    # −max_k margin_k is concave: of several rivals each has a minimiser of its own, and a descent ends at one of them, not the nearest.
    assert classes > 2 or float(ratio.max()) <= 1.03
    change = (outcome.adversarial.double() - affine.x.double()).norm(dim=1)
    assert torch.allclose(change, outcome.found.size.double(), rtol=1e-3)


@pytest.mark.parametrize(("d", "classes", "objective"), [(2, 2, "ce"), (10, 2, "ce"), (10, 3, "margin")])
def test_targeted_lbfgs_reaches_the_region_of_its_target(d, classes, objective):
    """With three classes the minimiser of the cross-entropy lies beyond the nearest point: it minds the third class, too."""
    affine = Affine.drawn(24, d, classes, torch.float64)
    target = (affine.y + 1) % classes
    outcome = run(lbfgs(searches=20, objective=objective, targeted=True), affine.model, Samples.of(affine.x, affine.y, target=target))
    ratio = ratios(outcome, affine.distance_to(target, 2))
    assert float(ratio.min()) >= 1 - 1e-5 and float(ratio.median()) <= 1.03
    assert torch.equal(affine.net(outcome.adversarial).argmax(dim=1), target)


def test_lbfgs_at_the_edge_of_the_range_moves_what_is_free():
    """The nearest point of {w d = gap} in a box, where many values may move one way only: by the water level of its dual."""
    affine = Affine.drawn(24, 20, 2, torch.float64)
    x = (affine.x > 0.5).double() * 0.9 + 0.05
    y = affine.net(x).argmax(dim=1)
    gap, normal = Affine(affine.net, x, y).gaps(y)
    need, w = -gap.gather(1, (1 - y).unsqueeze(1)).squeeze(1), normal[torch.arange(24), 1 - y]
    low, high = torch.zeros(24, dtype=torch.float64), torch.full((24,), 1e3, dtype=torch.float64)
    for _ in range(200):
        level = (low + high) / 2
        d = torch.clamp(level.unsqueeze(1) * w, -x, 1 - x)
        enough = (w * d).sum(dim=1) >= need
        low, high = torch.where(enough, low, level), torch.where(enough, level, high)
    exact, plain = d.norm(dim=1), need / w.norm(dim=1)
    assert int((exact > 1.01 * plain).sum()) >= 10
    ratio = ratios(run(lbfgs(searches=20), affine.model, Samples.of(x, y)), exact)
    assert float(ratio.min()) >= 1 - 1e-5 and float(ratio.median()) <= 1.03


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "classes"), SIZES)
def test_carlini_wagner_linf_reaches_the_nearest_boundary(dtype, d, classes):
    affine = Affine.drawn(24, d, classes, dtype, spread=0.1)
    outcome = run(carlini_wagner_linf(decay=0.95), affine.model, Samples.of(affine.x, affine.y))
    ratio = ratios(outcome, affine.distance(math.inf))
    # The bound falls by 5 % at a time: what is found may lie as far above the smallest that can be.
    assert float(ratio.min()) >= (1 - 1e-5 if dtype == torch.float64 else 0.999) and float(ratio.median()) <= 1.05
    assert bool((affine.net(outcome.adversarial).argmax(dim=1) != affine.y).all())


def test_targeted_carlini_wagner_linf_reaches_the_region_of_its_target():
    affine = Affine.drawn(24, 10, 3, torch.float64)
    target = (affine.y + 1) % 3
    outcome = run(carlini_wagner_linf(decay=0.95, targeted=True), affine.model, Samples.of(affine.x, affine.y, target=target))
    ratio = ratios(outcome, affine.distance_to(target, math.inf))
    assert float(ratio.min()) >= 1 - 1e-5 and float(ratio.median()) <= 1.05
    assert torch.equal(affine.net(outcome.adversarial).argmax(dim=1), target)


def fewest(affine, y, x, channels):
    """The fewest places whose values, moved as far as they may go, change the class: by trying all sets (they are few)."""
    w, b = affine.net.weight, affine.net.bias
    counts = []
    for row, label in zip(x, y, strict=True):
        places = row.numel() // channels
        for count in range(1, places + 1):
            if any(crosses(w, b, row, int(label), subset, places) for subset in itertools.combinations(range(places), count)):
                break
        counts.append(count)
    return torch.tensor(counts)


def crosses(w, b, row, label, subset, places):
    inside = torch.tensor([i % places in subset for i in range(row.numel())])
    for k in range(len(w)):
        normal = w[k] - w[label]
        best = torch.where(inside, (normal > 0).to(row.dtype), row)
        if k != label and float(normal @ best + b[k] - b[label]) > 0:
            return True
    return False


@pytest.mark.parametrize("channels", [1, 2])
def test_carlini_wagner_l0_changes_as_few_places_as_any_set(channels):
    affine = Affine.drawn(24, 8 * channels, 3, torch.float64, spread=0.15)
    net = torch.nn.Sequential(torch.nn.Flatten(), affine.net)
    gap, normal = affine.gaps(affine.y)
    rival = gap.scatter(1, affine.y.unsqueeze(1), -math.inf).argmax(dim=1)
    # Deeper inside its class, so that one place is seldom enough.
    x = (affine.x - 0.45 * normal[torch.arange(24), rival].sign()).clamp(0.02, 0.98).reshape(24, channels, 8, 1)
    y = net(x).argmax(dim=1)
    threat = L0(math.inf, pixels=channels > 1)
    outcome = run(carlini_wagner_l0(threat), type(affine.model)(net, 3), Samples.of(x, y))
    exact = fewest(affine, y, x.flatten(1), channels)
    assert outcome.success.all() and outcome.refused == 0
    found = outcome.found.size.long()
    # Not all: it gives up places by what they did in the shortest change of L2, w², and not by what they could do, |w| times their room.
    assert bool((found >= exact).all()) and float((found / exact).median()) <= 1.1
    assert torch.equal(found, threat.size(x, outcome.adversarial - x).long())
    assert float(exact.double().mean()) > 1.3
