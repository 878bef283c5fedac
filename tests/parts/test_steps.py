"""Schedules and gradient transforms are their equations, row by row."""

import math

import pytest
import torch

from holdfast.core.errors import ConfigError
from holdfast.parts.schedules import Constant, Cosine
from holdfast.parts.transforms import Momentum


def test_cosine_falls_from_its_share_to_zero_by_each_rows_own_step():
    share = Cosine(0.5)(torch.tensor([0, 5, 10]), 10)
    assert torch.allclose(share, torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64), atol=1e-12)
    assert Constant(0.5)(torch.tensor([0, 5]), 10) == 0.5


@pytest.mark.parametrize("share", [0.0, -1.0, math.inf, math.nan])
def test_a_constant_step_must_be_positive_and_finite(share):
    with pytest.raises(ConfigError):
        Constant(share)


@pytest.mark.parametrize("decay", [-0.1, math.inf, math.nan])
def test_momentum_keeps_a_share_that_is_finite_and_not_negative(decay):
    with pytest.raises(ConfigError, match="decay="):
        Momentum(decay)


def test_momentum_sums_gradients_of_unit_l1_length():
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(3, 2, 4, generator=g), 1e-20 * torch.randn(3, 2, 4, generator=g)
    transform = Momentum(0.7)
    out, memory = transform(first, transform.memory(first), None)
    assert torch.equal(out, memory)
    assert torch.allclose(out.abs().flatten(1).sum(dim=1), torch.ones(3))
    out, _ = transform(second, memory, None)
    for row in range(3):
        expected = 0.7 * first[row] / first[row].abs().sum() + second[row] / second[row].abs().sum()
        assert torch.allclose(out[row], expected, rtol=1e-5)


def test_momentum_of_no_gradient_is_what_was_remembered():
    transform, memory = Momentum(0.5), torch.ones(2, 3)
    out, _ = transform(torch.zeros(2, 3), memory, None)
    assert torch.equal(out, memory / 2)
