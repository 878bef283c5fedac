"""Asking a noisy model several times about one point: the means are the expectation's, each draw counts, and a claim needs its share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import Case, Counted, case, convolutional
from conformance.suite import assert_same, resumed
from conformance.test_attacks import SETTINGS, suited
from holdfast import attacks
from holdfast.attacks.short import parse
from holdfast.core.attack import Attack, Stop
from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.types import Access, Batch, Out
from holdfast.engine import Outcome
from holdfast.engine.pieces import Asker, Pieces
from holdfast.engine.probe import EngineProbe, Ledger
from holdfast.models import Classifier
from holdfast.parts.sources import Eot, White, source

from .test_noise import Fickle, Noisy


class Shaken(nn.Module):
    """z = (0, Σ (x + n)²) with normal noise n of size s: the mean gradient in x is 2x, the mean logit Σ x² + d s²."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        shaken = x + self.size * torch.randn_like(x)
        return torch.stack([torch.zeros(len(x), dtype=x.dtype), shaken.square().flatten(1).sum(dim=1)], dim=1)


def second(out: Out, batch: Batch) -> Tensor:
    return out.logits[:, 1]


def probe(net: nn.Module, x: Tensor, share: float = 0.5) -> EngineProbe:
    model = Classifier(net, 2, stochastic=True)
    n, none = len(x), torch.zeros(len(x), dtype=torch.int64)
    made = EngineProbe(model, attacks.pgd(0.3, early=False), Asker(Pieces(64)), seed=1, share=share)
    clean = Out(torch.zeros(n, 2, dtype=x.dtype))
    batch = Batch(x, none, none - 1, clean, row_key(1, torch.arange(n), none), none, torch.full((n,), 0.3))
    made.attend(batch, none, Ledger.fresh(torch.zeros_like(x)))
    return made


def test_the_gradient_approaches_the_mean_as_one_over_the_root_of_the_draws() -> None:
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for draws in (1, 100, 1600):
        answer, value, g = Eot(draws)(probe(Shaken(0.5), x), torch.zeros_like(x), second)
        errors.append(float((g - 2 * x).square().mean(dim=(0, 1)).sqrt()))
        assert torch.allclose(answer.out.logits[:, 1], value)
    # The gradient is 2(x + n), so its mean over k draws has the deviation 2 s / √k.
    assert errors[1] < 0.2 and errors[2] < 0.05 and errors[0] > 0.3
    assert torch.allclose(value, x.square().sum(dim=1) + 3 * 0.25, atol=0.1)


def test_each_draw_is_counted_and_none_repeats_another() -> None:
    net = Counted(Shaken(0.5))
    asking = probe(net, torch.rand(8, 3))
    _, _, g = asking.grad(torch.zeros(8, 3), second, draws=5)
    asking.score(torch.zeros(8, 3), draws=3)
    assert asking.ledger.forwards.tolist() == [8] * 8 and asking.ledger.backwards.tolist() == [5] * 8
    assert (net.forwards, net.backwards, asking.asker.forwards, asking.asks) == (64, 40, 64, 8)
    assert not torch.equal(g, asking.grad(torch.zeros(8, 3), second)[2])


@pytest.mark.parametrize(("share", "claims"), [(0.5, False), (0.01, True)])
def test_a_claim_needs_its_share_of_the_draws(share: float, claims: bool) -> None:
    asking = probe(Fickle(), torch.rand(64, 2), share)
    answer = asking.score(torch.zeros(64, 2), draws=40)
    assert bool(answer.wrong.any()) is claims and torch.equal(asking.ledger.hit, answer.wrong)


def test_one_draw_is_the_plain_gradient() -> None:
    assert source(1) == White() and source(3) == Eot(3)
    plain, eot = attacks.apgd(0.1, steps=5), attacks.apgd(0.1, steps=5, eot=1)
    assert plain == eot and plain.digest == eot.digest


# L-BFGS compares asks, in its line search and its differences of gradients, and noise tells asks apart; starts are asked about once.
BY_GRADIENTS = [
    attack
    for _, attack in SETTINGS
    if attack.rule.needs == Access.GRADIENT and not any(word in attack.call for word in ("lbfgs", "eot", "diversified"))
]


@pytest.mark.parametrize("attack", BY_GRADIENTS, ids=str)
def test_every_attack_by_gradients_can_average_over_draws(attack: Attack) -> None:
    """A model without noise gives each draw alike, and the mean of two equal numbers is that number: only the bill is another."""
    one, twice = suited(attack, case((6,))), parse(f"{attack.call[:-1]}, eot=2)")
    assert twice == replace(attack, rule=attack.rule.sourced(Eot(2))) != attack
    assert twice.rule.price() == 2 * attack.rule.price()
    like = one.run(attack)
    assert_same(like, _counts_halved(one, twice, like), why="two draws")
    with pytest.raises(ConfigError, match="at least one draw"):
        parse(f"{attack.call[:-1]}, eot=0)")


def _counts_halved(one: Case, attack: Attack, like: Outcome) -> Outcome:
    found = one.run(attack)
    assert bool((found.forwards >= like.forwards).all()) and bool((found.backwards == 2 * like.backwards).all())
    counts = {name: getattr(like, name) for name in ("forwards", "backwards", "wasted_forwards", "wasted_backwards")}
    return replace(found, **counts)


def noisy(size: float = 0.05) -> Case:
    return Case(Noisy(size), case((2, 4, 4), n=8, net=convolutional()).samples, stochastic=True)


def test_a_noisy_net_is_attacked_through_its_mean() -> None:
    """Where the noise hides the gradient's direction, the mean over draws finds more than one draw does."""
    single, mean = (noisy(0.3).run(attacks.apgd(0.15, steps=10, eot=eot)) for eot in (1, 20))
    assert int(mean.success.sum()) >= int(single.success.sum()) and bool((mean.success & ~mean.wrong).any())
    assert bool((mean.found.share[mean.success & ~mean.wrong] >= 0.5).all())
    broken = mean.success & ~mean.wrong
    steps = mean.found.step[broken]
    # The clean answer, twenty for each point up to the one that is claimed, forty to verify it (once at least).
    assert bool((mean.forwards[broken] >= 1 + 20 * steps + 40).all())


def fab_with_draws() -> Attack:
    return attacks.fab_targeted(0.15, steps=4, rivals=2, eot=3)


def ead_with_draws() -> Attack:
    return attacks.ead(steps=4, searches=2, initial=1.0, eot=3)


@pytest.mark.parametrize(
    "make", [lambda: attacks.apgd(0.1, steps=4, eot=3, restarts=2), fab_with_draws, ead_with_draws], ids=["apgd", "fab", "ead"]
)
def test_a_kill_does_not_matter_to_the_draws(make: Callable[[], Attack]) -> None:
    one = noisy()
    assert_same(one.run(make(), slots=5), resumed(make(), one, 2), why="killed after every second window")


@pytest.mark.parametrize("budget", [42, 43, 47, 70, 120])
@pytest.mark.parametrize("make", [lambda: attacks.apgd(0.1, steps=30, eot=4), fab_with_draws, ead_with_draws], ids=["apgd", "fab", "ead"])
def test_a_budget_counts_every_draw(budget: int, make: Callable[[], Attack]) -> None:
    one = noisy()
    outcome = one.run(make(), queries=torch.full((8,), budget))
    assert bool((outcome.forwards <= budget).all())


def test_a_budget_below_one_step_is_refused() -> None:
    attack = attacks.apgd(0.1, eot=20)
    with pytest.raises(ConfigError, match="60 at least"):
        noisy().run(replace(attack, stop=Stop(5, queries=59)))
