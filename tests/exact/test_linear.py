"""The smallest change against programs that know no closed form, on the model itself, and never larger than what attacks find."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from conformance.suite import bits
from holdfast import L0, L1, L2, Classifier, ConfigError, InputError, Linf, ModelError, attacks
from holdfast.core.types import Access
from holdfast.engine import Samples, run
from holdfast.exact import METHODS, linear_exact, linear_model, mix_weights

NORMS = [(L2(math.inf), 2), (Linf(math.inf), math.inf), (L1(math.inf), 1)]
NORM = pytest.mark.parametrize(("threat", "p"), NORMS, ids=["l2", "linf", "l1"])


def drawn(n: int, d: int, classes: int, dtype: torch.dtype = torch.float64, spread: float = 0.3) -> tuple[nn.Linear, Tensor, Tensor]:
    """A layer, inputs in the unit box, many of them at its edges, and the classes that it gives them."""
    g = torch.Generator().manual_seed(d)
    net = nn.Linear(d, classes).to(dtype).eval().requires_grad_(False)
    weight = torch.randn(classes, d, generator=g, dtype=torch.float64)
    net.weight.copy_(weight)
    net.bias.copy_(0.3 * torch.randn(classes, generator=g) - 0.5 * weight.sum(dim=1))
    x = (0.5 + spread * torch.randn(n, d, generator=g, dtype=torch.float64)).clamp(0, 1).to(dtype)
    return net, x, net(x).argmax(dim=1)


def program(w: np.ndarray, gap: float, low: np.ndarray, high: np.ndarray, p: float) -> float:
    """min ‖d‖_p with ⟨w, d⟩ ≥ gap and low ≤ d ≤ high, by a general solver; infinite where there is none."""
    d = len(w)
    if (np.maximum(w * low, w * high)).sum() < gap:
        return math.inf
    if p == 2:
        found = minimize(
            lambda v: v @ v, np.clip(w * gap / (w @ w), low, high), jac=lambda v: 2 * v, method="SLSQP",
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "ineq", "fun": lambda v: w @ v - gap, "jac": lambda v: w}, options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert found.success
        return float(np.linalg.norm(found.x))
    eye = np.eye(d)
    bound = np.ones((d, 1)) if p == math.inf else eye
    extra = bound.shape[1]
    rows = np.vstack([np.hstack([-w[None], np.zeros((1, extra))]), np.hstack([eye, -bound]), np.hstack([-eye, -bound])])
    limits = np.concatenate([[-gap], np.zeros(2 * d)])
    spans = [*zip(low, high, strict=True), *[(0, None)] * extra]
    return float(linprog(np.concatenate([np.zeros(d), np.ones(extra)]), rows, limits, bounds=spans).fun)


@NORM
@pytest.mark.parametrize(("d", "classes"), [(2, 2), (6, 3), (15, 5)])
@pytest.mark.parametrize("box", [False, True])
def test_the_distance_is_that_of_a_program(threat, p, d, classes, box) -> None:
    net, x, y = drawn(12, d, classes)
    found = linear_exact(net, x, y, threat, (0.0, 1.0) if box else None)
    for i in range(len(x)):
        low, high = (-x[i].numpy(), 1 - x[i].numpy()) if box else (np.full(d, -100.0), np.full(d, 100.0))
        others = [k for k in range(classes) if k != int(y[i])]
        scores = net(x[i])
        exact = min(program((net.weight[k] - net.weight[y[i]]).numpy(), float(scores[y[i]] - scores[k]), low, high, p) for k in others)
        assert float(found.distance[i]) == pytest.approx(exact, rel=1e-5, abs=1e-9)
    assert bool((found.perturbation.flatten(1).norm(p, dim=1) - found.distance)[found.distance.isfinite()].abs().max() < 1e-9)
    assert torch.equal(found.success, found.distance.isfinite())


@NORM
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_model_itself_is_fooled_by_a_hair_more_and_not_by_less(threat, p, dtype) -> None:
    net, x, y = drawn(60, 40, 6, dtype, spread=0.1)
    model = Classifier(nn.Sequential(nn.Flatten(), net).eval(), 6)
    x = x.reshape(-1, 2, 4, 5)
    found = linear_exact(model, x, y, threat)
    assert found.success.all() and found.adversarial.dtype == dtype
    assert bool((model(found.adversarial).logits.argmax(dim=1) != y).all())
    assert bool((found.adversarial >= 0).all() and (found.adversarial <= 1).all())
    # What rounding blurs is of the size of the scores, not of the distance.
    excess = (found.size - found.distance).abs().max() / found.distance.median()
    assert float(excess) <= (1e-3 if dtype == torch.float32 else 1e-11)
    shorter = (x.double() + 0.999 * found.perturbation).to(dtype)
    assert torch.equal(model(shorter).logits.argmax(dim=1), y)


@NORM
def test_never_larger_than_what_attacks_find(threat, p) -> None:
    net, x, y = drawn(40, 12, 4, spread=0.25)
    model = Classifier(net, 4)
    exact = linear_exact(model, x, y, threat)
    for attack in (attacks.deepfool(threat), attacks.fab(threat, steps=20)):
        outcome = run(attack, model, Samples.of(x, y))
        assert int(outcome.success.sum()) > 30
        assert bool((outcome.found.size >= exact.distance * (1 - 1e-9))[outcome.success].all())


@NORM
def test_robust_accuracy_is_exact_both_ways(threat, p) -> None:
    net, x, y = drawn(50, 12, 4)
    y[::7] = (y[::7] + 1) % 4
    found = linear_exact(Classifier(net, 4), x, y, threat)
    radius = float(found.distance[found.distance > 0].median())
    within = linear_exact(Classifier(net, 4), x, y, type(threat)(radius * 1.0001))
    assert within.success.double().mean() == pytest.approx(1 - found.robust_accuracy(radius))
    assert (
        bool((found.distance[::7] == 0).all()) and bool(found.success[::7].all()) and found.robust_accuracy(0.0) == pytest.approx(42 / 50)
    )
    assert torch.equal(within.adversarial[~within.success], x[~within.success])


def test_rows_do_not_meet() -> None:
    net, x, y = drawn(20, 8, 3)
    whole = linear_exact(net, x, y)
    for i in (0, 13):
        alone = linear_exact(net, x[i : i + 1], y[i : i + 1]).flatten()
        for name in ("distance", "perturbation", "adversarial"):
            assert torch.allclose(whole.flatten()[name][i : i + 1], alone[name], rtol=1e-12, atol=1e-14), name


def test_the_module_is_left_alone() -> None:
    net, x, y = drawn(5, 4, 3, torch.float32)
    net.train()
    before = [bits(p) for p in net.parameters()]
    linear_exact(net, x, y)
    assert net.training and all(torch.equal(a, bits(b)) for a, b in zip(before, net.parameters(), strict=True))


def test_normalisation_is_part_of_the_model() -> None:
    """Mean, deviation and range by channel, and two layers with nothing between them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Identity(), nn.Linear(7, 3, bias=False)).double().eval()
    model = Classifier(net, 3, bounds=((0, 0, 0), (1, 2, 3)), mean=(0.1, 0.2, 0.3), std=(0.5, 2.0, 4.0))
    x = torch.rand(30, 3, 2, 2).double()
    linear = linear_model(model, (3, 2, 2))
    assert torch.allclose(linear.scores(x), model(x).logits)
    y = model(x).logits.argmax(dim=1)
    found = linear_exact(model, x, y, Linf(math.inf))
    assert bool((model(found.adversarial).logits.argmax(dim=1) != y)[found.success].all()) and int(found.success.sum()) > 10
    for channel, top in enumerate((1, 2, 3)):
        assert float(found.adversarial[:, channel].max()) <= top


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    "name",
    [
        "linear_model.LogisticRegression",
        "linear_model.SGDClassifier",
        "linear_model.RidgeClassifier",
        "linear_model.Perceptron",
        "svm.LinearSVC",
    ],
)
def test_estimators_of_scikit_learn(name: str, classes: int) -> None:
    """Fooled by their own `predict`, at the distance of their own decision function."""
    from importlib import import_module

    room, kind = name.split(".")
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(classes), 30)
    x = rng.normal(size=(len(place), 6)) + 2.5 * np.eye(classes, 6)[place]
    estimator = getattr(import_module(f"sklearn.{room}"), kind)().fit(x, np.array(list("dbca"))[place])
    points, labels = torch.from_numpy(x), torch.from_numpy(np.searchsorted(estimator.classes_, estimator.predict(x)))
    found = linear_exact(estimator, points, labels, L2(math.inf))
    assert found.success.all()
    assert bool((estimator.predict(found.adversarial.numpy()) != estimator.predict(x)).all())
    score = estimator.decision_function(x)
    if classes == 2:
        assert found.distance.numpy() == pytest.approx(np.abs(score) / np.linalg.norm(estimator.coef_))
    shorter = x + 0.999 * found.perturbation.numpy()
    assert bool((estimator.predict(shorter) == estimator.predict(x)).all())


def test_one_score_is_a_logistic_model() -> None:
    net = nn.Linear(10, 1, bias=False).requires_grad_(False)
    w = torch.tensor([-1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    net.weight.data.copy_(w.unsqueeze(0))
    x = torch.tensor([[2.0, -1.0, 3.0, -2.0, 2.0, 2.0, 1.0, -4.0, 5.0, 1.0]])
    assert float(net(x).sigmoid()) == pytest.approx(0.0474, abs=5e-5)
    found = linear_exact(net, x, torch.tensor([0]), Linf(0.5))
    assert found.distance.tolist() == [pytest.approx(0.3)] and found.success.all() and found.rival.tolist() == [1]
    assert float(net(x + 0.5 * found.perturbation.sign().float()).sigmoid()) == pytest.approx(0.88, abs=1e-3)
    assert linear_exact(net, x, torch.tensor([0]), L1(math.inf)).distance.tolist() == [pytest.approx(3.0)]
    assert linear_exact(net, x, torch.tensor([1])).distance.tolist() == [0.0]


def test_no_way_out_of_a_class() -> None:
    """All of the range is of one class; and classes that differ in their bias alone."""
    net = nn.Linear(2, 3)
    net.weight.data.zero_()
    net.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))
    found = linear_exact(net, torch.zeros(2, 2), torch.tensor([0, 0]))
    assert found.distance.tolist() == [math.inf] * 2 and not found.success.any() and found.rival.tolist() == [-1, -1]
    assert found.robust_accuracy(1e9) == 1.0 and bool((found.adversarial == 0).all())
    net.weight.data[1, 0] = 0.5
    assert linear_exact(net, torch.zeros(1, 2), torch.tensor([0]), bounds=(0, 1)).distance.tolist() == [math.inf]
    assert linear_exact(net, torch.zeros(1, 2), torch.tensor([0]), bounds=(0, 3)).distance.tolist() == [2.0]


def test_pictures_in_bytes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    x = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    model = Classifier(net, 3)
    assert linear_exact(model, x, model(x / 255).logits.argmax(dim=1)).adversarial.dtype == torch.float32


def test_weights_are_mixed_in() -> None:
    net, x, _ = drawn(8, 16, 3)
    model, target = Classifier(net, 3), torch.arange(8) % 3
    before = model(x).logits.softmax(dim=1).gather(1, target.unsqueeze(1))
    mixed = mix_weights(model, x, target, 0.2)
    assert float((mixed - x).abs().max()) <= 0.2 + 1e-12 and bool((mixed >= 0).all() and (mixed <= 1).all())
    assert bool((model(mixed).logits.softmax(dim=1).gather(1, target.unsqueeze(1)) > before).all())
    assert torch.equal(mix_weights(model, x, target, 0.0), x)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ModelError, "ReLU is not linear", lambda n, x, y: linear_exact(nn.Sequential(n, nn.ReLU()), x, y)),
        (ModelError, "no linear layer", lambda n, x, y: linear_exact(Classifier(nn.Flatten(), 3), x, y)),
        (ModelError, "str is no linear model", lambda n, x, y: linear_exact("net", x, y)),
        (ModelError, "NaN or infinity", lambda n, x, y: linear_exact(_nan(n), x, y)),
        (ConfigError, "has its own", lambda n, x, y: linear_exact(Classifier(n, 3), x, y, bounds=(0, 1))),
        (ConfigError, "low must lie below high", lambda n, x, y: linear_exact(n, x, y, bounds=(1, 0))),
        (ConfigError, "L2, L∞ and L1", lambda n, x, y: linear_exact(n, x, y, L0(2))),
        (ConfigError, "expected a threat", lambda n, x, y: linear_exact(n, x, y, attacks.pgd(0.1).goal)),
        (InputError, "x is of type ndarray: expected a tensor", lambda n, x, y: linear_exact(n, x.numpy(), y)),
        (InputError, "target is of type ndarray", lambda n, x, y: mix_weights(n, x, y.numpy(), 0.1)),
        (InputError, "outside the range", lambda n, x, y: linear_exact(n, x + 2, y, bounds=(0, 1))),
        (InputError, "labels from 1 to 3", lambda n, x, y: linear_exact(n, x, y + 1)),
        (InputError, "at least one", lambda n, x, y: linear_exact(n, x[:0], y[:0])),
        (InputError, "takes 4 values", lambda n, x, y: linear_exact(n, x[:, :3], y)),
        (InputError, "expected one of 0..2", lambda n, x, y: mix_weights(n, x, y + 3, 0.1)),
    ],
)
def test_mistakes_say_what_to_do(error, words, call) -> None:
    net = nn.Linear(4, 3).double().requires_grad_(False)
    with pytest.raises(error, match=words):
        call(net, torch.rand(3, 4).double(), torch.tensor([0, 1, 2]))


def _nan(net: nn.Linear) -> nn.Linear:
    net.weight[0, 0] = torch.nan
    return net


def test_an_estimator_that_has_not_been_fitted() -> None:
    from sklearn.svm import SVC, LinearSVC

    with pytest.raises(ModelError, match="call fit"):
        linear_exact(LinearSVC(), torch.rand(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ModelError, match="SVC is no linear model"):
        linear_exact(SVC(), torch.rand(2, 3), torch.tensor([0, 1]))


def test_documented() -> None:
    (method,) = METHODS
    assert (method.name, method.kind, method.access, method.minimum_norm) == ("linear_exact", "exact", Access.GRADIENT, True)
    for part in ("Source:", "Differs from", "Raises ConfigError", ">>> ", "[n, ...]"):
        assert part in (method.make.__doc__ or "")
