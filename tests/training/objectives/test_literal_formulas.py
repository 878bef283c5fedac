"""The four regularisers against their formulas written out, where slopes and worst directions are known."""

from __future__ import annotations

import math

import pytest
import torch
from small import affine, classifier, lesson, module, searched
from torch import Tensor, nn

from holdfast.core.types import Bounds
from holdfast.models import Classifier
from holdfast.parts.threats import L2, Linf
from holdfast.training import objectives
from holdfast.training.lesson import Lesson

W = torch.tensor([[1.0, -2.0, 0.5], [-0.5, 1.0, 0.0], [0.3, 0.2, -1.5]], dtype=torch.float64)
B = torch.tensor([0.1, -0.3, 0.2], dtype=torch.float64)


def cross_entropy(w: Tensor, b: Tensor, x: Tensor, label: int) -> float:
    z = [sum(float(w[k, i]) * float(x[i]) for i in range(len(x))) + float(b[k]) for k in range(len(w))]
    return math.log(sum(math.exp(v - z[label]) for v in z))


def slope_of(w: Tensor, b: Tensor, x: Tensor, label: int) -> list[float]:
    """∇ℓ(x) = Wᵀ(p − e_y) of an affine model."""
    z = [sum(float(w[k, i]) * float(x[i]) for i in range(len(x))) + float(b[k]) for k in range(len(w))]
    total = sum(math.exp(v) for v in z)
    off = [math.exp(v) / total - (k == label) for k, v in enumerate(z)]
    return [sum(off[k] * float(w[k, i]) for k in range(len(w))) for i in range(len(x))]


def two_rows() -> tuple[Classifier, Lesson]:
    x = torch.tensor([[0.2, 0.7, 0.4], [0.9, 0.1, 0.6]], dtype=torch.float64)
    return affine(W, B), Lesson.of(x, torch.tensor([2, 0]))


def logistic(w: float, x: float) -> tuple[Classifier, Lesson]:
    """One row of one feature and two classes: ℓ(x) = log(1 + exp(−w x)) for class 1."""
    model = affine(torch.tensor([[0.0], [w]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    return model, Lesson.of(torch.tensor([[x]], dtype=torch.float64), torch.tensor([1]))


def test_double_backprop_on_an_affine_model() -> None:
    model, one = two_rows()
    true = 0.0
    for x, y in zip(one.x, one.y.tolist(), strict=True):
        true += (cross_entropy(W, B, x, y) + 0.7 * sum(g * g for g in slope_of(W, B, x, y))) / 2
    assert float(objectives.double_backprop(0.7)(model, one).detach()) == pytest.approx(true, rel=1e-12)


def test_double_backprop_on_one_number() -> None:
    model, one = logistic(3.0, 0.4)
    off = 1 / (1 + math.exp(1.2))
    true = math.log(1 + math.exp(-1.2)) + 0.7 * (3 * off) ** 2
    assert float(objectives.double_backprop(0.7)(model, one).detach()) == pytest.approx(true, rel=1e-12)


def test_cure_on_an_affine_model() -> None:
    model, one = two_rows()
    objective = objectives.cure(gamma=2.0, h=0.3)
    found, true = searched(objective, model, one), 0.0
    for row, (x, y) in enumerate(zip(one.x, one.y.tolist(), strict=True)):
        here = slope_of(W, B, x, y)
        z = torch.tensor([math.copysign(1, g) for g in here], dtype=torch.float64) / math.sqrt(3)
        assert torch.allclose(found[row], x + 0.3 * z, rtol=0, atol=1e-15)
        there = slope_of(W, B, x + 0.3 * z, y)
        true += (cross_entropy(W, B, x, y) + 2 * sum((b - a) ** 2 for a, b in zip(here, there, strict=True))) / 2
    assert float(objective(model, one).detach()) == pytest.approx(true, rel=1e-12)


def test_cure_of_a_short_step_is_the_curvature() -> None:
    """γ ‖∇ℓ(x + h z) − ∇ℓ(x)‖² → γ h² ‖H z‖², H the second derivative of the loss in the input."""
    model, one = classifier(nn.Tanh), lesson(1)
    h = 1e-5
    found = searched(objectives.cure(1.0, h), model, one)
    hessian = torch.autograd.functional.hessian(lambda x: nn.functional.cross_entropy(module(model)(x), one.y[0]), one.x[0])
    z = (found - one.x)[0] / h
    assert float(z.norm()) == pytest.approx(1, rel=1e-9)
    with_, without = (objectives.cure(g, h).loss(model, one, found).detach() for g in (1e10, 0.0))
    assert float((with_ - without) / 1e10 / h**2) == pytest.approx(float((hessian @ z).square().sum().detach()), rel=1e-3)


def test_llr_on_an_affine_model() -> None:
    model, one = two_rows()
    objective = objectives.llr(Linf(0.1), weight=1.5, mu=0.5, steps=2)
    found, true = searched(objective, model, one), 0.0
    for row, (x, y) in enumerate(zip(one.x, one.y.tolist(), strict=True)):
        here, there = (cross_entropy(W, B, point, y) for point in (x, found[row]))
        plane = sum(float(d) * g for d, g in zip(found[row] - x, slope_of(W, B, x, y), strict=True))
        true += (here + 1.5 * abs(there - here - plane) + 0.5 * abs(plane)) / 2
    assert float(objective(model, one).detach()) == pytest.approx(true, rel=1e-12)


def test_llr_finds_a_corner_where_the_loss_is_convex_along_one_line() -> None:
    """Two classes of an affine model: |g| depends on ⟨w, δ⟩ alone and grows away from 0, so the farthest corners of the ball hold it."""
    w = torch.tensor([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
    model, x = affine(w, torch.zeros(2, dtype=torch.float64)), torch.full((30, 3), 0.5, dtype=torch.float64)
    one = Lesson.of(x, torch.arange(30) % 2)
    for ball, farthest in ((Linf(0.2), 0.2 * 3.5), (L2(0.2), 0.2 * math.sqrt(5.25))):
        p = searched(objectives.llr(ball, steps=50, step=0.1), model, one) - x
        reach = p @ w[1]
        assert torch.allclose(reach.abs(), torch.full_like(reach, farthest), rtol=1e-9)
        assert bool((reach > 0).any()) and bool((reach < 0).any()), "each row begins somewhere of its own"


def test_llr_of_a_plane_has_no_gap() -> None:
    """Where the loss is a plane (so sure a wrong answer that ℓ = −z_y + z_k), only μ|⟨δ, ∇ℓ⟩| is left, and the search stays in the ball."""
    model, one = logistic(2000.0, 0.5)
    one = Lesson.of(one.x, torch.tensor([0]))
    objective = objectives.llr(0.1, weight=4.0, mu=3.0)
    found = searched(objective, model, one)
    assert float((found - one.x).abs()) <= 0.1
    true = 1000 + 3 * 2000 * float((found - one.x).abs())
    assert float(objective.loss(model, one, found).detach()) == pytest.approx(true, rel=1e-12)


@pytest.mark.parametrize("xi", [1e-3, 0.1, 3.0])
def test_vat_goes_along_the_normal_of_two_affine_classes(xi: float) -> None:
    """H = p₀ p₁ w wᵀ has one eigenvector: one step finds it, from any start and with any ξ."""
    w = torch.tensor([[0.3, -0.2, 0.1, 0.9], [1.0, 1.4, -0.6, 0.2]], dtype=torch.float64)
    model, x = affine(w, torch.zeros(2, dtype=torch.float64)), torch.full((20, 4), 0.5, dtype=torch.float64)
    way = searched(objectives.vat(0.3, xi=xi), model, Lesson.of(x, torch.zeros(20, dtype=torch.int64))) - x
    normal = w[1] - w[0]
    along = way @ (normal / normal.norm())
    assert torch.allclose(along.abs(), torch.full_like(along, 0.3), rtol=1e-9)
    assert bool((along > 0).any()) and bool((along < 0).any())


def wide(model: Classifier) -> Classifier:
    """The same model with no range in the way."""
    model.bounds = Bounds(-100.0, 100.0)
    return model


def test_vat_is_power_iteration() -> None:
    """Against d ← H d / ‖H d‖ with H = Jᵀ(diag p − p pᵀ)J written out, and after many steps the dominant eigenvector."""
    model, one = wide(classifier(nn.Tanh)), lesson(5)
    start = one.draw.normal("vat", (5,), torch.float64)
    hessians = []
    for x in one.x:
        jacobian, p = torch.func.jacrev(module(model))(x), module(model)(x).softmax(dim=0)
        hessians.append(jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian)
    for steps in (1, 2, 3, 100):
        way = (searched(objectives.vat(1.0, xi=1e-5, steps=steps), model, one) - one.x).detach()
        for row, hessian in enumerate(hessians):
            d = start[row] / start[row].norm()
            for _ in range(steps):
                d = hessian @ d
                d = d / d.norm()
            assert torch.allclose(way[row], d, atol=2e-4), steps
            if steps == 100:
                top = torch.linalg.eigh(hessian.detach()).eigenvectors[:, -1]
                assert abs(float(way[row] @ top)) == pytest.approx(1, abs=1e-6)


def test_vat_is_the_loss_the_divergence_and_the_entropy() -> None:
    model, one = classifier(nn.Tanh), lesson(2, unlabelled=1)
    objective = objectives.vat(0.4, weight=2.0, entmin=0.5)
    found, net, true = searched(objective, model, one), module(model), 0.0
    for row in range(2):
        before, after = (net(point[row]).softmax(dim=0).tolist() for point in (one.x, found))
        true += 2 * sum(p * math.log(p / q) for p, q in zip(before, after, strict=True)) / 2
        true -= 0.5 * sum(p * math.log(p) for p in before) / 2
        if row == 0:
            true -= math.log(before[int(one.y[0])])
    assert float(objective(model, one).detach()) == pytest.approx(true, rel=1e-12)
    assert torch.allclose((found - one.x).norm(dim=1), torch.full((2,), 0.4, dtype=torch.float64), rtol=1e-12)
