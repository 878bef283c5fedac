"""Noise belongs to a row: starts are pure functions of the row's key, and a stochastic model draws the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import case, convolutional
from conformance.suite import assert_same, bits
from holdfast import attacks
from holdfast.core.draw import Draw
from holdfast.core.types import Bounds, Threat
from holdfast.engine import Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.threats import L0, L1, L2, Linf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 3, 6, 192])
@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.5), L1(2.0), L0(3.0)], ids=str)
def test_a_start_does_not_depend_on_the_company(threat: Threat, features: int, dtype: torch.dtype) -> None:
    """In the last bit: also where vector and scalar code round a power or a logarithm differently."""
    threat, n = threat.within(Bounds()), 160
    draw = Draw(torch.arange(n) * 977, torch.zeros(n, dtype=torch.int64))
    x = torch.rand(n, features, dtype=dtype, generator=torch.Generator().manual_seed(2))
    radius = torch.full((n,), threat.radius, dtype=dtype)
    whole = threat.random(x, draw, radius)
    for rows in range(1, n, 1 if features < 100 else 13):
        some = threat.random(x[:rows], Draw(draw.key[:rows], draw.step[:rows]), radius[:rows])
        assert torch.equal(bits(some), bits(whole[:rows])), f"the first {rows} rows of {n}"


class Noisy(nn.Module):
    """A net that adds noise to its input, from the global generator."""

    def __init__(self, size: float = 0.05) -> None:
        super().__init__()
        self.body, self.size = convolutional(), size

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + self.size * torch.randn_like(x))


def samples() -> Samples:
    return case((2, 4, 4), n=8, net=convolutional()).samples


def test_a_stochastic_model_is_asked_twenty_times_for_every_claim() -> None:
    outcome = run(attacks.pgd(0.2, steps=5), Classifier(Noisy(), 5, stochastic=True), samples())
    found = outcome.success & ~outcome.wrong
    assert bool(found.any())
    shares = outcome.found.share[found]
    assert bool((shares >= 0.5).all()) and bool((shares <= 1).all())
    assert torch.equal((shares * 20).round(), shares * 20)
    # The clean answer, at least one step, twenty asks for the claim and twenty for it on the grid of 8 bits.
    assert bool((outcome.forwards[found] >= 1 + 1 + 40).all())


def test_the_same_seed_gives_the_same_outcome_whatever_the_global_generator() -> None:
    model, attack = Classifier(Noisy(), 5, stochastic=True), attacks.pgd(0.1, steps=5, restarts=2)
    outcomes = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outcomes.append(run(attack, model, samples(), Setting(seed=3, slots=5)))
    assert_same(*outcomes, why="another global seed")
    other = run(attack, model, samples(), Setting(seed=4, slots=5))
    assert not torch.equal(other.adversarial, outcomes[0].adversarial)


class Fickle(nn.Module):
    """Class 1 for one ask in eight at random, class 0 else: no claim about it can stand."""

    def forward(self, x: Tensor) -> Tensor:
        lucky = (torch.rand(len(x)) < 0.125).to(x.dtype)
        return torch.stack([torch.full_like(lucky, 0.5), lucky], dim=1) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


def test_luck_is_refused_and_the_row_searches_on() -> None:
    x = torch.rand(16, 2)
    data = Samples.of(x, torch.zeros(16, dtype=torch.int64))
    clean = replace(Classifier(Noisy(0.0), 5)(torch.rand(16, 2, 4, 4)), logits=torch.tensor([[1.0, 0.0]]).repeat(16, 1))
    outcome = run(attacks.pgd(0.1, steps=12), Classifier(Fickle(), 2, stochastic=True), data, clean=clean)
    assert outcome.refused > 0 and not bool(outcome.success.any())
    # What refused claims cost is the sample's own; all that is left is filling pieces.
    assert int(outcome.forwards.sum()) > 16 * 12 + 20 * outcome.refused - 1
    assert torch.equal(outcome.adversarial, x)


@pytest.mark.parametrize("budget", [60, 100])
def test_refused_claims_stay_within_the_budget(budget: int) -> None:
    data = Samples.of(torch.rand(16, 2), torch.zeros(16, dtype=torch.int64))
    queries = torch.full((16,), budget)
    outcome = run(attacks.pgd(0.1, steps=500), Classifier(Fickle(), 2, stochastic=True), data, queries=queries)
    assert outcome.refused > 0 and bool((outcome.forwards <= budget).all())
