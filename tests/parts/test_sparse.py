"""Random search over which values change: within the count, at the ends of the range, every row by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast import L0, Classifier, ConfigError
from holdfast.engine import Pieces, Samples, Setting, run
from holdfast.evaluation.trials import gradient_free


def problem(bounds: tuple[float, float] = (-1.0, 2.0)) -> tuple[Classifier, Samples]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double().eval()
        x = torch.rand(12, 3, 4, 4, dtype=torch.float64)
    return Classifier(net, 3, bounds=bounds), Samples.of(x, net(x).argmax(dim=1))


@pytest.mark.parametrize(("radius", "pixels"), [(1.0, False), (3.0, False), (1.0, True), (2.0, True)])
def test_as_many_places_as_allowed_go_to_an_end_of_the_range(radius: float, pixels: bool) -> None:
    model, samples = problem()
    attack = gradient_free(L0(radius, pixels=pixels))
    short = replace(attack, stop=replace(attack.stop, steps=60))
    outcome = run(short, model, samples, Setting(pieces=Pieces(16)))
    moved = outcome.adversarial - samples.x
    changed = (moved != 0).any(dim=1) if pixels else moved != 0
    assert outcome.success.any() and int(changed.flatten(1).sum(dim=1).max()) <= radius
    ends = outcome.adversarial[moved != 0]
    assert torch.minimum((ends + 1).abs(), (ends - 2).abs()).max() < 1e-12
    alone = run(short, model, Samples(samples.x[3:4], samples.y[3:4], torch.tensor([3])), Setting(slots=1, pieces=Pieces(16)))
    assert torch.equal(alone.adversarial[0], outcome.adversarial[3]) and torch.equal(alone.forwards[0], outcome.forwards[3])


def test_more_queries_find_more_than_the_first_point() -> None:
    model, samples = problem()
    attack = gradient_free(L0(3.0))
    found = [run(replace(attack, stop=replace(attack.stop, steps=steps)), model, samples).success.sum() for steps in (1, 150)]
    assert found[1] > found[0]


def test_a_range_without_ends_is_refused() -> None:
    model, samples = problem((-torch.inf, torch.inf))
    with pytest.raises(ConfigError, match="needs a finite range"):
        run(gradient_free(L0(2.0)), model, samples)
