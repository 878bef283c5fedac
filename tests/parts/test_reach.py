"""The shortest way onto a hyperplane inside a box is the one that general solvers find."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from holdfast.parts.norms import reach

torch.set_num_threads(1)


def drawn(n=30, d=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    w = torch.randn(n, d, generator=g, dtype=torch.float64) * (torch.rand(n, d, generator=g) > 0.2)
    gap = torch.randn(n, generator=g, dtype=torch.float64) * torch.tensor([0.1, 1.0, 3.0]).repeat(n)[:n]
    return -x, 1 - x, w, gap


def least_linf(gap, w, low, high):
    d = len(w)
    cost = np.r_[np.zeros(d), 1.0]
    sides = np.r_[np.c_[np.eye(d), -np.ones(d)], np.c_[-np.eye(d), -np.ones(d)]]
    plane = np.r_[w, 0.0].reshape(1, -1)
    return linprog(cost, sides, np.zeros(2 * d), plane, [gap], [*zip(low, high, strict=True), (0, None)])


def least_l1(gap, w, low, high):
    plane = np.r_[w, -w].reshape(1, -1)
    return linprog(np.ones(2 * len(w)), None, None, plane, [gap], [*[(0, h) for h in high], *[(0, -v) for v in low]])


@pytest.mark.parametrize(("power", "solve"), [(float("inf"), least_linf), (1, least_l1)])
def test_it_is_the_solution_of_the_linear_program(power, solve):
    low, high, w, gap = drawn()
    found = reach(power, gap, w, low, high)
    closed = 0
    for i in range(len(w)):
        solved = solve(float(gap[i]), w[i].numpy(), low[i].numpy(), high[i].numpy())
        if solved.status != 0:
            corner = torch.where(w[i] * gap[i].sign() > 0, high[i], low[i]) * (w[i] != 0)
            assert torch.allclose(found[i], corner)
            continue
        closed += 1
        assert abs(float((w[i] * found[i]).sum() - gap[i])) < 1e-9
        assert float(torch.linalg.vector_norm(found[i], power)) <= solved.fun + 1e-7
    assert closed > 15
    assert bool(((found >= low - 1e-12) & (found <= high + 1e-12)).all())


def test_in_l2_it_is_the_projection_that_bisection_finds():
    low, high, w, gap = drawn(seed=1)
    found = reach(2, gap, w, low, high)
    for i in range(len(w)):
        left, right = -1e6, 1e6
        for _ in range(200):
            middle = (left + right) / 2
            reached = float((w[i] * torch.clamp(middle * w[i], low[i], high[i])).sum())
            left, right = (middle, right) if reached < float(gap[i]) else (left, middle)
        assert torch.allclose(found[i], torch.clamp(right * w[i], low[i], high[i]), atol=1e-9)


@pytest.mark.parametrize("power", [1, 2, float("inf")])
def test_a_flat_boundary_moves_nothing(power):
    box = torch.full((2, 3), 0.5, dtype=torch.float64)
    assert torch.equal(reach(power, torch.tensor([1.0, -1.0]).double(), torch.zeros(2, 3).double(), -box, box), torch.zeros(2, 3).double())
