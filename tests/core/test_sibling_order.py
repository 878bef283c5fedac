"""Siblings of a sample have the order, radii, rivals and cancellations that their group describes."""

import pytest
import torch

from holdfast.core.attack import Group, Stop
from holdfast.core.errors import ConfigError

GROUP = Group(restarts=2, rivals=3, radii=(0.1, 0.2), cancel="later")
MEMBER = torch.arange(12)


def test_radii_are_slowest_then_restarts_then_rivals():
    assert GROUP.members == 12 and GROUP.siblings == 6
    assert GROUP.radius(MEMBER, 9.0).tolist() == [0.1] * 6 + [0.2] * 6
    assert GROUP.rank(MEMBER).tolist() == [0, 1, 2] * 4


def test_without_a_grid_the_radius_is_the_threats_own():
    assert Group(3).radius(torch.arange(3), 0.5).tolist() == [0.5] * 3
    assert Group(3).rank(torch.arange(3)).tolist() == [0, 0, 0]


def test_a_success_cancels_only_what_the_group_says():
    winner = torch.full((12,), 4)
    assert GROUP.cancels(winner, MEMBER).tolist() == [False] * 5 + [True] * 7
    larger = Group(2, 3, (0.1, 0.2), "larger")
    assert larger.cancels(winner, MEMBER).tolist() == [False] * 6 + [True] * 6
    assert not Group(2, 3, (0.1, 0.2), "none").cancels(winner, MEMBER).any()


def test_there_are_no_more_rivals_than_other_classes():
    assert Group(rivals=9).fitted(3).rivals == 2
    assert Group(rivals=9).fitted(100).rivals == 9


@pytest.mark.parametrize("make", [
    lambda: Group(0), lambda: Group(radii=(0.2, 0.1)), lambda: Group(radii=(0.1, 0.1)), lambda: Group(radii=(-0.1,)),
    lambda: Group(radii=(float("nan"),)), lambda: Stop(0), lambda: Stop(1, queries=0),
])  # fmt: skip
def test_impossible_groups_and_stops_are_refused(make):
    with pytest.raises(ConfigError):
        make()
