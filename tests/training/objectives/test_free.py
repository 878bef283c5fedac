"""Free adversarial training against the algorithm of the paper, written out with a plain loop of gradient descent."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from tiny_lessons import lesson, tiny
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast import L2, Classifier
from holdfast.core.errors import ConfigError
from holdfast.training.lesson import Lesson
from holdfast.training.objectives import free
from holdfast.training.replayed import Memory

RADIUS, RATE = 0.1, 0.5
BATCHES = [lesson(4), lesson(4, step=5), lesson(3, step=6), lesson(5, step=7), lesson(4, step=8)]


def trained(batches: list[Lesson], memory: Memory, model: Classifier) -> list[Tensor]:
    objective = free(RADIUS, repeats=3, step=0.4)
    weights = list(cast(nn.Module, model.net).parameters())
    for one in batches:
        for _ in range(objective.repeats):
            objective.again(model, one, memory).backward()
            for p in weights:
                assert p.grad is not None
                p.data -= RATE * p.grad
                p.grad = None
    return [p.detach().clone() for p in weights]


def test_it_is_the_loop_of_the_paper() -> None:
    model, memory = tiny(), Memory()
    found = trained(BATCHES, memory, model)
    literal = tiny()
    weights = list(cast(nn.Module, literal.net).parameters())
    change = torch.zeros(5, 1, 2, 3, dtype=torch.float64)
    for one in BATCHES:
        n = len(one)
        for _ in range(3):
            shown = (one.x + change[:n]).clamp(0, 1).requires_grad_()
            gradients = torch.autograd.grad(cross_entropy(literal.net(shown), one.y), [*weights, shown])
            for p, g in zip(weights, gradients, strict=False):
                p.data -= RATE * g
            change[:n] = (change[:n] + 0.4 * RADIUS * gradients[-1].sign()).clamp(-RADIUS, RADIUS)
    for p, expected in zip(found, weights, strict=True):
        torch.testing.assert_close(p, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(memory["change"], change)


def test_the_memory_is_all_that_is_carried() -> None:
    whole, forgetful = trained(BATCHES, Memory(), tiny()), tiny()
    trained(BATCHES[:2], Memory(), forgetful)
    assert not torch.equal(trained(BATCHES[2:], Memory(), forgetful)[0], whole[0])
    model, memory = tiny(), Memory()
    trained(BATCHES[:2], memory, model)
    stored = {name: tensor.clone() for name, tensor in memory.items()}
    for p, expected in zip(trained(BATCHES[2:], stored, model), whole, strict=True):
        assert torch.equal(p, expected)


def test_rows_without_a_label_keep_their_change_and_teach_nothing() -> None:
    one, memory = lesson(4), Memory()
    some = Lesson(one.x, torch.tensor([0, -1, 2, -1]), one.key, one.step)
    free(RADIUS).again(tiny(), some, memory).backward()
    moved = memory["change"].abs().amax(dim=(1, 2, 3))
    assert moved.tolist() == [RADIUS, 0, RADIUS, 0]


def test_it_says_that_it_carries_something() -> None:
    with pytest.raises(ConfigError, match="ask again"):
        free(RADIUS)(tiny(), lesson())
    with pytest.raises(ConfigError, match="L∞"):
        free(L2(1.0))
    with pytest.raises(ConfigError, match="at least once"):
        free(RADIUS, repeats=0)
