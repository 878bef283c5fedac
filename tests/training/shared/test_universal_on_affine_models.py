"""On an affine model of two classes the best shared direction is known: along the normal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from holdfast import L2, Classifier, ConfigError, InputError, Linf, attacks
from holdfast.core.draw import Draw, row_key
from holdfast.core.types import Access
from holdfast.engine import Samples, run
from holdfast.training.shared import fit, judge, parse_shared, universal, universal_gradient
from holdfast.training.shared.fit import _ORDER

torch.set_num_threads(1)


def affine(features: int, classes: int = 2) -> Classifier:
    g = torch.Generator().manual_seed(4)
    net = nn.Linear(features, classes).double().eval().requires_grad_(False)
    net.weight.copy_(torch.randn(classes, features, generator=g, dtype=torch.float64))
    net.bias.copy_(-0.5 * net.weight.sum(dim=1))
    return Classifier(net, classes)


def one_sided(model: Classifier, n: int, features: int) -> Tensor:
    """Inputs well inside the box that the model takes for class 0."""
    x = 0.5 + 0.1 * torch.randn(20 * n, features, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return x[model(x).logits.argmax(dim=1) == 0][:n].clamp(0.1, 0.9)


@pytest.mark.parametrize("threat", [L2(0.15), Linf(0.08)])
def test_one_sided_inputs_are_pushed_along_the_normal(threat: L2 | Linf) -> None:
    model = affine(6)
    x = one_sided(model, 40, 6)
    w = model.net.weight[1] - model.net.weight[0]  # type: ignore[union-attr, index]
    best = threat.radius * threat.steepest(w.unsqueeze(0))[0]
    gap = (model(x).logits[:, 0] - model(x).logits[:, 1]).numpy()
    reach = float((w * best).sum())
    expected = float((gap < reach).mean())
    assert 0.2 < expected < 1, "some inputs are out of reach"
    fitted = fit(universal_gradient(threat, passes=20), model, x)
    assert torch.allclose(fitted.perturbation, best, atol=1e-6)
    assert fitted.history[-1] == pytest.approx(expected)
    slow = fit(universal(threat, passes=3, until=1.0), model, x)
    along = float((slow.perturbation * w).sum())
    assert along == pytest.approx(reach, rel=0.1 if isinstance(threat, L2) else 0.35), "DeepFool's L2 step is along the normal"


def literal(model: Classifier, x: Tensor, order: list[int], radius: float) -> Tensor:
    """Moosavi-Dezfooli et al.'s algorithm 1 over one pass, an input at a time, DeepFool run by the engine."""
    labels, p = model(x).logits.argmax(dim=1), torch.zeros_like(x[:1])
    for i in order:
        begin = (x[i : i + 1] + p).clamp(0, 1)
        if int(model(begin).logits.argmax()) == int(labels[i]):
            found = run(attacks.deepfool(L2(math.inf), 10), model, Samples.of(begin, labels[i : i + 1]))
            p = (p + found.adversarial - begin).clamp(-radius, radius)
    return p


def test_one_at_a_time_is_the_papers_algorithm() -> None:
    model = affine(8, 4)
    x = 0.5 + 0.15 * torch.randn(30, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64).clamp(-2, 2)
    ids = torch.arange(30)
    chance = Draw(row_key(0, ids, torch.zeros_like(ids)), torch.full_like(ids, _ORDER))
    order = chance.bits("order", 1).squeeze(1).argsort(stable=True).tolist()
    slow = literal(model, x, order, 0.05)[0]
    assert float(slow.abs().amax()) > 0.04
    assert torch.allclose(fit(universal(0.05, passes=1, until=1.0, together=1), model, x).perturbation, slow, atol=1e-9)
    quick = fit(universal(0.05, passes=1, until=1.0), model, x)
    assert quick.history[0] > 0 and quick.size <= 0.05


def test_the_history_is_what_the_model_says() -> None:
    model = affine(6, 3)
    x = torch.rand(50, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    y = model(x).logits.argmax(dim=1)
    fitted = fit(universal_gradient(0.1, passes=4), model, x)
    after = model((x + fitted.perturbation).clamp(0, 1)).logits.argmax(dim=1)
    assert fitted.history[fitted.best] == max(fitted.history) == pytest.approx((after != y).double().mean().item())
    wrong = (y + (torch.arange(50) % 5 == 0)) % 3
    judged = judge(fitted, model, x, wrong)
    assert judged.altered_rate == pytest.approx((after != y).double().mean().item())
    assert judged.accuracy == pytest.approx((after == wrong).double().mean().item())
    right = y == wrong
    assert judged.success_rate == pytest.approx((after != wrong)[right].double().mean().item())
    moved = (x + fitted.perturbation).clamp(0, 1)
    assert judged.dissimilarity == pytest.approx(((x - moved).norm(dim=1) / moved.norm(dim=1)).mean().item())


def test_a_target_is_what_counts() -> None:
    model = affine(6, 3)
    x = torch.rand(50, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    y = model(x).logits.argmax(dim=1)
    for method in (universal_gradient(0.3, target=2), universal(0.3, target=2, passes=2)):
        fitted = fit(method, model, x)
        after = model((x + fitted.perturbation).clamp(0, 1)).logits.argmax(dim=1)
        rate = (after == 2)[y != 2].double().mean().item()
        assert rate > 0.5 and fitted.history[fitted.best] == pytest.approx(rate)
        assert judge(fitted, model, x, y).success_rate == pytest.approx(rate)


def test_enough_is_enough() -> None:
    model = affine(6)
    fitted = fit(universal_gradient(0.5, passes=50, until=0.9), model, one_sided(model, 40, 6))
    assert len(fitted.history) < 50 and fitted.history[-1] >= 0.9


def test_mistakes_are_told() -> None:
    model, x = affine(6, 3), torch.rand(9, 6, dtype=torch.float64)
    for call, words in (
        ("universal(0)", "positive and finite"), ("universal(0.1, passes=0)", "at least 1"), ("universal(0.1, until=2)", "rate"),
        ("universal(0.1, sides=2)", "no parameter 'sides'"), ("universal", "threat is missing"), ("unversal(0.1)", "universal"),
        ("universal_gradient(0.1, rate=0)", "positive step"), ("patch(side=2)", "smallest scale"), ("rp2(weight=-1)", "weight of"),
        ("rp2(mask='spots')", "choose one of"), ("universal(L0(3))", "not defined for l0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            parse_shared(call)
    with pytest.raises(ConfigError, match="classes 0"):
        fit(universal(0.1, target=3), model, x)
    with pytest.raises(ConfigError, match="images"):
        fit(parse_shared("patch()"), model, x)
    with pytest.raises(InputError, match="outside the model's range"):
        fit(universal(0.1), model, x + 1)
    blind = Classifier(model.net, 3, access=Access.SCORE)
    with pytest.raises(ConfigError, match="gives only SCORE"):
        fit(universal(0.1), blind, x)
