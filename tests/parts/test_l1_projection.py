"""The projection on an L1 ball within a box is exact: equal to a slow reference and to a general solver's optimum."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.optimize import minimize

from holdfast.core.types import Bounds
from holdfast.parts.threats import L1


def by_bisection(p, low, high, radius):
    """One row in plain numbers: shrink all values by λ, clip them to the box, halve the bracket of λ until it cannot be halved."""

    def shrunk(amount):
        return [min(max(np.sign(v) * max(abs(v) - amount, 0.0), a), b) for v, a, b in zip(p, low, high, strict=True)]

    if sum(abs(v) for v in shrunk(0.0)) <= radius:
        return shrunk(0.0)
    least, most = 0.0, max(abs(v) for v in p)
    for _ in range(200):
        middle = (least + most) / 2
        least, most = (middle, most) if sum(abs(v) for v in shrunk(middle)) > radius else (least, middle)
    return shrunk(most)


def cases(seed, n=60, d=12, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    x[torch.rand(n, d, generator=g) < 0.2] = 0.0
    x[torch.rand(n, d, generator=g) < 0.2] = 1.0
    p = scale * torch.randn(n, d, generator=g, dtype=torch.float64)
    p[torch.rand(n, d, generator=g) < 0.1] = 0.0
    p[:, 1] = p[:, 0]
    radius = 3 * torch.rand(n, generator=g, dtype=torch.float64)
    return x, p, radius


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_equals_bisection(scale):
    x, p, radius = cases(0, scale=scale)
    found = L1(1.0).project(x, p, radius)
    for row in range(len(x)):
        expected = by_bisection(p[row].tolist(), (-x[row]).tolist(), (1 - x[row]).tolist(), float(radius[row]))
        assert torch.allclose(found[row], torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_equals_the_optimum_of_a_general_solver():
    x, p, radius = cases(1, n=6, d=5)
    found = L1(1.0).project(x, p, radius)
    for row in range(len(x)):
        # q = up - down with both parts at least 0 makes the sum of absolute values linear.
        want, room = p[row].numpy(), np.concatenate([(1 - x[row]).numpy(), x[row].numpy()])
        best = minimize(
            lambda v, want=want: ((v[:5] - v[5:] - want) ** 2).sum(),
            np.zeros(10),
            method="SLSQP",
            bounds=[(0.0, top) for top in room],
            constraints={"type": "ineq", "fun": lambda v, r=float(radius[row]): r - v.sum()},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert np.allclose(found[row].numpy(), best.x[:5] - best.x[5:], atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    p=some.lists(some.floats(-50, 50, width=32), min_size=6, max_size=6),
    x=some.lists(some.floats(0, 1, width=32), min_size=6, max_size=6),
    radius=some.floats(0, 20, width=32),
)
def test_any_float32_row_is_feasible_settled_and_nearest(p, x, radius):
    p, x, r = torch.tensor([p]), torch.tensor([x]), torch.tensor([radius])
    q = L1(1.0).project(x, p, r)
    assert Bounds().contain(x + q).all()
    assert float(q.double().abs().sum()) <= radius * (1 + 1e-6) + 1e-7
    assert torch.allclose(L1(1.0).project(x, q, r), q, atol=1e-6)
    expected = by_bisection(p[0].double().tolist(), (-x[0]).double().tolist(), (1 - x[0]).double().tolist(), radius)
    assert torch.allclose(q[0].double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_point_already_inside_is_left_alone():
    x, p, radius = cases(2, scale=0.01)
    inside = L1(1.0).project(x, p, torch.full_like(radius, 100.0))
    assert torch.equal(inside, p.clamp(-x, 1 - x))
    assert torch.equal(L1(1.0).project(x, p, torch.full_like(radius, torch.inf)), inside)


def test_radius_zero_gives_zero():
    x, p, radius = cases(3)
    assert float(L1(1.0).project(x, p, radius * 0).abs().max()) < 1e-14


def test_a_large_image_uses_its_whole_radius():
    g = torch.Generator().manual_seed(4)
    x, p = torch.rand(4, 3, 32, 32, generator=g), torch.randn(4, 3, 32, 32, generator=g)
    radius = torch.tensor([0.5, 5.0, 50.0, 500.0])
    q = L1(1.0).project(x, p, radius)
    assert torch.allclose(q.double().abs().flatten(1).sum(dim=1), radius.double(), rtol=1e-5)
    assert Bounds().contain(x + q).all()
