"""What belongs to the user is left as it was: the module, the data, the generators of torch, numpy and Python."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conformance.bench import case, convolutional
from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.engine import Pieces, Samples, Setting, choose, run
from holdfast.models import Classifier

EVERY = pytest.mark.parametrize(
    "attack",
    [attacks.pgd(0.05, steps=3), attacks.deepfool(steps=3), attacks.carlini_wagner(steps=3, searches=2), attacks.apgd(0.05, steps=3)],
    ids=str,
)


class Mixed(nn.Module):
    """A net some of whose parts are in training mode, which for them is harmless; with hooks and frozen weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolutional()
        self.body[0].train()
        self.body[-1].train()
        self.heard = 0
        self.body.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, given: object, answer: object) -> None:
        self.heard += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@EVERY
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_module(attack: Attack, layout: str) -> None:
    net, some = Mixed(), case((2, 4, 4), n=6, net=convolutional())
    first, last = next(net.parameters()), list(net.parameters())[-1]
    first.grad = kept = torch.ones_like(first)
    last.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    samples = Samples.of(some.samples.x, some.samples.y)
    run(attack, Classifier(net, 5), samples, Setting(pieces=Pieces(4, layout)))  # type: ignore[arg-type]
    assert net.heard > 0
    assert [module.training for module in net.modules()] == modes and not last.requires_grad
    assert first.grad is kept and bool((kept == 1).all())
    assert all(p.grad is None for p in net.parameters() if p is not first)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@EVERY
def test_the_data(attack: Attack) -> None:
    samples, net = case((2, 4, 4), n=6, net=convolutional()).samples, Greedy().eval()
    x, y, ids = samples.x.clone(), samples.y.clone(), samples.ids.clone()
    outcome = run(attack, Classifier(net, 5), samples)
    assert torch.equal(samples.x, x) and torch.equal(samples.y, y) and torch.equal(samples.ids, ids)
    with torch.no_grad():
        assert bool((net(outcome.adversarial[outcome.success].clone()).argmax(dim=1) != y[outcome.success]).all())


class Greedy(nn.Module):
    """A net that overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolutional()

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).sub_(1)
        return self.body(x)


def test_choosing_asks_a_greedy_net_too() -> None:
    x = torch.rand(4, 2, 4, 4)
    kept = x.clone()
    for gradient in (True, False):
        assert "otherwise" not in choose(Classifier(Greedy().eval(), 5), x, gradient).why
    assert torch.equal(x, kept)


def test_a_net_that_insists_on_contiguous_rows_is_asked_without_channels_last() -> None:
    body = convolutional()

    class View(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return body(x.view(-1).view(len(x), 2, 4, 4))

    assert choose(Classifier(View().eval(), 5, device="cpu"), torch.rand(4, 2, 4, 4)).pieces.layout == "contiguous"


def generators() -> tuple[Tensor, object, object]:
    return torch.get_rng_state(), repr(np.random.get_state()), random.getstate()


@EVERY
def test_the_generators(attack: Attack) -> None:
    net = convolutional()
    net[3].train()
    some = case((2, 4, 4), n=4, net=convolutional())
    model = Classifier(net, 5, stochastic=True)
    before = generators()
    run(attack, model, some.samples)
    choose(model, some.samples.x)
    after = generators()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_inputs_that_require_a_gradient_drag_no_graph_along() -> None:
    some = case((2, 4, 4), n=4, net=convolutional())
    x = some.samples.x.clone().requires_grad_()
    outcome = run(attacks.pgd(0.05, steps=3), some.model, Samples.of(x, some.samples.y))
    assert not outcome.adversarial.requires_grad and x.grad is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_whatever_mode_the_caller_is_in(context: type) -> None:
    some = case((2, 4, 4), n=4, net=convolutional())
    expected = some.run(attacks.pgd(0.05, steps=3))
    with context():
        outcome = some.run(attacks.pgd(0.05, steps=3))
        given = run(attacks.pgd(0.05, steps=3), some.model, Samples.of(some.samples.x + 0, some.samples.y, some.samples.ids))
    assert torch.equal(outcome.adversarial, expected.adversarial) and torch.equal(given.adversarial, expected.adversarial)


def test_a_net_put_into_training_mode_later_is_refused() -> None:
    some = case((2, 4, 4), n=4, net=convolutional())
    model = some.model
    some.net.train()
    before = some.net[1].running_mean.clone()
    with pytest.raises(RuntimeError, match="eval"):
        run(attacks.fgsm(0.05), model, some.samples)
    assert torch.equal(some.net[1].running_mean, before)
