"""AWP against the authors' procedure on a copy of the net: weights moved, the gradient taken there, weights put back."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from tiny_lessons import gradients, lesson, tiny
from torch import Tensor, nn

from holdfast import Classifier
from holdfast.core.errors import ConfigError
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective
from holdfast.training.objectives import alp, awp, free, mart, pgd, ramp, standard, trades
from holdfast.training.objectives.penalties import penalised

INNER = {"alp": alp(0.1), "mart": mart(0.1), "pgd": pgd(0.1), "standard": standard(), "trades": trades(0.1)}


def moved_by_hand(model: Classifier, one: Lesson, inner: Objective, gamma: float) -> Classifier:
    """A copy of the net with each matrix moved by γ of its norm up the loss."""
    near = inner.look(model, one)
    elsewhere = model.around(copy.deepcopy(cast(nn.Module, model.net)))
    for (name, p), g in zip(cast(nn.Module, elsewhere.net).named_parameters(), gradients(model, inner.loss(model, one, near)), strict=True):
        if not name.endswith("bias"):
            p.data += gamma * (p.data.norm() / g.norm()) * g
    return elsewhere


@pytest.mark.parametrize("name", INNER)
def test_the_gradient_is_that_where_the_weights_have_been_moved(name: str) -> None:
    model, one, inner = tiny(), lesson(), INNER[name]
    before = [p.clone() for p in cast(nn.Module, model.net).parameters()]
    loss = awp(inner, 0.03)(model, one)
    elsewhere = moved_by_hand(model, one, inner, 0.03)
    there = inner.loss(elsewhere, one, inner.look(model, one))
    assert loss.item() == pytest.approx(there.item(), rel=1e-12) and loss > inner(model, one)
    for g, expected in zip(gradients(model, loss), gradients(elsewhere, there), strict=True):
        torch.testing.assert_close(g, expected, rtol=1e-10, atol=1e-12)
    for p, was in zip(cast(nn.Module, model.net).parameters(), before, strict=True):
        assert torch.equal(p, was) and p.grad is None


def normed() -> Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).double().eval()
    return Classifier(net, 3)


def test_batch_norm_counts_a_batch_once() -> None:
    model, one = normed(), lesson()
    net = cast(nn.Sequential, model.net)
    net.train()
    norm = cast(nn.BatchNorm2d, net[1])
    moved = moved_by_hand(model.around(copy.deepcopy(net)), one, standard(), 0.03)
    cast(nn.Module, moved.net).load_state_dict(net.state_dict() | dict(cast(nn.Module, moved.net).named_parameters()))
    awp(standard(), 0.03)(model, one).backward()
    standard()(moved, one)
    expected = cast(nn.BatchNorm2d, cast(nn.Sequential, moved.net)[1])
    assert norm.num_batches_tracked == 1 == expected.num_batches_tracked
    torch.testing.assert_close(norm.running_mean, expected.running_mean)
    torch.testing.assert_close(norm.running_var, expected.running_var)
    assert net.training and all(p.grad is not None for p in net.parameters())


def test_frozen_weights_stay_and_unused_ones_do_no_harm() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare = tiny().net, nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.net(x))

    net = Spare()
    cast(nn.Sequential, net.net)[1].weight.requires_grad_(False)
    awp(standard())(Classifier(net.eval(), 3, device="cpu"), lesson()).backward()
    assert cast(nn.Sequential, net.net)[1].weight.grad is None and cast(nn.Sequential, net.net)[3].weight.grad is not None


def test_wrappers_nest() -> None:
    model, one = tiny(), lesson()
    twice = awp(awp(standard(), 0.01), 0.01)(model, one)
    assert twice > awp(standard(), 0.01)(model, one) > standard()(model, one)
    largest: list[float] = []

    def watched(maps: Tensor) -> Tensor:
        largest.append(maps.abs().max().item())
        return maps.square().mean()

    value = awp(penalised(standard(), watched, "1", 0.5, "maps"), 0.05)(model, one)
    assert len(largest) == 2 and largest[0] != largest[1] and value > standard()(model, one)
    largest.clear()
    awp(penalised(standard(), watched, "1", 0.5, "weight"), 0.05)(model, one)
    assert len(largest) == 2 and largest[0] != largest[1]


def test_what_cannot_be_wrapped_is_refused() -> None:
    with pytest.raises(ConfigError, match="awp cannot wrap Free"):
        awp(free(0.1))
    with pytest.raises(ConfigError, match="a penalty cannot wrap awp"):
        penalised(ramp(awp(pgd(0.1)), 5), torch.sum, "1", 0.1, "maps")
    with pytest.raises(ConfigError, match="positive share"):
        awp(standard(), 0.0)
