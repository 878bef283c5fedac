"""The projection on an L0 ball within the range is the nearest of all choices, and whole pixels count once."""

from itertools import combinations

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.types import Bounds
from holdfast.parts.threats import L0


def test_keeps_the_best_of_all_choices_of_values():
    g = torch.Generator().manual_seed(0)
    x, p = torch.rand(20, 6, generator=g), 1.5 * torch.randn(20, 6, generator=g)
    found = L0(2).project(x, p)
    clipped = p.clamp(-x, 1 - x)
    for row in range(20):
        distances = []
        for kept in combinations(range(6), 2):
            q = torch.zeros(6)
            q[list(kept)] = clipped[row, list(kept)]
            distances.append(float((p[row] - q).square().sum()))
        assert (p[row] - found[row]).square().sum() <= min(distances) + 1e-6
        assert int((found[row] != 0).sum()) <= 2


def places(p):
    return (p != 0).any(dim=1).flatten(1).sum(dim=1)


def test_pixels_count_once_whatever_their_channels():
    g = torch.Generator().manual_seed(1)
    x, p = torch.rand(8, 3, 5, 5, generator=g), torch.randn(8, 3, 5, 5, generator=g)
    threat = L0(4, pixels=True)
    q = threat.project(x, p)
    assert places(q).tolist() == [4] * 8 and int((q[0] != 0).sum()) == 12
    assert threat.size(x, q).tolist() == [4.0] * 8


def test_equal_pixels_do_not_share_a_place():
    x, p = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.1)
    q = L0(3, pixels=True).project(x, p, torch.tensor([3.0, 5.0]))
    assert places(q).tolist() == [3, 5]
    assert (q != 0).flatten(1).sum(dim=1).tolist() == [9, 15]


@pytest.mark.parametrize("pixels", [False, True])
def test_random_starts_keep_to_the_count_and_a_fraction_buys_nothing(pixels):
    threat, x = L0(3.5, pixels=pixels), torch.full((30, 3, 4, 4), 0.5)
    rows = torch.arange(30)
    p = threat.random(x, Draw(rows * 31, rows * 0), torch.full((30,), 3.5))
    assert bool((threat.size(x, p) <= 3).all()) and bool((threat.size(x, p) > 0).all())
    assert Bounds().contain(x + p).all()
    assert bool((threat.size(x, threat.project(x, p * 3)) <= 3).all())


def test_an_infinite_count_only_clips():
    x, p = torch.full((1, 4), 0.5), torch.tensor([[0.1, -0.9, 0.9, 0.0]])
    assert torch.allclose(L0().project(x, p), torch.tensor([[0.1, -0.5, 0.5, 0.0]]))


def test_a_step_changes_values_by_one_on_average():
    g = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    step = L0(3).steepest(g)
    assert torch.allclose(step.abs().flatten(1).mean(dim=1), torch.ones(4))
    assert torch.allclose(step * g.abs().flatten(1).mean(dim=1).reshape(-1, 1, 1, 1), g)
