"""What autograd says of a loss is how the loss changes: against central differences in float64, the inner perturbation held fixed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

import pytest
import torch
from small import REGULARISED, classifier, lesson, module, searched
from torch import Tensor, nn

from holdfast.defences.layers import Denoise
from holdfast.models import Classifier
from holdfast.training import objectives
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy
from holdfast.training.objectives.vat import Vat

OTHERS: dict[str, Objective] = {
    "fgsm": objectives.fgsm(0.1),
    "nfgsm": objectives.nfgsm(0.1),
    "pgd": objectives.pgd(0.1, steps=3),
    "standard": objectives.standard(),
    "trades": objectives.trades(0.1, steps=3),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "softplus": nn.Softplus, "tanh": nn.Tanh}


def along(f: Callable[[], Tensor], weights: list[nn.Parameter], way: list[Tensor], h: float = 1e-4) -> float:
    """df along `way`, by central differences at h and h/2 and Richardson's step: the error is of order h⁴."""

    def at(t: float) -> float:
        with torch.no_grad():
            for p, d in zip(weights, way, strict=True):
                p.add_(t * d)
        value = float(f().detach())
        with torch.no_grad():
            for p, d in zip(weights, way, strict=True):
                p.sub_(t * d)
        return value

    coarse, fine = ((at(s) - at(-s)) / (2 * s) for s in (h, h / 2))
    return (4 * fine - coarse) / 3


def held(objective: Objective, model: Classifier, one: Lesson, found: Tensor) -> Callable[[], Tensor]:
    """The loss as a function of the weights with all that it holds fixed at their value of now: for VAT the clean answers too."""
    if not isinstance(objective, Vat):
        return lambda: objective.loss(model, one, found)
    before = model(one.x).logits.detach().softmax(dim=1)

    def loss() -> Tensor:
        clean, near = (model(x).logits.log_softmax(dim=1) for x in (one.x, found))
        kl = (before * (before.log() - near)).sum(dim=1).mean()
        return entropy(clean, one.y) + objective.weight * kl - objective.entmin * (clean.exp() * clean).sum(dim=1).mean()

    return loss


def smooth_rows(model: Classifier, one: Lesson, found: Tensor) -> Tensor:
    """The rows of which no neuron is near its kink, at either point."""
    first = next(layer for layer in module(model) if isinstance(layer, nn.Linear))
    return torch.stack([first(x).abs().amin(dim=1) for x in (one.x, found)]).amin(dim=0) > 5e-3


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("name", [*REGULARISED, *OTHERS])
def test_the_gradient_is_how_the_loss_changes(name: str, act: str) -> None:
    objective = (REGULARISED | OTHERS)[name]
    model = classifier(ACTIVATIONS[act])
    one = lesson(40, unlabelled=6 if name in REGULARISED else 0)
    found = searched(objective, model, one)
    keep = smooth_rows(model, one, found) if act == "relu" else torch.ones(40, dtype=torch.bool)
    assert int(keep.sum()) >= 20
    one, found = one[keep], found[keep]
    weights = list(module(model).parameters())
    f = held(objective, model, one, found)
    loss = objective.loss(model, one, found)
    assert torch.isclose(loss, f(), rtol=1e-13)
    g = torch.autograd.grad(loss, weights)
    plain = torch.autograd.grad(objectives.standard().loss(model, one, one.x), weights)
    noise = torch.Generator().manual_seed(7)
    for _ in range(4):
        way = [torch.randn(p.shape, generator=noise, dtype=p.dtype) for p in weights]
        length = sum(d.square().sum() for d in way).sqrt()
        way = [d / length for d in way]
        told = float(sum((a * d).sum() for a, d in zip(g, way, strict=True)))
        base = float(sum((a * d).sum() for a, d in zip(plain, way, strict=True)))
        true = along(f, weights, way)
        scale = abs(true) if name == "standard" else min(abs(true), abs(true - base))
        assert scale > 1e-4, "the regulariser has a slope of its own here, so that a missing part of it would be seen"
        assert abs(told - true) <= 1e-7 * scale


@pytest.mark.parametrize("name", ["cure", "double_backprop", "llr"])
def test_a_gradient_that_stops_at_the_slope_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the slope as a number, not as a function of the weights."""
    place = importlib.import_module(f"holdfast.training.objectives.{name}")
    whole = place.slope

    def stopped(model: Classifier, x: Tensor, y: Tensor, twice: bool) -> tuple[Tensor, Tensor]:
        value, g = whole(model, x, y, twice)
        return value, g.detach()

    monkeypatch.setattr(place, "slope", stopped)
    with pytest.raises(AssertionError):
        test_the_gradient_is_how_the_loss_changes(name, "tanh")


@pytest.mark.parametrize("name", list(REGULARISED))
def test_it_goes_through_attention(name: str) -> None:
    """torch's fast attention has no second derivative: where one is asked for, it is not used."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Denoise(4), nn.Flatten(), nn.Linear(144, 3)).eval()
    nn.init.ones_(cast(Denoise, net[1]).bn.weight)
    REGULARISED[name](Classifier(net, 3), Lesson.of(torch.rand(4, 1, 8, 8), torch.arange(4) % 3)).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) and bool((p.grad != 0).any()) for p in net.parameters())
