"""Small smooth nets in float64 with lessons to learn from, and every objective whose loss holds a search or a second derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from holdfast.models import Classifier
from holdfast.parts.threats import L1, L2, Linf
from holdfast.training import objectives
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective

torch.set_num_threads(1)

REGULARISED: dict[str, Objective] = {
    "cure": objectives.cure(2.0, 0.3),
    "double_backprop": objectives.double_backprop(0.7),
    "llr": objectives.llr(Linf(0.2), steps=3),
    "llr l1": objectives.llr(L1(0.4), steps=3),
    "llr l2": objectives.llr(L2(0.3), weight=1.0, mu=0.5, steps=3),
    "vat": objectives.vat(0.4),
    "vat entmin": objectives.vat(0.4, xi=0.01, steps=3, weight=2.0, entmin=0.5),
}
NEEDS_LABELS = [name for name in REGULARISED if not name.startswith("vat")]


def classifier(act: Callable[[], nn.Module], features: int = 5, classes: int = 4, seed: int = 0) -> Classifier:
    """A net of one hidden layer, float64, its weights large enough for the loss to bend."""
    g = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(features, 7), act(), nn.Linear(7, classes)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(1.2 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return Classifier(net.eval(), classes)


def affine(weight: Tensor, bias: Tensor) -> Classifier:
    """logits = W x + b."""
    net = nn.Linear(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        net.weight.copy_(weight)
        net.bias.copy_(bias)
    return Classifier(net.eval(), len(weight))


def module(model: Classifier) -> nn.Module:
    assert isinstance(model.net, nn.Module)
    return model.net


def lesson(n: int = 6, features: int = 5, classes: int = 4, seed: int = 1, unlabelled: int = 0) -> Lesson:
    """Rows well inside the unit box, the last `unlabelled` of them without a label."""
    g = torch.Generator().manual_seed(seed)
    x = 0.25 + 0.5 * torch.rand(n, features, generator=g, dtype=torch.float64)
    y = torch.randint(classes, (n,), generator=g)
    y[n - unlabelled :] = -1
    return Lesson.of(x, y, ids=torch.arange(n) + 10, seed=3, step=5)


def searched(objective: Objective, model: Classifier, one: Lesson) -> Tensor:
    return objective.look(model, one).detach()
