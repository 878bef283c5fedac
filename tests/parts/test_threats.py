"""Every norm ball projects into itself and the valid range, starts inside, and knows its steepest and nearest directions."""

import math

import pytest
import torch

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds
from holdfast.parts.threats import L0, L1, L2, Linf

WIDE = Bounds((-2.1, -2.0, 0.3), (2.6, 2.4, 0.9))
RANGES = {"unit": Bounds(), "bytes": Bounds(0.0, 255.0), "wide": Bounds(-10.0, 10.0), "per channel": WIDE}
RADII = {Linf: 0.03, L2: 0.7, L1: 3.0, L0: 5}
NORMS = {
    Linf: lambda p: p.abs().flatten(1).amax(dim=1),
    L2: lambda p: p.square().flatten(1).sum(dim=1).sqrt(),
    L1: lambda p: p.abs().flatten(1).sum(dim=1),
    L0: lambda p: (p != 0).flatten(1).sum(dim=1).double(),
}
g = torch.Generator().manual_seed(0)


def inputs(bounds, n=50):
    low, high = bounds.pair(torch.zeros(n, 3, 4, 4))
    unit = torch.rand(n, 3, 4, 4, generator=g)
    unit[::7] = 0.0
    unit[1::7] = 1.0
    return bounds.clamp(low + (high - low) * unit)


def rows(n, step=0):
    at = torch.arange(n)
    return Draw(row_key(0, at, at * 0), at * 0 + step)


def outside(bounds, point):
    """How far the worst value lies beyond the range, in spacings of float32 at the range's ends."""
    low, high = bounds.pair(point)
    ends = max(abs(float(torch.as_tensor(low).abs().max())), abs(float(torch.as_tensor(high).abs().max())))
    return float(torch.maximum(point - high, low - point).max()) / (ends * 2**-23)


@pytest.mark.parametrize("kind", RADII)
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_projection_lands_in_ball_and_range_and_stays(kind, name, scale):
    bounds = RANGES[name]
    threat = kind(RADII[kind]).within(bounds)
    x = inputs(bounds)
    radius = RADII[kind] * torch.linspace(0.2, 2.0, len(x)).to(x.dtype)
    q = threat.project(x, scale * torch.randn(x.shape, generator=g), radius)
    assert bool((NORMS[kind](q.double()) <= radius.double() * (1 + 1e-6) + 1e-7).all())
    assert outside(bounds, x + q) <= (0 if name == "unit" else 1)
    # The L1 sum is rounded to the dtype of p, so a second projection may shrink each value by as much.
    assert torch.allclose(threat.project(x, q, radius), q, rtol=1e-6, atol=1e-6 if kind is L1 else 1e-9)


@pytest.mark.parametrize("kind", RADII)
def test_projection_without_a_radius_uses_the_threats_own(kind):
    x = inputs(Bounds())
    p = torch.randn(x.shape, generator=g)
    own = kind(RADII[kind]).project(x, p)
    assert torch.equal(own, kind(99.0).project(x, p, torch.full((len(x),), float(RADII[kind]))))


@pytest.mark.parametrize("kind", RADII)
@pytest.mark.parametrize("name", RANGES)
def test_random_starts_are_inside_differ_by_row_and_repeat(kind, name):
    bounds = RANGES[name]
    threat = kind(RADII[kind]).within(bounds)
    x = inputs(bounds)
    radius = torch.full((len(x),), float(RADII[kind]))
    p = threat.random(x, rows(len(x)), radius)
    assert bool((NORMS[kind](p.double()) <= radius.double() * (1 + 1e-6) + 1e-7).all()) and p.any()
    assert outside(bounds, x + p) <= 1
    assert torch.equal(p[7:9], threat.random(x[7:9], Draw(rows(len(x)).key[7:9], rows(len(x)).step[7:9]), radius[7:9]))
    assert len(p.flatten(1).unique(dim=0)) > 0.9 * len(p)


def test_a_random_start_fills_the_linf_ball_evenly():
    x = torch.full((400, 3, 4, 4), 0.5)
    p = Linf(0.1).random(x, rows(400), torch.full((400,), 0.1)) / 0.1
    assert abs(float(p.mean())) < 0.02 and abs(float(p.square().mean()) - 1 / 3) < 0.01


def test_a_random_start_fills_the_l2_ball_evenly():
    x = torch.full((2000, 3), 0.5)
    length = L2(0.1).random(x, rows(2000), torch.full((2000,), 0.1)).norm(dim=1) / 0.1
    assert abs(float((length**3).mean()) - 0.5) < 0.03


def test_a_random_start_of_l1_lies_on_the_sphere_of_a_free_box():
    x = torch.full((100, 30), 0.5)
    p = L1(0.4).random(x, rows(100), torch.full((100,), 0.4))
    assert torch.allclose(p.abs().sum(dim=1), torch.tensor(0.4), rtol=1e-5)
    assert abs(float(p.sign().mean())) < 0.1


@pytest.mark.parametrize(("kind", "dual"), [(Linf, 1), (L2, 2), (L1, math.inf)])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e6])
def test_steepest_has_size_one_and_reaches_the_dual_norm(kind, dual, scale):
    threat = kind(1.0)
    w = scale * torch.randn(20, 3, 4, 4, generator=g)
    d = threat.steepest(w)
    expected = torch.linalg.vector_norm(w.flatten(1), dual, dim=1)
    assert torch.allclose(threat.size(w, d), torch.ones(20), rtol=1e-5)
    assert torch.allclose((w * d).flatten(1).sum(dim=1), expected, rtol=1e-4)
    assert torch.allclose(threat.gradient_norm(w), expected, rtol=1e-5)
    assert torch.equal(threat.steepest(-w), -d)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e5])
def test_nearest_crosses_the_plane_at_the_dual_distance(kind, scale):
    threat = kind(1.0)
    w, gap = scale * torch.randn(20, 3, 4, 4, generator=g).double(), scale * torch.randn(20, generator=g).double()
    d = threat.nearest(gap, w)
    assert torch.allclose((w * d).flatten(1).sum(dim=1), gap, rtol=1e-6)
    assert torch.allclose(threat.size(w, d), gap.abs() / threat.gradient_norm(w), rtol=1e-6)


@pytest.mark.parametrize("kind", [Linf, L2, L1, L0])
def test_a_zero_gradient_moves_nothing(kind):
    zero = torch.zeros(2, 3, 4, 4)
    assert not kind(1.0).steepest(zero).any()
    if kind is not L0:
        assert not kind(1.0).nearest(torch.ones(2), zero).any()


def test_l1_steps_move_the_largest_share_of_values_alike():
    w = torch.randn(5, 400, generator=g)
    d = L1(1.0, spread=0.05).steepest(w)
    assert (d != 0).sum(dim=1).tolist() == [20] * 5
    for row in range(5):
        top = w[row].abs().topk(20).indices
        assert torch.allclose(d[row, top], w[row, top].sign() / 20)


@pytest.mark.parametrize("kind", RADII)
def test_zero_and_size_and_apply_agree(kind):
    x = inputs(Bounds())
    threat = kind(1.0)
    assert torch.equal(threat.apply(x, threat.zero(x)), x) and not threat.size(x, threat.zero(x)).any()
    p = torch.randn(x.shape, generator=g)
    assert torch.allclose(threat.size(x, p).double(), NORMS[kind](p.double()), rtol=1e-5)
    assert torch.equal(threat.apply(x, p), x + p)


@pytest.mark.parametrize("radius", [-1.0, float("nan")])
def test_impossible_radii_are_refused(radius):
    for kind in RADII:
        with pytest.raises(ConfigError):
            kind(radius)
