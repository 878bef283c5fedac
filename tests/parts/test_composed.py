"""Several changes in order, each within its own radius; and the covered square."""

from __future__ import annotations

import math

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds
from holdfast.parts.threats import Colour, Composed, Flow, Linf, Occlusion
from holdfast.parts.threats.flow import warp
from holdfast.parts.threats.smooth import roughness

TABLE = Colour(0.06, space="rgb", resolution=(2, 2, 2))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(flow: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    return torch.cat([flow.flatten(1) / 2.0, delta.flatten(1) / 0.1], dim=1)


def test_parts_are_applied_in_their_order():
    x, flow, delta = random(2, 1, 4, 4), 2 * random(2, 2, 4, 4, seed=1) - 1, 0.1 * random(2, 1, 4, 4, seed=2)
    one = Composed((Flow(2.0), Linf(0.1)))
    assert torch.allclose(one.apply(x, shares(flow, delta)), warp(x, flow) + delta, atol=1e-12)
    other = Composed((Linf(0.1), Flow(2.0)))
    turned = torch.cat([delta.flatten(1) / 0.1, flow.flatten(1) / 2.0], dim=1)
    assert torch.allclose(other.apply(x, turned), warp(x + delta, flow), atol=1e-12)


def test_size_is_the_largest_share_and_the_penalty_the_sum():
    x, flow, delta = 0.5 + 0 * random(2, 1, 4, 4), 2 * random(2, 2, 4, 4, seed=1) - 1, 0.1 * random(2, 1, 4, 4, seed=2)
    both = Composed((Flow(2.0), Linf(0.1)))
    expected = torch.maximum(Flow(2.0).size(x, flow) / 2, Linf(0.1).size(x, delta) / 0.1)
    assert torch.allclose(both.size(x, shares(flow, delta)), expected)
    assert torch.allclose(both.penalty(x, shares(flow, delta)), roughness(flow))


@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_every_part_is_projected_into_its_own_radius_and_the_range(radius):
    x = random(3, 3, 5, 5)
    threat = Composed((TABLE, Flow(1.5), Linf(0.1))).within(Bounds())
    p = threat.project(x, 6 * random(3, threat.zero(x).shape[1], seed=3) - 3, torch.full((3,), radius, dtype=torch.float64))
    table, flow, delta = p.split([24, 50, 75], dim=1)
    assert float(table.abs().max()) <= radius and float(delta.abs().max()) <= radius + 1e-12
    assert float(flow.reshape(3, 2, 5, 5).norm(dim=1).max()) <= radius * (1 + 1e-12)
    assert torch.allclose(threat.size(x, p), torch.full((3,), radius, dtype=torch.float64))
    assert bool(((threat.apply(x, p) >= -1e-12) & (threat.apply(x, p) <= 1 + 1e-12)).all())
    assert torch.allclose(threat.project(x, p, torch.full((3,), radius, dtype=torch.float64)), p, atol=1e-12)


def test_nothing_is_changed_by_nothing_and_random_changes_fit():
    x, threat = random(3, 3, 4, 4).float(), Composed((TABLE, Flow(1.0), Linf(0.1)))
    assert torch.equal(threat.apply(x, threat.zero(x)), x) and threat.size(x, threat.zero(x)).tolist() == [0, 0, 0]
    p = threat.random(x, Draw(torch.arange(3), torch.zeros(3, dtype=torch.int64)), torch.ones(3))
    assert bool((threat.size(x, p) <= 1 + 1e-6).all()) and bool((threat.size(x, p) > 0.5).all())


def test_gradients_of_a_composition():
    x, threat = 0.3 + 0.4 * random(1, 3, 3, 3), Composed((Colour(0.06, resolution=(2, 2, 2)), Flow(1.0), Linf(0.1)))
    p = (0.1 + 0.5 * random(1, threat.zero(x).shape[1], seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: threat.apply(x, q), (p,))


def test_compositions_need_parts_with_radii_and_inputs_that_fit_all():
    for parts in ((Flow(1.0),), (Flow(math.inf), Linf(0.1))):
        with pytest.raises(ConfigError, match="expected two threats or more"):
            Composed(parts)
    both = Composed((Linf(0.1), Flow(1.0)))
    assert "images" in both.unfit((6,)) and not both.unfit((1, 3, 3))
    assert both.kind == "Linf 0.1 + Flow 1" != Composed((Linf(0.2), Flow(1.0))).kind


def test_a_square_covers_its_place_and_nothing_else():
    x, content = random(2, 3, 6, 7), random(2, 3, 6, 7, seed=1)
    patch = Occlusion(3)
    after = patch.apply(x, patch.covering(x, content, torch.tensor([0, 3]), torch.tensor([4, 1])))
    expected = x.clone()
    expected[0, :, 0:3, 4:7], expected[1, :, 3:6, 1:4] = content[0, :, 0:3, 4:7], content[1, :, 3:6, 1:4]
    assert torch.equal(after, expected)
    assert torch.equal(patch.apply(x, patch.zero(x)), x) and patch.size(x, patch.zero(x)).tolist() == [0, 0]


def test_what_is_covered_is_measured_and_cut_to_a_square():
    x, patch = random(1, 1, 6, 6), Occlusion(2)
    p = patch.zero(x)
    p[0, 0, 1, 1:5], p[0, 0, 4, 2], p[0, 1] = 1, 1, 7.0
    assert patch.size(x, p).tolist() == [4]
    cut = patch.project(x, p)
    assert patch.size(x, cut).tolist() == [2] and cut[0, 0].nonzero().tolist() == [[1, 1], [1, 2]]
    assert float(patch.apply(x, cut).max()) == 1.0
    assert torch.equal(patch.project(x, cut), cut)


def test_random_squares_lie_inside_and_reach_every_corner():
    x = torch.zeros(400, 1, 4, 5)
    patch = Occlusion(3)
    p = patch.random(x, Draw(torch.arange(400), torch.zeros(400, dtype=torch.int64)), torch.full((400,), 3.0))
    assert bool((p[:, 0].flatten(1).sum(dim=1) == 9).all()) and patch.size(x, p).unique().tolist() == [3]
    assert {tuple(place) for place in p[:, 0].flatten(1).argmax(dim=1).unsqueeze(1).tolist()} == {
        (r * 5 + c,) for r in (0, 1) for c in (0, 1, 2)
    }
    with pytest.raises(ConfigError, match="a pixel at least"):
        Occlusion(0)
