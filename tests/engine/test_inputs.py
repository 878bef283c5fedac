"""Odd inputs are taken as they are meant, and bad ones are refused in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
import torch
from torch import Tensor

from conformance.bench import case, convolutional, flat, perceptron
from conformance.suite import assert_same
from holdfast import attacks
from holdfast.core.errors import ConfigError, HoldfastError, InputError, ModelError
from holdfast.engine import NONE, Outcome, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.threats import L2

PGD = attacks.pgd(0.1, steps=4, restarts=2)
X, Y = flat().samples.x, flat().samples.y
IDS = flat().samples.ids


def go(
    x: Tensor = X, y: Tensor = Y, ids: Tensor = IDS, target: Tensor | None = None, targeted: bool = False, **more: object
) -> Outcome:  # fmt: skip
    attack = attacks.pgd(0.1, steps=4, restarts=2, targeted=targeted)
    return run(attack, Classifier(flat().net, 5, **more), Samples.of(x, y, ids, target))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "same",
    [
        lambda: go(y=Y.int()), lambda: go(y=Y.to(torch.uint8)), lambda: go(ids=IDS.int()), lambda: go(x=X.t().contiguous().t()),
        lambda: go(x=X.repeat_interleave(2, dim=1)[:, ::2]), lambda: go(x=X.clone().requires_grad_()),
        lambda: go(bounds=([0] * 6, [1] * 6)), lambda: go(bounds=([0] * 6, 1)), lambda: flat().run(PGD, slots=10**6),
        lambda: flat().run(PGD, harvest=10**6),
    ],
)  # fmt: skip
def test_other_words_for_the_same(same: Callable[[], Outcome]) -> None:
    assert_same(go(), same())


def test_targets_of_any_whole_kind() -> None:
    wanted = (Y + 1) % 5
    assert_same(go(target=wanted, targeted=True), go(target=wanted.int(), targeted=True))


def test_samples_with_one_id_are_treated_alike() -> None:
    twice = go(x=torch.cat([X, X]), y=torch.cat([Y, Y]), ids=torch.cat([IDS, IDS]))
    assert torch.equal(twice.adversarial[:24], twice.adversarial[24:])


@pytest.mark.parametrize("attack", [attacks.pgd(0.1, steps=4), attacks.deepfool(steps=4), attacks.fgsm(L2(0.3))], ids=str)
@pytest.mark.parametrize("bounds", [(-inf, inf), (0.0, inf), ((0,) * 6, (1, 1, 1, 1, 1, 2.5)), (-1000.0, 1000.0)])
def test_any_range(attack: attacks.pgd, bounds: tuple[float, float]) -> None:
    model = Classifier(flat().net, 5, bounds=bounds)
    outcome = run(attack, model, flat().samples)
    found = outcome.found.member != NONE
    assert bool(found.any()) and bool(model.bounds.contain(outcome.adversarial).all())
    with torch.no_grad():
        assert bool((flat().net(outcome.adversarial).argmax(dim=1) != Y)[found].all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_uint8_images(dtype: torch.dtype, bounds: tuple[float, float]) -> None:
    x = torch.randint(0, 256, (12, 2, 4, 4), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    low, high = bounds
    scaled = low + x.to(dtype) / 255 * (high - low)
    model = Classifier(convolutional().to(dtype), 5, bounds=bounds)
    with torch.no_grad():
        y = model(scaled).logits.argmax(dim=1)
    epsilon = 0.1 * (high - low)
    outcome = run(attacks.pgd(epsilon, steps=5), model, Samples.of(x, y))
    plain = run(attacks.pgd(epsilon, steps=5), model, Samples.of(scaled, y))
    assert_same(plain, outcome)
    assert outcome.adversarial.dtype == dtype and bool(outcome.success.any())
    assert bool(((outcome.adversarial - scaled).abs().flatten(1).amax(dim=1) <= epsilon * (1 + 1e-5) + 1e-6).all())


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: go(x=X[:0], y=Y[:0], ids=IDS[:0]), InputError),
        (lambda: go(x=X * 255), InputError),
        (lambda: go(x=X * torch.nan), InputError),
        (lambda: go(x=X[:, 0]), InputError),
        (lambda: go(x=X[:, :4]), ModelError),
        (lambda: go(y=Y[:5]), InputError),
        (lambda: go(y=Y + 3), InputError),
        (lambda: go(y=Y - 1), InputError),
        (lambda: go(y=Y.unsqueeze(1)), InputError),
        (lambda: go(ids=IDS[:5]), InputError),
        (lambda: go(target=Y[:5], targeted=True), InputError),
        (lambda: go(target=Y + 3, targeted=True), InputError),
        (lambda: go(target=Y.unsqueeze(1), targeted=True), InputError),
        (lambda: go(bounds=([0] * 3, [1] * 3)), InputError),
        (lambda: go(x=(X * 255).byte(), bounds=([0] * 3, [1] * 3)), InputError),
        (lambda: flat().run(PGD, slots=0), ConfigError),
        (lambda: flat().run(PGD, harvest=0), ConfigError),
        (lambda: flat().run(PGD, rows=0), ConfigError),
        (lambda: Setting(seed=2**63), ConfigError),
        (lambda: run(PGD, Classifier(perceptron(6), 7), flat().samples), ModelError),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(call: Callable[[], Outcome], kind: type[HoldfastError]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 20


def test_one_image_of_one_pixel() -> None:
    some = case((1, 1, 1), n=1, classes=2)
    outcome = some.run(attacks.pgd(0.9, steps=5))
    assert outcome.adversarial.shape == (1, 1, 1, 1) and outcome.complete


@pytest.mark.parametrize("net", [None, convolutional()], ids=["float64", "float32"])
def test_what_torch_takes_for_a_float_does_not_matter(net: torch.nn.Module | None) -> None:
    own = case((2, 4, 4), n=8, net=net)
    whole = own.run(PGD)
    torch.set_default_dtype(torch.float64)
    try:
        other = own.run(PGD)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(whole, other, why="another default dtype")
