"""The elastic net's projection is the nearest point of its ball inside the range, as a general solver finds it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from holdfast.parts.threats import ElasticNet

torch.set_num_threads(1)


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.4, 100.0])
@pytest.mark.parametrize("beta", [0.0, 0.05, 0.5])
def test_projection_is_the_nearest(radius, beta):
    g = torch.Generator().manual_seed(1)
    x = torch.rand(6, 5, generator=g, dtype=torch.float64)
    p = torch.randn(6, 5, generator=g, dtype=torch.float64)
    threat = ElasticNet(radius, beta=beta)
    found = threat.project(x, p)
    assert float(threat.size(x, found).max()) <= radius * (1 + 1e-9) + 1e-9
    assert bool(((x + found >= -1e-12) & (x + found <= 1 + 1e-12)).all())
    for i in range(len(x)):
        # Split into what goes up and what goes down, so that the program is smooth.
        room = [(0, 1 - float(v)) for v in x[i]] + [(0, float(v)) for v in x[i]]
        want = p[i].numpy()
        limit = {"type": "ineq", "fun": lambda u: radius - beta * u.sum() - np.square(u[:5] - u[5:]).sum()}
        solved = minimize(lambda u, want=want: np.square(u[:5] - u[5:] - want).sum(), np.zeros(10), bounds=room, constraints=[limit])
        assert float((found[i] - p[i]).square().sum()) <= solved.fun + 1e-6


def test_a_small_enough_change_is_left_alone():
    x, p = torch.full((1, 2), 0.5), torch.tensor([[0.1, -0.2]])
    assert torch.equal(ElasticNet(1.0).project(x, p), p)
