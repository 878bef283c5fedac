"""Nets that make trouble: no gradient, zero gradients, huge logits, a tuple for an answer, weights that products round in their own way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import Case, flat, perceptron
from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.types import Access
from holdfast.engine import NONE, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.threats import L1, L2

GRADIENT = [
    attacks.pgd(0.1, steps=4), attacks.apgd(L2(0.3), steps=6, objective="dlr"), attacks.apgd_targeted(0.1, steps=4),
    attacks.deepfool(steps=4), attacks.carlini_wagner(steps=4, searches=2), attacks.pgd(L1(0.5), steps=4),
    attacks.mi_fgsm(0.1, steps=4),
]  # fmt: skip
EVERY = pytest.mark.parametrize("attack", GRADIENT, ids=str)


class Wrapped(nn.Module):
    def __init__(self, change: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.net, self.change = perceptron(6), change

    def forward(self, x: Tensor) -> object:
        return self.change(self.net, x)


def wrapped(change: Callable[[nn.Module, Tensor], object]) -> Case:
    return Case(Wrapped(change).eval(), flat().samples)


@EVERY
@pytest.mark.parametrize(
    "change",
    [lambda net, x: net(x.detach()), lambda net, x: net(x).detach(), lambda net, x: nn.functional.one_hot(net(x).argmax(1), 5).to(x.dtype)],
)
def test_no_gradient_is_an_error_with_a_remedy(attack: Attack, change: Callable[[nn.Module, Tensor], object]) -> None:
    with pytest.raises(ModelError, match="no gradient"):
        wrapped(change).run(attack)


@EVERY
def test_zero_gradients_find_nothing_that_is_not_there(attack: Attack) -> None:
    outcome = wrapped(lambda net, x: net(x).round() + 0 * x.sum(dim=1, keepdim=True)).run(attack)
    with torch.no_grad():
        fooled = perceptron(6)(outcome.adversarial).round().argmax(dim=1) != flat().samples.y
    assert torch.equal(outcome.success, fooled) and outcome.complete


@EVERY
@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_huge_and_tiny_logits(attack: Attack, factor: float) -> None:
    outcome = wrapped(lambda net, x: net(x) * factor).run(attack)
    with torch.no_grad():
        fooled = perceptron(6)(outcome.adversarial).argmax(dim=1) != flat().samples.y
    assert torch.equal(outcome.success, fooled) and outcome.complete and not bool(outcome.adversarial.isnan().any())


@pytest.mark.parametrize(
    "change",
    [lambda net, x: (net(x), x), lambda net, x: net(x)[:-1], lambda net, x: net(x).argmax(dim=1), lambda net, x: net(x[:, :3])],
)
def test_answers_of_another_shape_are_refused(change: Callable[[nn.Module, Tensor], object]) -> None:
    with pytest.raises(ModelError) as caught:
        wrapped(change).run(attacks.fgsm(0.1))
    assert "\n" not in str(caught.value)


def test_an_attack_that_needs_more_than_the_model_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match="GRADIENT"):
        run(attacks.fgsm(0.1), Classifier(perceptron(6), 5, access=Access.SCORE), flat().samples)


def ordinary() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.SiLU(), nn.Linear(12, 4)).double().eval()


@pytest.mark.parametrize("attack", GRADIENT[:4], ids=str)
def test_verdicts_on_an_ordinary_net_do_not_depend_on_the_company(attack: Attack) -> None:
    """Matrix products round a row by its company; verdicts, queries and steps are equal all the same, distances nearly."""
    net = ordinary()
    x = flat().samples.x
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    reference = run(attack, Classifier(net, 4), Samples.of(x, y))
    outcome = run(attack, Classifier(net, 4), Samples.of(x, y), Setting(slots=3))
    assert torch.equal(outcome.success, reference.success) and torch.equal(outcome.forwards, reference.forwards)
    assert torch.equal(outcome.found.step, reference.found.step)
    found = reference.found.member != NONE
    assert torch.allclose(outcome.found.size[found], reference.found.size[found], rtol=1e-6)
