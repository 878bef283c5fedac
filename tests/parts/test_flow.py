"""The flow threat against a literal loop, closed forms, and its bounds."""

from __future__ import annotations

import math

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds
from holdfast.parts.smooth_ascent import penalty_and_slope
from holdfast.parts.threats import Flow
from holdfast.parts.threats.flow import warp
from holdfast.parts.threats.smooth import roughness


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal(x: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Eq. 1 of the paper, pixel by pixel: the four neighbours of a place weigh by their distance; beyond the edge is the edge."""
    n, channels, height, width = x.shape
    out = torch.zeros_like(x)
    for b in range(n):
        for i in range(height):
            for j in range(width):
                u = min(max(i + float(flow[b, 0, i, j]), 0), height - 1)
                v = min(max(j + float(flow[b, 1, i, j]), 0), width - 1)
                for r in range(height):
                    for c in range(width):
                        weight = max(0.0, 1 - abs(u - r)) * max(0.0, 1 - abs(v - c))
                        out[b, :, i, j] += weight * x[b, :, r, c]
    assert channels == out.shape[1]
    return out


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (2, 1, 1, 4), (1, 2, 5, 1)])
def test_the_warp_is_that_of_the_literal_loop(shape):
    x, flow = random(*shape), 6 * random(shape[0], 2, *shape[2:], seed=1) - 3
    assert torch.allclose(warp(x, flow), literal(x, flow), atol=1e-12)


def test_whole_pixels_shift_the_image():
    x = random(2, 3, 6, 7)
    flow = torch.zeros(2, 2, 6, 7, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = 2, -1
    assert torch.equal(warp(x, flow)[:, :, :4, 1:], x[:, :, 2:, :6])
    assert torch.equal(warp(x, flow)[:, :, 5, 1:], x[:, :, 5, :6])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_flow_changes_nothing_to_the_last_bit(dtype):
    x = random(3, 2, 5, 4).to(dtype)
    assert torch.equal(Flow(1.0).apply(x, Flow(1.0).zero(x)), x)


def test_a_warped_image_stays_in_its_range_to_the_last_bit():
    x = (random(8, 3, 9, 9) > 0.4).float() * 0.7 + 0.1
    flow = 8 * random(8, 2, 9, 9, seed=3).float() - 4
    threat = Flow(math.inf).within(Bounds(float(x.min()), float(x.max())))
    assert bool(threat.bounds.contain(threat.apply(x, flow)).all())


def test_gradients_in_the_flow_and_in_the_image():
    x = random(1, 2, 4, 3).requires_grad_()
    # Off the pixels' own places, where the slope jumps.
    flow = (0.1 + 0.3 * random(1, 2, 4, 3, seed=2)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (x, flow))


def test_a_pixel_on_the_far_edge_can_move_inward():
    x = torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64)
    flow = torch.zeros(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    warp(x, flow).sum().backward()
    assert flow.grad is not None and flow.grad[0, 1, 0].tolist() == [1.0, 1.0]


def test_projection_shortens_what_is_too_long_and_nothing_else():
    x, threat = random(4, 1, 5, 5), Flow(1.0)
    p = 4 * random(4, 2, 5, 5, seed=5) - 2
    radius = torch.tensor([0.0, 0.5, 1.0, math.inf], dtype=torch.float64)
    q = threat.project(x, p, radius)
    length, kept = p.norm(dim=1), q.norm(dim=1)
    assert torch.allclose(kept, torch.minimum(length, radius.reshape(4, 1, 1)), atol=1e-12)
    assert torch.equal(q[3], p[3]) and bool((threat.size(x, q) <= radius * (1 + 1e-12)).all())
    assert torch.allclose(q * length.unsqueeze(1), p * kept.unsqueeze(1), atol=1e-12)


def test_random_flows_lie_within_each_rows_radius():
    x, radius = torch.zeros(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    p = Flow(9.0).random(x, Draw(torch.arange(3), torch.zeros(3, dtype=torch.int64)), radius)
    size = Flow(9.0).size(x, p)
    assert bool((size <= radius * (1 + 1e-12)).all()) and bool((size > 0.5 * radius).all())


def test_the_steepest_flow_has_size_one_and_gains_the_sum_of_lengths():
    g = random(2, 2, 3, 3) - 0.5
    step = Flow(1.0).steepest(g)
    assert torch.allclose(Flow(1.0).size(g, step), torch.ones(2, dtype=torch.float64))
    assert torch.allclose((g * step).flatten(1).sum(dim=1), g.norm(dim=1).flatten(1).sum(dim=1))


def test_the_flow_loss_is_the_sum_over_pixels_and_their_four_neighbours():
    p = random(2, 2, 4, 3)
    total = torch.zeros(2, dtype=torch.float64)
    for i in range(4):
        for j in range(3):
            for r, c in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= r < 4 and 0 <= c < 3:
                    total += (p[:, :, i, j] - p[:, :, r, c]).norm(dim=1)
    assert torch.allclose(roughness(p), total, rtol=1e-4)
    assert roughness(torch.full((1, 2, 4, 4), 3.0)).tolist() == [0.0]


def test_the_penalty_slopes_as_differences_say_and_not_at_all_where_all_agree():
    x, p = random(1, 1, 3, 3), random(1, 2, 3, 3)
    assert torch.autograd.gradcheck(roughness, (p.clone().requires_grad_(),))
    value, slope = penalty_and_slope(Flow(1.0), x, torch.zeros_like(p))
    assert value.tolist() == [0.0] and bool((slope == 0).all())


def test_a_negative_radius_and_flat_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"Flow\(-1\.0\)"):
        Flow(-1.0)
    assert Flow(1.0).unfit((6,)) and not Flow(1.0).unfit((1, 6, 6))
