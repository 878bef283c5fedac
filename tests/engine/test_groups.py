"""Rows of one sample compete: the earliest member wins whoever finishes first, and what is cancelled costs nothing."""

from __future__ import annotations

import pytest
import torch

from holdfast import attacks
from holdfast.core.attack import Attack, Group, Stop
from holdfast.engine import NONE
from holdfast.parts.goals import Untargeted
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.threats import Linf

from .lines import line, script


@pytest.mark.parametrize("slots", [1, 2, 64])
@pytest.mark.parametrize("harvest", [1, 3])
def test_the_earlier_member_wins_though_the_later_succeeds_first(slots: int, harvest: int) -> None:
    outcome = line(script((0.0, 0.0, 0.0, 0.0, 0.6), (0.0, 0.7)), slots=slots, harvest=harvest)
    assert outcome.found.member.tolist() == [0, 0, 0]
    assert outcome.found.step.tolist() == [4, 4, 4]
    # The clean answer, five steps, the claim as found and rounded; the sibling counts for nothing.
    assert outcome.forwards.tolist() == [8, 8, 8]


@pytest.mark.parametrize("slots", [1, 64])
def test_a_later_member_wins_where_the_earlier_fails_and_both_count(slots: int) -> None:
    outcome = line(script((0.0,), (0.0, 0.7), (0.7,), steps=5), slots=slots)
    assert outcome.found.member.tolist() == [1, 1, 1]
    assert outcome.forwards.tolist() == [1 + 5 + 2 + 2] * 3


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_a_success_cancels_larger_radii_only(slots: int) -> None:
    group = Group(radii=(0.05, 0.15, 0.25, 0.9), cancel="larger")
    outcome = line(script((0.02, 0.22, 0.12, 0.32), steps=4, group=group), (0.2, 0.3, 0.4), slots)
    assert outcome.found.radius.tolist() == [pytest.approx(0.9), pytest.approx(0.25), pytest.approx(0.15)]
    assert outcome.found.size.tolist() == [pytest.approx(0.32), pytest.approx(0.22), pytest.approx(0.12)]
    # A point beyond its row's radius is asked about, but never claimed.
    assert bool((outcome.found.size <= outcome.found.radius + 1e-6).all())


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_restarts_on_a_radius_all_run_but_stop_larger_ones(slots: int) -> None:
    group = Group(restarts=2, radii=(0.05, 0.5), cancel="larger")
    outcome = line(script((0.0,), (0.0, 0.04), (0.0, 0.3), (0.0, 0.0, 0.4), steps=4, group=group), (0.2, 0.48), slots)
    assert outcome.found.member.tolist() == [3, 1]
    assert outcome.forwards.tolist() == [1 + 3 * 4 + 3 + 2, 1 + 4 + 2 + 2]


@pytest.mark.parametrize(("keep", "size"), [("smallest", 0.35), ("strongest", 0.7)])
def test_what_is_kept_of_all_siblings(keep: str, size: float) -> None:
    group = Group(3, cancel="none")
    outcome = line(script((0.4,), (0.7, 0.5), (0.35, 0.6), group=group, keep=keep, early=False), (0.2,))  # type: ignore[arg-type]
    assert outcome.found.size.tolist() == [pytest.approx(size)]


def test_the_last_point_is_what_bim_b_claims() -> None:
    from holdfast.engine import Samples, run
    from holdfast.models import Classifier

    from .lines import Line

    x = torch.full((2, 2), 0.45)
    outcome = run(attacks.bim_b(0.2, steps=4), Classifier(Line().eval(), 2), Samples.of(x, torch.zeros(2, dtype=torch.int64)))
    assert outcome.found.step.tolist() == [4, 4]
    assert torch.allclose(outcome.found.size, torch.full((2,), 0.2, dtype=torch.float64), atol=1e-6)


def test_rivals_are_the_likeliest_wrong_classes_and_no_more_than_there_are() -> None:
    attack = Attack(Untargeted(), Linf(0.3), Ascend(CrossEntropy(True), Constant(0.5)), Stop(3), Group(rivals=9))
    outcome = line(attack, (0.25, 0.3, 0.4))
    assert outcome.attack.group.rivals == 1
    assert outcome.found.target.tolist() == [1, 1, 1]


def test_nothing_found_says_none() -> None:
    outcome = line(script((0.05,)), (0.2, 0.7))
    assert outcome.found.member.tolist() == [NONE, NONE]
    assert outcome.success.tolist() == [False, True] and outcome.wrong.tolist() == [False, True]
    assert outcome.forwards.tolist() == [1 + 8, 1]
