"""A goal says rightly which answers count as fooled, by what margin, and which class is aimed at."""

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Batch, Out
from holdfast.parts.goals import Targeted, Untargeted

NAN, INF = float("nan"), float("inf")


def batch(y, target=None):
    y = torch.tensor(y)
    t = torch.full_like(y, -1) if target is None else torch.tensor(target)
    return Batch(torch.zeros(len(y), 1), y, t, Out(torch.zeros(len(y), 3)), y, y * 0, torch.ones(len(y)))


def out(*rows):
    return Out(torch.tensor(rows))


def test_untargeted_is_any_other_class_and_the_margin_is_the_lead_over_the_label():
    answers = out([3.0, 1.0, 2.0], [1.0, 3.0, 2.5])
    assert Untargeted().wrong(answers, batch([0, 0])).tolist() == [False, True]
    assert Untargeted().margin(answers, batch([0, 0])).tolist() == [-1.0, 2.0]
    assert Untargeted().wrong(answers, batch([2, 1])).tolist() == [True, False]
    assert Untargeted().margin(answers, batch([2, 1])).tolist() == [1.0, -0.5]


def test_targeted_is_one_class_and_the_margin_is_its_lead_over_all_others():
    answers = out([3.0, 1.0, 2.0], [1.0, 3.0, 2.5], [1.0, 3.0, 2.5])
    told = batch([0, 0, 0], [2, 1, 2])
    assert Targeted().wrong(answers, told).tolist() == [False, True, False]
    assert Targeted().margin(answers, told).tolist() == [-1.0, 0.5, -0.5]


def test_an_answer_that_is_not_a_number_never_counts():
    answers = out([NAN, 1.0, 2.0], [0.0, NAN, 2.0], [NAN, NAN, NAN])
    assert not Untargeted().wrong(answers, batch([0, 0, 0])).any()
    assert not Targeted().wrong(answers, batch([0, 0, 0], [2, 2, 2])).any()
    assert not Untargeted(1.0).wrong(answers, batch([0, 0, 0])).any()


def test_an_infinite_answer_counts_as_what_it_says():
    answers = out([0.0, -INF, 2.0], [0.0, INF, 2.0], [-INF, 0.0, -INF])
    assert Untargeted().wrong(answers, batch([0, 0, 1])).tolist() == [True, True, False]
    assert Targeted().wrong(answers, batch([0, 0, 0], [2, 1, 1])).all()


def test_a_tie_follows_argmax_at_margin_zero():
    answers = out([2.0, 2.0, 0.0], [2.0, 2.0, 0.0])
    assert Untargeted().margin(answers, batch([0, 1])).tolist() == [0.0, 0.0]
    assert Untargeted().wrong(answers, batch([0, 1])).tolist() == [False, True]


@pytest.mark.parametrize("kappa", [0.5, 1.0, 1.5])
def test_confidence_asks_for_that_margin(kappa):
    answers = out([2.0, 3.0, 0.0])
    assert Untargeted(kappa).wrong(answers, batch([0])).item() is (kappa <= 1.0)
    assert Targeted(kappa).wrong(answers, batch([0], [1])).item() is (kappa <= 1.0)


def test_sign_of_the_margin_agrees_with_the_verdict_apart_from_ties():
    logits = torch.randn(500, 7, generator=torch.Generator().manual_seed(0))
    y = torch.arange(500) % 7
    told = batch(y.tolist(), ((y + 3) % 7).tolist())
    for goal in (Untargeted(), Targeted()):
        assert torch.equal(goal.wrong(Out(logits), told), goal.margin(Out(logits), told) > 0)


def aim(choose, logits, y):
    rows = torch.arange(len(y))
    return Targeted(choose=choose).aim(Out(logits), y, None, Draw(rows * 7919, rows * 0))


def test_the_class_aimed_at_is_the_runner_up_the_last_or_random():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    y = torch.tensor([0, 1, 2])
    assert aim("likely", logits, y).tolist() == [2, 0, 1]
    assert aim("least_likely", logits, y).tolist() == [1, 2, 0]


@pytest.mark.parametrize("choose", ["likely", "least_likely", "random"])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_class_aimed_at_is_never_the_label(choose, classes):
    logits = torch.randn(400, classes, generator=torch.Generator().manual_seed(1))
    logits[::5] = 0.0
    logits[1::5, 0] = -INF
    logits[2::5, 1] = INF
    y = torch.arange(400) % classes
    chosen = aim(choose, logits, y)
    assert not (chosen == y).any() and bool(((chosen >= 0) & (chosen < classes)).all())


def test_random_classes_are_spread_over_all_others():
    y = torch.zeros(3000, dtype=torch.int64)
    counts = torch.bincount(aim("random", torch.zeros(3000, 5), y), minlength=5)
    assert counts[0] == 0 and bool((counts[1:] > 650).all())


def test_the_callers_targets_are_kept_and_untargeted_aims_at_none():
    y, wish = torch.tensor([0, 1]), torch.tensor([2, 2])
    draw = Draw(y, y * 0)
    assert Targeted().aim(Out(torch.zeros(2, 3)), y, wish, draw).tolist() == [2, 2]
    assert Untargeted().aim(Out(torch.zeros(2, 3)), y, None, draw).tolist() == [-1, -1]


def test_an_unknown_choice_is_refused():
    with pytest.raises(ConfigError, match="worst"):
        Targeted(choose="worst")
