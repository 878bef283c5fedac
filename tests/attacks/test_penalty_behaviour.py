"""What L-BFGS, JSMA and the Carlini–Wagner attacks in L∞ and L0 say of wrong settings, and do at their limits."""

import math

import pytest
import torch
from torch import nn

from holdfast.attacks import carlini_wagner_l0, carlini_wagner_linf, jsma, lbfgs
from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L0

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: carlini_wagner_linf(decay=1.0),
        lambda: carlini_wagner_linf(factor=1.0),
        lambda: carlini_wagner_linf(initial=30.0),
        lambda: carlini_wagner_l0(drop=0.0),
        lambda: carlini_wagner_l0(rounds=0),
        lambda: jsma(theta=-1.0),
        lambda: jsma(gamma=0.0),
        lambda: jsma(direction="sideways"),
        lambda: lbfgs(history=0),
        lambda: lbfgs(initial=math.inf),
        lambda: lbfgs(objective="nonsense"),
        lambda: carlini_wagner_linf(L0(3)),
    ],
)
def test_wrong_settings_are_named(make):
    with pytest.raises(ConfigError) as error:
        make()
    assert "\n" not in str(error.value)


def linear(low=0.0, high=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double().eval()
    x = low + (high - low) * torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return net, x, net(x).argmax(dim=1)


@pytest.mark.parametrize("attack", [carlini_wagner_linf(steps=10), carlini_wagner_l0(steps=10)], ids=str)
def test_the_box_needs_a_finite_range(attack):
    net, x, y = linear()
    with pytest.raises(ConfigError, match="finite range"):
        run(attack, Classifier(net, 3, bounds=(-math.inf, math.inf)), Samples.of(x, y))


@pytest.mark.parametrize("attack", [lbfgs(), carlini_wagner_linf(), carlini_wagner_l0(), jsma(theta=2.0, gamma=1.0)], ids=str)
def test_ranges_of_each_channel(attack):
    net, x, y = linear(-1.0, 2.0)
    bounds = Bounds((-1.0, -2.0, -1.0), (2.0, 3.0, 2.5))
    outcome = run(attack, Classifier(net, 3, bounds=(bounds.low, bounds.high)), Samples.of(x, y))
    assert outcome.success.double().mean() >= 0.8 and outcome.refused == 0
    assert bool(bounds.contain(outcome.adversarial).all())


def test_pixels_count_once():
    net, x, y = linear()
    values, pixels = (run(carlini_wagner_l0(L0(math.inf, pixels=p)), Classifier(net, 3), Samples.of(x, y)) for p in (False, True))
    assert values.success.all() and pixels.success.all()
    assert bool((pixels.found.size <= values.found.size).all()) and float(pixels.found.size.max()) <= 4
    changed = ((pixels.adversarial - x) != 0).any(dim=1).flatten(1).sum(dim=1)
    assert torch.equal(changed.double(), pixels.found.size.double())


def test_jsma_keeps_to_its_share_and_to_the_radius():
    net, x, y = linear()
    for attack, most in ((jsma(theta=0.2, gamma=0.25), 3), (jsma(L0(2), theta=0.2, gamma=1.0), 2)):
        outcome = run(attack, Classifier(net, 3), Samples.of(x, y))
        assert int(((outcome.adversarial - x) != 0).flatten(1).sum(dim=1).max()) <= most


def test_answers_that_are_no_numbers_are_no_success():
    class Later(nn.Module):
        """Right at the clean input, no number anywhere else."""

        def __init__(self, x):
            super().__init__()
            self.x = x

        def forward(self, x):
            z = torch.stack([x.flatten(1).sum(dim=1) + 9, x.flatten(1)[:, 0], x.flatten(1)[:, 1]], dim=1)
            same = torch.stack([(row == self.x).flatten(1).all(dim=1).any(dim=0) for row in x])
            return torch.where(same.unsqueeze(1), z, z * torch.nan)

    _, x, _ = linear()
    for attack in (lbfgs(), carlini_wagner_linf(steps=5), carlini_wagner_l0(steps=5), jsma(gamma=1.0)):
        outcome = run(attack, Classifier(Later(x.float()), 3), Samples.of(x.float(), torch.zeros(8, dtype=torch.int64)))
        assert not outcome.success.any() and outcome.complete
