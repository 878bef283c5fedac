"""A keyed model is always asked under keyed noise, whoever asks: the engine, the look before a run, the checks after it, the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast import Classifier, Linf, attacks, evaluate, spectra
from holdfast.core.draw import Draw
from holdfast.core.types import Out
from holdfast.engine import Setting
from holdfast.evaluation.binarisation import binarisation_test
from holdfast.evaluation.planting import binarised
from holdfast.parts.views import Blurred
from holdfast.training.shared import fit, judge, universal_gradient


class Strict(Classifier):
    """A model that cannot be asked without a key."""

    def __call__(self, x: Tensor) -> Out:
        raise AssertionError("asked without a key")


def strict() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return Strict(net.eval(), 3).viewed(Blurred((0.2, 0.6)))


X, Y = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])


def test_nobody_asks_without_a_key_nor_moves_the_generator() -> None:
    before = torch.get_rng_state()
    result = evaluate(strict(), (X, Y), Linf(0.05), effort=0.02)
    assert result.complete and result.manifest["diagnosis"]["apart"] > 1e-4
    spectra(strict(), X, X, layer="0")
    judge(fit(universal_gradient(0.1, passes=1), strict(), X), strict(), X, Y)
    assert binarisation_test(strict(), X, [attacks.pgd(0.1, steps=3)], Linf(0.1), inner=19).tried
    assert torch.equal(before, torch.get_rng_state())


def test_a_plant_is_verified_under_noise_of_its_own(monkeypatch) -> None:
    keys: list[tuple[int, ...]] = []
    drawn = Classifier.drawn

    def noted(self: Classifier, x: Tensor, draw: Draw) -> Out:
        keys.append(tuple(draw.key.tolist()))
        return drawn(self, x, draw)

    monkeypatch.setattr(Classifier, "drawn", noted)
    binarised(strict(), X, Linf(0.1), inner=9, random=2, setting=Setting(3))
    verified = {key[0] for key in keys if len(set(key)) == 1}
    assert 0 not in verified and len(verified) > 2, "each sample's plant has a key of its own"
