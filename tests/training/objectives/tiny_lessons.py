"""Nets and lessons so small that every sum can be written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from holdfast import Classifier
from holdfast.training.lesson import Lesson


def tiny(classes: int = 3, seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, classes)).double().eval()
    return Classifier(net, classes)


def lesson(n: int = 5, classes: int = 3, step: int = 4) -> Lesson:
    generator = torch.Generator().manual_seed(n)
    x = torch.rand(n, 1, 2, 3, generator=generator, dtype=torch.float64)
    return Lesson.of(x, torch.arange(n) % classes, ids=torch.arange(n) + 10, seed=3, step=step)


def probabilities(logits: Tensor) -> list[list[float]]:
    """Softmax of each row, summed out."""
    rows = []
    for row in logits.tolist():
        powers = [math.exp(value) for value in row]
        rows.append([power / sum(powers) for power in powers])
    return rows


def asked(model: Classifier, x: Tensor) -> list[list[float]]:
    """The probabilities for each input, asked one by one."""
    with torch.no_grad():
        return [probabilities(model(x[row : row + 1]).logits)[0] for row in range(len(x))]


def gradients(model: Classifier, loss: Tensor) -> list[Tensor]:
    assert isinstance(model.net, nn.Module)
    return list(torch.autograd.grad(loss, list(model.net.parameters())))
