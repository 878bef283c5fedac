"""Which samples an entry is made on: a matter of each sample's own history, and of its key."""

import pytest
import torch

from holdfast.attacks import fgsm
from holdfast.evaluation.entry import Entry

MANY = 20_000


def chosen(entry, best, clean=None, correct=None, standing=None, ids=None, seed=0):
    n = len(best)
    yes = torch.ones(n, dtype=torch.bool)
    correct, standing = yes if correct is None else correct, yes if standing is None else standing
    clean = torch.full((n,), -2.0, dtype=torch.float64) if clean is None else clean
    return entry.chosen(correct, standing, best, clean, torch.arange(n) if ids is None else ids, seed)


def far(n=MANY):
    return torch.full((n,), -2.0, dtype=torch.float64)


def test_without_survivors_all_that_was_right_and_else_what_stands():
    correct, standing = torch.tensor([True, True, False, True]), torch.tensor([True, False, False, True])
    assert torch.equal(chosen(Entry(fgsm(0.1), survivors=False), far(4), correct=correct, standing=standing), correct)
    assert torch.equal(chosen(Entry(fgsm(0.1)), far(4), correct=correct, standing=standing), standing)
    near = Entry(fgsm(0.1), near=1.5, spot=1.0)
    assert torch.equal(chosen(near, far(4), correct=correct, standing=standing), standing), "the fallen are left in peace"


def test_near_is_a_share_of_the_clean_margin():
    best = torch.tensor([-1.01, -1.0, -0.99, 0.0, -4.0, -0.1], dtype=torch.float64)
    clean = torch.tensor([-2.0, -2.0, -2.0, -2.0, -9.0, -0.1], dtype=torch.float64)
    found = chosen(Entry(fgsm(0.1), near=0.5), best, clean)
    assert found.tolist() == [False, False, True, True, True, False]


def test_what_is_no_number_leaves_nobody_out():
    nan, inf = torch.nan, torch.inf
    best = torch.tensor([nan, -2.0, nan, -inf], dtype=torch.float64)
    clean = torch.tensor([-2.0, nan, nan, -inf], dtype=torch.float64)
    assert chosen(Entry(fgsm(0.1), near=0.5), best, clean).tolist() == [True, True, True, False]


@pytest.mark.parametrize("spot", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_spot_is_that_share_of_all(spot, seed):
    share = float(chosen(Entry(fgsm(0.1), near=0.5, spot=spot), far(), seed=seed).double().mean())
    assert abs(share - spot) <= 4 * (spot * (1 - spot) / MANY) ** 0.5


def test_a_spot_is_drawn_by_the_samples_key_alone():
    entry = Entry(fgsm(0.1), near=0.5, spot=0.3)
    ids = torch.arange(500) * 37 + 5
    whole = chosen(entry, far(500), ids=ids)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(chosen(entry, far(500), ids=ids[order]), whole[order])
    for start in range(3):
        assert torch.equal(chosen(entry, far(500)[start::3], ids=ids[start::3]), whole[start::3])
    others = torch.where(torch.arange(500) % 2 == 0, 0.0, -2.0).double()
    assert torch.equal(chosen(entry, others, ids=ids)[1::2], whole[1::2]), "whatever became of the others"
    assert not torch.equal(chosen(entry, far(500), ids=ids, seed=1), whole)
    wider = chosen(Entry(fgsm(0.1), near=0.5, spot=0.6), far(500), ids=ids)
    assert bool((wider | ~whole).all()), "a smaller share is part of a larger"
