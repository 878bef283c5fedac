"""On two-class affine models the ascent attacks succeed exactly where the ball reaches the boundary: |f| / ‖w‖_q < ε."""

import pytest
import torch
from affine import Affine

from holdfast.attacks import apgd, bim_a, bim_b, fgsm, mi_fgsm, pgd
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L1, L2, Linf

KINDS = [(Linf, torch.inf), (L2, 2), (L1, 1)]


def decided(attack, affine, p, epsilon, clear=0.02):
    """Whether success is where it must be, for the inputs whose distance is not within `clear` of ε."""
    exact = affine.distance(p)
    outcome = run(attack, affine.model, Samples.of(affine.x, affine.y))
    certain = (exact / epsilon - 1).abs() > clear
    assert int((certain & (exact < epsilon)).sum()) > 8 and int((certain & (exact > epsilon)).sum()) > 8
    return bool((outcome.success == (exact < epsilon))[certain].all())


def drawn(dtype):
    return Affine.drawn(60, 12, 2, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "p"), KINDS)
def test_pgd_decides_exactly(dtype, kind, p):
    affine = drawn(dtype)
    epsilon = float(affine.distance(p).median()) * 1.001
    assert decided(pgd(kind(epsilon), steps=40), affine, p, epsilon)


@pytest.mark.parametrize(("kind", "p"), KINDS[:2])
@pytest.mark.parametrize("objective", ["ce", "dlr", "margin"])
def test_apgd_decides_exactly_whatever_its_objective(kind, p, objective):
    affine = drawn(torch.float64)
    epsilon = float(affine.distance(p).median()) * 1.001
    assert decided(apgd(kind(epsilon), steps=40, objective=objective), affine, p, epsilon)


@pytest.mark.parametrize("make", [fgsm, bim_a, bim_b, mi_fgsm])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_sign_methods_decide_exactly(make, dtype):
    affine = drawn(dtype)
    epsilon = float(affine.distance(torch.inf).median()) * 1.001
    assert decided(make(Linf(epsilon)), affine, torch.inf, epsilon, clear=1e-4)


def test_a_small_radius_counts_in_full_where_the_range_is_wide():
    affine = drawn(torch.float32)
    affine.net.bias.sub_(1000 * affine.net.weight.sum(dim=1))
    x = affine.x + 1000
    far = Affine(affine.net, x, affine.net(x).argmax(dim=1))
    exact = far.distance(torch.inf)
    epsilon = float(exact.median())
    outcome = run(pgd(Linf(epsilon), steps=20), Classifier(far.net, 2, bounds=(0.0, 2000.0)), Samples.of(x, far.y))
    certain = (exact / epsilon - 1).abs() > 0.1
    assert torch.equal(outcome.success[certain], (exact < epsilon)[certain])


def test_the_ten_dimensional_logistic_example():
    x = torch.tensor([[2.0, -1.0, 3.0, -2.0, 2.0, 2.0, 1.0, -4.0, 5.0, 1.0]])
    w = torch.tensor([-1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    assert (x * w).tolist() == [[-2.0, 1.0, 3.0, 2.0, 2.0, -2.0, 1.0, -4.0, -5.0, 1.0]]

    class Logistic(torch.nn.Module):
        def forward(self, x):
            score = x @ w
            return torch.stack([torch.zeros_like(score), score], dim=1)

    model = Classifier(Logistic(), 2, bounds=(-10, 10))
    assert float(model(x).logits.softmax(dim=1)[0, 1]) == pytest.approx(0.0474, abs=5e-5)
    outcome = run(fgsm(Linf(0.5)), model, Samples.of(x, torch.tensor([0])))
    assert outcome.success.all()
    assert torch.equal(outcome.adversarial, x + 0.5 * w.sign())
    after = model(outcome.adversarial).logits
    assert float(after[0, 1]) == 2.0
    assert float(after.softmax(dim=1)[0, 1]) == pytest.approx(0.88, abs=1e-3)
    assert float(outcome.found.confidence[0]) == pytest.approx(0.8808, abs=1e-4)
