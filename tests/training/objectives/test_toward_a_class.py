"""PGD training toward a class drawn at random, and from inputs as they are in a share of the rows."""

from __future__ import annotations

import pytest
import torch
from small import affine, searched
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.training import objectives
from holdfast.training.lesson import Lesson

W = torch.tensor([[1.0, -2.0, 0.5], [-0.5, 1.0, 0.1], [0.3, 0.2, -1.5]], dtype=torch.float64)
EPSILON = 0.05


def rows(n: int, classes: int, step: int = 0) -> Lesson:
    x = 0.2 + 0.6 * torch.rand(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Lesson.of(x, torch.arange(n) % classes, step=step)


def toward(one: Lesson, weight: Tensor, target: Tensor) -> Tensor:
    """One whole step down −log p_t from the input itself: x − ε sign(Wᵀ(p − e_t))."""
    off = (one.x @ weight.T).softmax(dim=1) - torch.eye(len(weight), dtype=torch.float64)[target]
    return one.x - EPSILON * (off @ weight).sign()


def test_of_two_classes_the_target_is_the_other() -> None:
    one, two = rows(6, 2), W[:2]
    found = searched(objectives.pgd(EPSILON, 1, EPSILON, targeted=True, still=1.0), affine(two, torch.zeros(2, dtype=torch.float64)), one)
    assert torch.allclose(found, toward(one, two, 1 - one.y), rtol=0, atol=1e-12)
    assert torch.allclose(found, one.x + EPSILON * (two[1 - one.y] - two[one.y]).sign(), rtol=0, atol=1e-12)


def test_of_more_it_is_drawn_anew_for_each_row_and_step() -> None:
    objective, model = objectives.pgd(EPSILON, 1, EPSILON, targeted=True, still=1.0), affine(W, torch.zeros(3, dtype=torch.float64))
    chosen = []
    for step in (0, 1):
        one = rows(60, 3, step)
        found = searched(objective, model, one)
        each = torch.stack([(found - toward(one, W, torch.full_like(one.y, t))).abs().amax(dim=1) < 1e-12 for t in range(3)], dim=1)
        each[torch.arange(60), one.y] = False
        assert bool((each.sum(dim=1) >= 1).all()), "each goes toward a class that is not its own"
        chosen.append(each)
        shares = (each & (each.sum(dim=1) == 1)[:, None]).double().mean(dim=0)
        assert bool((shares > 0.1).all()), shares
    assert not torch.equal(*chosen)


def test_pairing_goes_where_training_on_the_same_attack_goes() -> None:
    one, model = rows(30, 3), affine(W, torch.zeros(3, dtype=torch.float64))
    near, far = (searched(objectives.alp(EPSILON, steps=3, targeted=targeted), model, one) for targeted in (True, False))
    assert torch.equal(near, searched(objectives.pgd(EPSILON, 3, targeted=True), model, one))
    assert torch.equal(far, searched(objectives.pgd(EPSILON, 3), model, one))
    assert not torch.equal(near, far)


def test_a_share_of_the_rows_starts_still() -> None:
    one, model = rows(400, 3), affine(W, torch.zeros(3, dtype=torch.float64))
    tiny = 1e-9
    moved = (searched(objectives.pgd(EPSILON, 1, tiny, still=0.2), model, one) - one.x).abs().amax(dim=1)
    still = moved <= 2 * tiny
    # Of 400 rows with a chance of 0.2 fewer than 50 or more than 110 are one in ten thousand.
    assert 50 <= int(still.sum()) <= 110 and float(moved[~still].min()) > 1e-4


def test_fgsm_of_2015_steps_from_the_input_and_learns_from_both() -> None:
    one, model = rows(6, 3), affine(W, torch.zeros(3, dtype=torch.float64))
    objective = objectives.fgsm(EPSILON, clean=0.5, still=1.0)
    found = searched(objective, model, one)
    off = (one.x @ W.T).softmax(dim=1) - torch.eye(3, dtype=torch.float64)[one.y]
    assert torch.allclose(found, one.x + EPSILON * (off @ W).sign(), rtol=0, atol=1e-12)
    hard, clean = (torch.nn.functional.cross_entropy(x @ W.T, one.y) for x in (found, one.x))
    torch.testing.assert_close(objective.loss(model, one, found), (hard + clean) / 2)
    assert objectives.fgsm(EPSILON, smoothing=0.1).clean == 0


def test_a_share_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"still=1.5.*from 0 to 1"):
        objectives.pgd(EPSILON, still=1.5)
    with pytest.raises(ConfigError, match=r"clean=2.*from 0 to 1"):
        objectives.alp(EPSILON, clean=2.0)
    with pytest.raises(ConfigError, match="positive, finite step"):
        objectives.trades(EPSILON, step=0.0)
