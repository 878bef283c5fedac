"""Objectives of pairs (clean, attacked) against their formulas, written out row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import kstest
from tiny_lessons import asked, gradients, lesson, tiny

from holdfast import Classifier
from holdfast.core.draw import Draw
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, taught
from holdfast.training.objectives import alp, avmixup, iat, mart
from holdfast.training.objectives.iat import beta, partners
from holdfast.training.objectives.mart import boosted

RADIUS = 0.1
SIZES = [(5, 3), (1, 3), (4, 2), (1, 2)]


def found(objective: Objective, one: Lesson, classes: int) -> torch.Tensor:
    return objective.look(tiny(classes), one)


@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_alp_is_two_entropies_and_a_mean_square(n: int, classes: int) -> None:
    model, one, objective = tiny(classes), lesson(n, classes), alp(RADIUS, weight=0.7, clean=0.25)
    near = found(objective, one, classes)
    before, after = asked(model, one.x), asked(model, near)
    total = 0.0
    for row, label in enumerate(one.y.tolist()):
        total += -0.25 * math.log(before[row][label]) - 0.75 * math.log(after[row][label])
        a, b = model(one.x[row : row + 1]).logits[0].tolist(), model(near[row : row + 1]).logits[0].tolist()
        total += 0.7 * sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / classes
    assert objective(model, one).item() == pytest.approx(total / n, rel=1e-12)


@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_mart_is_its_three_terms(n: int, classes: int) -> None:
    model, one, objective = tiny(classes), lesson(n, classes), mart(RADIUS, beta=5.0)
    before, after = asked(model, one.x), asked(model, found(objective, one, classes))
    total = 0.0
    for row, label in enumerate(one.y.tolist()):
        rival = max(value for place, value in enumerate(after[row]) if place != label)
        total += -math.log(after[row][label]) - math.log(1 - rival)
        apart = sum(p * math.log(p / q) for p, q in zip(before[row], after[row], strict=True))
        total += 5.0 * apart * (1 - before[row][label])
    assert objective(model, one).item() == pytest.approx(total / n, rel=1e-11)


def test_mart_starts_a_hair_beside_the_input_and_climbs_the_entropy() -> None:
    model, one = tiny(), lesson()
    near = found(mart(RADIUS, steps=10), one, 3)
    assert ((near - one.x).abs() <= RADIUS + 1e-12).all() and ((near - one.x).abs().amax(dim=(1, 2, 3)) > RADIUS / 2).all()
    for row, label in enumerate(one.y.tolist()):
        assert asked(model, near)[row][label] < asked(model, one.x)[row][label]


@pytest.mark.parametrize("scale", [1e3, 1e-3])
def test_the_boosted_loss_is_finite_where_a_class_is_certain(scale: float) -> None:
    logits = (scale * torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)).requires_grad_()
    loss = boosted(logits, torch.tensor([0, 0]))
    (g,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all() and g.isfinite().all() and loss[1] > loss[0]


@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_iat_mixes_the_clean_and_the_attacked(n: int, classes: int) -> None:
    model, one, objective = tiny(classes), lesson(n, classes), iat(RADIUS, alpha=0.5)
    total = 0.0
    for name, x in (("clean", one.x), ("found", found(objective, one, classes))):
        shares, others = beta(one.draw, name, 0.5).tolist(), partners(one.draw, name).tolist()
        for row, (share, other) in enumerate(zip(shares, others, strict=True)):
            between = share * x[row : row + 1] + (1 - share) * x[other : other + 1]
            q = asked(model, between)[0]
            total -= share * math.log(q[one.y[row]]) + (1 - share) * math.log(q[one.y[other]])
    assert objective(model, one).item() == pytest.approx(total / (2 * n), rel=1e-10)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_partners_are_one_ring_wherever_rows_stand(n: int) -> None:
    draw = lesson(n).draw
    ring = partners(draw, "clean").tolist()
    place, seen = 0, []
    for _ in range(n):
        place = ring[place]
        seen.append(place)
    assert sorted(seen) == list(range(n))
    turned = torch.arange(n).roll(1)
    again = partners(Draw(draw.key[turned], draw.step[turned]), "clean")
    assert turned[again].tolist() == [ring[row] for row in turned.tolist()]


def test_iat_does_not_ask_where_in_the_batch_a_row_stands() -> None:
    model, one, turn = tiny(), lesson(6), torch.tensor([3, 0, 5, 1, 4, 2])
    assert iat(RADIUS)(model, one).item() == pytest.approx(iat(RADIUS)(model, one[turn]).item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0, 30.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    key = torch.arange(4000)
    shares = beta(Draw(key, torch.zeros_like(key)), "clean", alpha)
    assert kstest(shares.numpy(), "beta", args=(alpha, alpha)).pvalue > 0.001
    assert torch.equal(beta(Draw(key[7:9], key[:2] * 0), "clean", alpha), shares[7:9])


@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_avmixup_softens_labels_toward_the_vertex(n: int, classes: int) -> None:
    model, one, objective = tiny(classes), lesson(n, classes), avmixup(RADIUS, gamma=2.0, near=0.9, far=0.3)
    near, shares = found(objective, one, classes), one.draw.uniform("vertex", (1,), torch.float64)[:, 0].tolist()
    total = 0.0
    for row, (share, label) in enumerate(zip(shares, one.y.tolist(), strict=True)):
        vertex = (one.x[row] + 2 * (near[row] - one.x[row])).clamp(0, 1)
        q = asked(model, (share * one.x[row] + (1 - share) * vertex).unsqueeze(0))[0]
        for place, value in enumerate(q):
            at_ends = [kept if place == label else (1 - kept) / (classes - 1) for kept in (0.9, 0.3)]
            total -= (share * at_ends[0] + (1 - share) * at_ends[1]) * math.log(value)
    assert objective(model, one).item() == pytest.approx(total / n, rel=1e-12)


@dataclass(frozen=True)
class Attached(Objective):
    """What it finds hangs on the weights, which no search of the library's leaves so."""

    def look(self, model: Classifier, lesson: Lesson) -> torch.Tensor:
        return lesson.x * model(lesson.x).logits.sum()

    def loss(self, model: Classifier, lesson: Lesson, found: torch.Tensor) -> torch.Tensor:
        return taught(model, found, lesson.y)


def test_what_is_found_is_held_fixed() -> None:
    model, one = tiny(), lesson()
    fixed = taught(model, Attached().look(model, one).detach(), one.y)
    for g, whole in zip(gradients(model, fixed), gradients(model, Attached()(model, one)), strict=True):
        assert torch.equal(g, whole) and g.abs().sum() > 0
