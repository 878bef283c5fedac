"""Which samples an entry is made on: a matter of each sample's own history, and of its key."""

import pytest
import torch

from holdfast.attacks import apgd_targeted, fgsm
from holdfast.evaluation.entry import TINY, Entry, History

MANY = 20_000


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def past(best, clean=None, highest=None, lowest=None):
    """A history: clean margins of 2, and attempts that all ended where the best did, unless told otherwise."""
    clean = torch.full_like(best, -2.0) if clean is None else clean
    return History(clean.abs(), best, best if highest is None else highest, best if lowest is None else lowest)


def chosen(entry, history, correct=None, standing=None, ids=None, seed=0):
    history = history if isinstance(history, History) else past(history)
    n = len(history.best)
    yes = torch.ones(n, dtype=torch.bool)
    correct, standing = yes if correct is None else correct, yes if standing is None else standing
    return entry.chosen(correct, standing, history, torch.arange(n) if ids is None else ids, seed)


def far(n=MANY):
    return torch.full((n,), -2.0, dtype=torch.float64)


def test_without_survivors_all_that_was_right_and_else_what_stands():
    correct, standing = torch.tensor([True, True, False, True]), torch.tensor([True, False, False, True])
    assert torch.equal(chosen(Entry(fgsm(0.1), survivors=False), far(4), correct=correct, standing=standing), correct)
    assert torch.equal(chosen(Entry(fgsm(0.1)), far(4), correct=correct, standing=standing), standing)
    near = Entry(fgsm(0.1), near=1.5, spot=1.0)
    assert torch.equal(chosen(near, far(4), correct=correct, standing=standing), standing), "the fallen are left in peace"


def test_near_is_a_share_of_the_clean_margin():
    best, clean = numbers(-1.01, -1.0, -0.99, 0.0, -4.0, -0.1), numbers(-2.0, -2.0, -2.0, -2.0, -9.0, -0.1)
    found = chosen(Entry(fgsm(0.1), near=0.5), past(best, clean))
    assert found.tolist() == [False, False, True, True, True, False]


def test_attempts_that_differ_by_more_than_the_gap_make_a_sample_near():
    best = numbers(-1.5, -1.5, -1.5, -1.5)
    found = chosen(Entry(fgsm(0.1), near=0.5), past(best, lowest=numbers(-2.9, -3.0, -3.5, torch.nan)))
    assert found.tolist() == [False, True, True, False], "the gap is 1.5"


def test_hope_is_a_multiple_of_what_attempts_differ_by_or_a_tiny_gap():
    best, lowest = numbers(-1.5, -1.5, -0.05, -0.07, -0.07), numbers(-1.9, -2.1, -0.05, -0.07, torch.nan)
    assert 0.05 < TINY * 2 < 0.07
    # Without an attempt that was not aimed nothing is known of how they differ.
    assert chosen(Entry(fgsm(0.1), hope=3.0), past(best, lowest=lowest)).tolist() == [False, True, True, False, True]
    both = Entry(fgsm(0.1), near=0.5, hope=3.0)
    assert chosen(both, past(numbers(-1.5, -0.9), lowest=numbers(-2.1, -1.3))).tolist() == [False, True], "and near as well"
    assert chosen(Entry(fgsm(0.1), hope=3.0, spot=1.0), past(best, lowest=lowest)).all(), "a spot is beside it"


def test_what_is_no_number_leaves_nobody_out():
    nan, inf = torch.nan, torch.inf
    best, clean = numbers(nan, -2.0, nan, -inf), numbers(-2.0, nan, nan, -inf)
    nothing = torch.full_like(best, nan)
    assert chosen(Entry(fgsm(0.1), near=0.5), past(best, clean, nothing, nothing)).tolist() == [True, True, True, False]
    assert chosen(Entry(fgsm(0.1), hope=3.0), past(best, clean, nothing, nothing)).all()


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


def test_a_history_keeps_the_best_and_how_far_attempts_differed():
    begun = History.begin(numbers(-2.0, 3.0, -1.0))
    assert begun.clean.tolist() == [2.0, 3.0, 1.0] and begun.best.tolist() == [-2.0, 3.0, -1.0]
    assert bool(begun.spread.isnan().all()), "nothing was tried"
    once = begun.after(Entry(fgsm(0.1)), torch.tensor([2, 0]), numbers(-0.5, -1.5), numbers(-0.7, -1.6))
    assert once.best.tolist() == [-1.5, 3.0, -0.5] and once.clean.tolist() == [2.0, 3.0, 1.0]
    assert torch.allclose(once.spread, numbers(0.1, torch.nan, 0.2), equal_nan=True)
    worse = once.after(Entry(fgsm(0.1)), torch.tensor([0]), numbers(-1.9), numbers(-1.9))
    assert worse.best.tolist() == once.best.tolist(), "a later attempt that falls short takes nothing back"
    assert torch.allclose(worse.spread, numbers(0.4, torch.nan, 0.2), equal_nan=True)
    assert once.spread[0] < worse.spread[0] and begun.best[0] == -2.0, "each is a value of its own"


def test_an_attempt_at_a_rival_says_nothing_of_how_far_attempts_differ():
    begun, where = History.begin(numbers(-2.0, -2.0)), torch.tensor([1])
    aimed = begun.after(Entry(apgd_targeted(0.1, rivals=2)), where, numbers(-0.5), numbers(-7.0))
    assert aimed.best.tolist() == [-2.0, -0.5] and bool(aimed.spread.isnan().all())
    after = aimed.after(Entry(fgsm(0.1)), where, numbers(-0.9), numbers(-1.0))
    assert after.best.tolist() == [-2.0, -0.5] and torch.allclose(after.spread[1:], numbers(0.1))


def test_a_margin_that_is_no_number_tells_a_history_nothing():
    begun, where = History.begin(numbers(-2.0)), torch.tensor([0])
    told = begun.after(Entry(fgsm(0.1)), where, numbers(torch.nan), numbers(torch.nan))
    assert told.best.tolist() == [-2.0] and bool(told.spread.isnan().all())
    assert told.after(Entry(fgsm(0.1)), where, numbers(-1.0), numbers(-1.5)).spread.tolist() == [0.5]
