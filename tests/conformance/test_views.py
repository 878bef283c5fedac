"""A model behind views keeps the promises: their noise is each row's own, so records do not depend on slots, order, shards or kills."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from holdfast import L2, attacks, evaluate
from holdfast.core.attack import Attack
from holdfast.engine import perturb
from holdfast.parts.views import Chain, Exposed, Photographed, View, physical

from .bench import Case, case
from .suite import PROMISES, Promise, assert_same, claims_hold, kills_do_not_matter, slots_do_not_matter

# A claim is judged there on one ask of the plain net.
KEPT = [promise for promise in PROMISES if promise is not claims_hold]
ATTACKS = [attacks.pgd(0.15, steps=2, eot=2, restarts=2), attacks.apgd(L2(0.9), steps=2, eot=2, early=False), attacks.square(0.15, steps=4)]
SHAKEN = Chain((Photographed(roll=(-20, 20), zoom=1.1), Exposed(noise=0.1)))


def seen(views: View = SHAKEN, shape: tuple[int, ...] = (3, 4, 4)) -> Case:
    return replace(case(shape, n=6), views=views)


@pytest.mark.parametrize("promise", KEPT, ids=lambda promise: promise.__name__)
def test_a_model_behind_views(promise: Promise) -> None:
    promise(ATTACKS[0], seen())


@pytest.mark.parametrize("promise", [slots_do_not_matter, kills_do_not_matter], ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("attack", ATTACKS[1:], ids=str)
def test_other_rules_behind_views(attack: Attack, promise: Promise) -> None:
    promise(attack, seen())


@pytest.mark.parametrize("promise", [slots_do_not_matter, kills_do_not_matter], ids=lambda promise: promise.__name__)
def test_the_whole_way_through_print_and_photograph(promise: Promise) -> None:
    promise(attacks.pgd(0.2, steps=2, eot=2), seen(physical(), (3, 8, 8)))


def test_something_is_found_refused_and_withstood() -> None:
    """Else the promises above would say little: rows that go on after a refused claim are the hard ones."""
    outcomes = [seen().run(attack) for attack in ATTACKS]
    found = torch.stack([outcome.success & ~outcome.wrong for outcome in outcomes])
    assert bool(found.any()) and not bool(found.all()) and sum(outcome.refused for outcome in outcomes) > 0
    shares = torch.cat([outcome.found.share[outcome.success & ~outcome.wrong] for outcome in outcomes])
    assert bool((shares >= 0.5).all()) and bool((shares < 1).any())


def test_another_seed_is_other_noise() -> None:
    with pytest.raises(AssertionError):
        assert_same(seen().run(ATTACKS[0], seed=0), seen().run(ATTACKS[0], seed=1))


def test_training_sees_the_same_views_again() -> None:
    one, before = seen(), torch.get_rng_state()
    x, y = one.samples.x, one.samples.y
    first, again = (perturb(attacks.pgd(0.15, steps=2, eot=2, targeted=True), one.model, x, y, seed=seed) for seed in (3, 3))
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, perturb(attacks.pgd(0.15, steps=2, eot=2, targeted=True), one.model, x, y, seed=4))


def test_an_evaluation_through_views_does_not_depend_on_slots() -> None:
    one = seen()
    data, attack = (one.samples.x, one.samples.y), attacks.pgd(0.15, steps=2, eot=2)
    few, many = (evaluate(one.model, data, attack.threat, attacks=[attack], slots=slots) for slots in (2, 64))
    assert few.records.equals(many.records) and 0 <= few.robust_accuracy < few.clean_accuracy < 1
    assert few.manifest["model"]["views"] == repr(SHAKEN) and few.manifest["model"]["stochastic"]
    plain = evaluate(one.model.viewed(None).declared(False), data, attack.threat, attacks=[attack])
    assert "views" not in plain.manifest["model"]
