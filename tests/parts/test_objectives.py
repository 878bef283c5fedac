"""Each objective equals its equation, written out row by row, and climbs to where its goal holds."""

import math

import pytest
import torch

from holdfast.core.errors import ConfigError
from holdfast.core.types import Batch, Out
from holdfast.parts.objectives import Alternating, CrossEntropy, Dlr, Hinge, Margin, ProbabilityMargin, TargetedDlr, objective

LOGITS = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
Y = torch.arange(200) % 6
TARGET = (Y + 1 + torch.arange(200) // 6 % 5) % 6
TOLD = Batch(torch.zeros(200, 1), Y, TARGET, Out(LOGITS), Y, torch.arange(200) % 7, torch.ones(200))


def by_hand(equation):
    rows = zip(LOGITS.tolist(), Y.tolist(), TARGET.tolist(), strict=True)
    return torch.tensor([equation(z, y, t) for z, y, t in rows], dtype=torch.float64)


def others(z, index):
    return max(value for k, value in enumerate(z) if k != index)


def log_softmax(z, index):
    return z[index] - math.log(sum(math.exp(value) for value in z))


def dlr(z, y, t):
    ordered = sorted(z, reverse=True)
    return -(z[y] - others(z, y)) / (ordered[0] - ordered[2])


def targeted_dlr(z, y, t):
    ordered = sorted(z, reverse=True)
    return -(z[y] - z[t]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)


def softmax(z):
    return [math.exp(value) / sum(math.exp(other) for other in z) for value in z]


def probability(z, y, t):
    return others(softmax(z), y) - softmax(z)[y]


EQUATIONS = {
    "cross-entropy": (CrossEntropy(), lambda z, y, t: -log_softmax(z, y)),
    "cross-entropy, targeted": (CrossEntropy(True), lambda z, y, t: log_softmax(z, t)),
    "margin": (Margin(), lambda z, y, t: others(z, y) - z[y]),
    "margin, targeted": (Margin(True), lambda z, y, t: z[t] - z[y]),
    "margin, targeted, strict": (Margin(True, strict=True), lambda z, y, t: z[t] - others(z, t)),
    "dlr": (Dlr(), dlr),
    "targeted dlr": (TargetedDlr(), targeted_dlr),
    "probability margin": (ProbabilityMargin(), probability),
    "probability margin, targeted": (ProbabilityMargin(True), lambda z, y, t: softmax(z)[t] - softmax(z)[y]),
    "hinge": (Hinge(False, 1.0), lambda z, y, t: min(others(z, y) - z[y], 1.0)),
    "hinge, targeted": (Hinge(True, 0.5), lambda z, y, t: min(z[t] - others(z, t), 0.5)),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_objective_is_its_equation(name):
    function, equation = EQUATIONS[name]
    assert torch.allclose(function(Out(LOGITS), TOLD), by_hand(equation), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EQUATIONS)
def test_gradient_is_that_of_the_equation(name):
    function, equation = EQUATIONS[name]
    z = LOGITS.clone().requires_grad_()
    (g,) = torch.autograd.grad(function(Out(z), TOLD).sum(), z)
    for row in range(0, 200, 20):
        y, t = int(Y[row]), int(TARGET[row])
        for k in range(6):
            high, low = LOGITS[row].tolist(), LOGITS[row].tolist()
            high[k], low[k] = high[k] + 1e-6, low[k] - 1e-6
            slope = (equation(high, y, t) - equation(low, y, t)) / 2e-6
            assert abs(float(g[row, k]) - slope) < 1e-5


def test_dlr_does_not_change_with_scale_and_shift():
    for function in (Dlr(), TargetedDlr()):
        moved = function(Out(LOGITS * 100 + 7), TOLD)
        assert torch.allclose(moved, function(Out(LOGITS), TOLD), rtol=1e-8)


def test_hinge_is_flat_beyond_its_confidence_and_slopes_before_it():
    z = torch.tensor([[0.0, 2.0, -5.0], [0.0, 0.5, -5.0]], requires_grad=True)
    told = TOLD[:2].where(torch.tensor([False, False]), TOLD[torch.tensor([0, 0])])
    (g,) = torch.autograd.grad(Hinge(False, 1.0)(Out(z), told).sum(), z)
    assert g.tolist() == [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]


def test_equal_logits_give_numbers():
    flat = torch.zeros(200, 6, requires_grad=True)
    for function, _ in EQUATIONS.values():
        value = function(Out(flat), TOLD)
        (g,) = torch.autograd.grad(value.sum(), flat)
        assert bool(value.isfinite().all()) and bool(g.isfinite().all())


def test_too_few_classes_fall_back_to_the_margin():
    assert Dlr().fitted(3) == Dlr() and Dlr().fitted(2) == Margin()
    assert TargetedDlr().fitted(4) == TargetedDlr() and TargetedDlr().fitted(3) == Margin(True)
    assert CrossEntropy(True).fitted(2) == CrossEntropy(True)


def test_siblings_take_turns_over_the_members():
    members = (Margin(), ProbabilityMargin(), Dlr())
    values = torch.stack([member(Out(LOGITS), TOLD) for member in members])
    expected = torch.stack([values[int(group) % 3, row] for row, group in enumerate(TOLD.group)])
    z = LOGITS.clone().requires_grad_()
    taken = Alternating(members=members)(Out(z), TOLD)
    assert torch.equal(taken.detach(), expected)
    (g,) = torch.autograd.grad(taken.sum(), z)
    for place, member in enumerate(members):
        alone = LOGITS.clone().requires_grad_()
        (own,) = torch.autograd.grad(member(Out(alone), TOLD).sum(), alone)
        mine = TOLD.group % 3 == place
        assert bool(mine.any()) and torch.allclose(g[mine], own[mine], rtol=0, atol=1e-12)
    assert Alternating(members=members).fitted(2).members == (Margin(), ProbabilityMargin(), Margin())


def test_a_certain_model_leaves_its_probabilities_in_range():
    value = ProbabilityMargin()(Out(torch.tensor([[1e30, 0.0, -1e30], [0.0, 1e4, 0.0]])), TOLD[:2])
    assert value.tolist() == [-1.0, -1.0]


def test_names_give_the_objectives_and_their_targeted_forms():
    assert objective("ce") == CrossEntropy() and objective("ce", True) == CrossEntropy(True)
    assert objective("dlr") == Dlr() and objective("dlr", True) == TargetedDlr() == objective("targeted_dlr", True)
    assert objective("probability", True) == ProbabilityMargin(True)
    assert objective("margin", True) == Margin(True, strict=True)
    with pytest.raises(ConfigError, match="entropy"):
        objective("entropy")
    with pytest.raises(ConfigError, match="targeted=True"):
        objective("targeted_dlr")
