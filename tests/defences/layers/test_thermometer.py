"""Thermometer encoding: the bits of the paper, no gradient unless asked for, and attackers see through it either way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import ConfigError
from holdfast.defences.layers import Thermometer
from holdfast.engine.straight import straight
from holdfast.models import Classifier


@pytest.mark.parametrize("shape", [(2, 1, 3, 2), (3, 4), (1, 2, 5)], ids=str)
@pytest.mark.parametrize("levels", [1, 2, 10, 16])
def test_bits_are_comparisons_with_levels(levels: int, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    x[0, 0] = 0.5  # on a level
    for slope in (False, True):
        y = Thermometer(levels, slope)(x)
        assert y.shape == (shape[0], shape[1] * levels, *shape[2:])
        for level in range(1, levels + 1):
            for channel in range(shape[1]):
                assert torch.equal(y[:, channel * levels + level - 1], (x[:, channel] <= level / levels).double())


def test_the_gradient_is_none_or_that_of_the_soft_code() -> None:
    x = torch.tensor([[0.05, 0.35, 0.9]], requires_grad=True)
    assert not Thermometer(4)(x).requires_grad
    (g,) = torch.autograd.grad(Thermometer(4, slope=True)(x).sum(), x)
    assert g.tolist() == [[0.0, -1.0, -3.0]], "minus one for each level below"


@pytest.mark.parametrize("slope", [False, True])
def test_search_gets_a_gradient_through_it(slope: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Thermometer(8, slope), nn.Flatten(), nn.Linear(8 * 4, 3)).eval()
    model, x = Classifier(net, 3), torch.rand(2, 1, 2, 2)
    point = x.clone().requires_grad_()
    answer = straight(model, x)(point).logits
    torch.testing.assert_close(answer.detach(), net(x))
    (g,) = torch.autograd.grad(answer[:, 0].sum(), point)
    assert bool((g.flatten(1).abs().sum(dim=1) > 0).all())


def test_no_levels() -> None:
    with pytest.raises(ConfigError, match="levels=0"):
        Thermometer(0)
