"""Random self-ensembles: noise where the paper has it, its mean as probabilities, and records that do not depend on who was asked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import Case, case, perceptron
from conformance.suite import PROMISES, Promise, assert_same, claims_hold, noise_is_keyed, slots_do_not_matter
from holdfast import attacks
from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.defences.layers import Ensemble, Noise, ResizePad, self_ensemble
from holdfast.models import Classifier, preact_resnet18
from holdfast.models.resnets import PreActivationNet

PGD = attacks.pgd(0.15, steps=3, eot=2, restarts=2)
# A claim is judged there on one ask of the net.
KEPT = [promise for promise in PROMISES if promise is not claims_hold]


def random(kind: str) -> Case:
    """A perceptron with noise before its first and its last layer, an ensemble of two draws of it, or one behind random resizing."""
    if kind == "resized":
        one = case((1, 4, 4), n=6, net=perceptron(16))
        return replace(one, net=nn.Sequential(ResizePad(6), nn.AdaptiveAvgPool2d(4), one.net).eval(), stochastic=True)
    one = case((6,), n=8)
    assert isinstance(one.net, nn.Sequential)
    noisy = nn.Sequential(Noise(0.1), *one.net[:-1], Noise(0.1), one.net[-1]).eval()
    return replace(one, net=noisy if kind == "noisy" else Ensemble(noisy, 2).eval(), stochastic=True)


@pytest.mark.parametrize("promise", KEPT, ids=lambda promise: promise.__name__)
def test_records_depend_on_model_sample_and_seed_alone(promise: Promise) -> None:
    promise(PGD, random("noisy"))


@pytest.mark.parametrize("promise", [slots_do_not_matter, noise_is_keyed], ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", ["ensemble", "resized"])
def test_so_do_those_of_other_random_nets(kind: str, promise: Promise) -> None:
    promise(PGD, random(kind))


@pytest.mark.parametrize("kind", ["noisy", "ensemble", "resized"])
def test_another_seed_is_other_noise(kind: str) -> None:
    one = random(kind)
    first = one.run(PGD, seed=0)
    assert bool((first.success & ~first.wrong).any())
    with pytest.raises(AssertionError):
        assert_same(first, one.run(PGD, seed=1))


def test_noise_has_its_deviation_in_both_modes() -> None:
    x = torch.ones(50, 2000)
    for layer in (Noise(0.3).train(), Noise(0.3).eval()):
        added = layer(x) - x
        assert float(added.mean()) == pytest.approx(0, abs=0.005)
        assert float(added.std()) == pytest.approx(0.3, rel=0.02)
    assert torch.equal(Noise(0)(x), x)


def test_an_ensemble_is_the_mean_of_its_nets_probabilities() -> None:
    net = nn.Sequential(Noise(0.5), nn.Linear(4, 3)).double()
    x, draw = torch.rand(5, 4, dtype=torch.float64), Draw(torch.arange(5), torch.zeros(5, dtype=torch.int64))
    whole = Classifier(Ensemble(net, 4), 3, stochastic=True).drawn(x, draw).logits

    noise: list[Tensor] = []
    net[0].register_forward_hook(lambda layer, given, answer: noise.append(answer - given[0]))
    Classifier(Ensemble(net, 4), 3, stochastic=True).drawn(x, draw)
    assert len(noise) == 4 and not torch.equal(noise[0], noise[1])
    torch.testing.assert_close(whole.exp(), torch.stack([net[1](x + some).softmax(dim=1) for some in noise]).mean(dim=0))


def test_an_ensemble_survives_logits_without_end() -> None:
    sure = Ensemble(nn.Flatten(), 3)(torch.tensor([[1e4, 0.0, -1e4]]))
    assert torch.equal(sure, torch.tensor([[0.0, -1e4, -2e4]]))


def test_noise_stands_before_each_convolution_and_the_net_is_left_alone() -> None:
    net = preact_resnet18(width=4).eval()
    before = {name: id(module) for name, module in net.named_modules()}
    made = self_ensemble(net, torch.rand(1, 3, 8, 8), 0.3, 0.05, draws=3)
    assert isinstance(made.net, PreActivationNet) and not made.training
    count = sum(isinstance(module, nn.Conv2d) for module in net.modules())
    deviations = [module.deviation for module in made.net.modules() if isinstance(module, Noise)]
    assert sorted(deviations) == [0.05] * (count - 1) + [0.3] and str(made.net.conv1[0]) == "Noise(0.3)"
    for pair in made.net.modules():
        if isinstance(pair, nn.Sequential) and isinstance(pair[0], Noise):
            assert isinstance(pair[1], nn.Conv2d) and len(pair) == 2
    assert before == {name: id(module) for name, module in net.named_modules()}
    # Without noise the copy is the net.
    for module in made.net.modules():
        if isinstance(module, Noise):
            module.deviation = 0.0
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(made(x).softmax(dim=1), net(x).softmax(dim=1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Noise(-0.1), "deviation=-0.1"),
        (lambda: Noise(float("nan")), "deviation=nan"),
        (lambda: Ensemble(nn.Identity(), 0), "draws=0"),
        (lambda: self_ensemble(nn.Linear(2, 2), torch.rand(1, 2)), "Linear has no convolution"),
    ],
)
def test_what_is_no_ensemble(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
