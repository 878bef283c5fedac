"""The short form of objectives: what it reads, and what it says of what it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import L2, Classifier, Linf
from holdfast.core.errors import ConfigError
from holdfast.training import objectives
from holdfast.training.objective import OBJECTIVES, Objective
from holdfast.training.objectives import awp, distillation, pgd, stability, standard, trades
from holdfast.training.short import parse_objective

BALL = Linf(8 / 255)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trades(beta=6, steps=10)", trades(BALL, beta=6, steps=10)),
        ("pgd", pgd(BALL)),
        (" pgd(L2(0.5), step=1/8) ", pgd(L2(0.5), step=0.125)),
        ("pgd(16/255)", pgd(16 / 255)),
        ("awp(trades(beta=3), gamma=0.01)", awp(trades(BALL, beta=3), gamma=0.01)),
        ("awp(objective=awp(pgd))", awp(awp(pgd(BALL)))),
        ("standard(smoothing=0.1)", standard(0.1)),
        ("stability(views='jpeg((50, 90))', distance='l2')", stability(views="jpeg((50, 90))", distance="l2")),
    ],
)
def test_it_reads(text: str, expected: Objective) -> None:
    assert parse_objective(text, BALL) == expected


def test_every_objective_can_be_written_by_its_name() -> None:
    assert set(objectives.__all__) == set(OBJECTIVES)
    for name, entry in OBJECTIVES.items():
        text = {"awp": "awp(pgd)", "ramp": "ramp(pgd)", "vat": "vat(2)"}.get(
            name, f"{name}(standard, 'x')" if name.startswith("blurnet") else name
        )
        assert type(parse_objective(text, BALL)).__module__.startswith("holdfast.training.objectives")
        for part in ("Source:", "Differs from", "[n, ...]", ">>> "):
            assert name == "standard" or part in (entry.make.__doc__ or ""), f"{name} lacks {part!r}"


def test_a_teacher_is_given_apart() -> None:
    teacher = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), 3)
    assert parse_objective("distillation(40)", teacher=teacher) == distillation(40, teacher)
    assert parse_objective("distillation(40)") == distillation(40)
    with pytest.raises(ConfigError, match="takes no teacher"):
        parse_objective("pgd", BALL, teacher)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trdes(beta=6)", "did you mean trades?"),
        ("trades(beta=-6)", "trades(beta=-6): expected a finite number from 0"),
        ("mart(beta=-1)", "mart(beta=-1)"),
        ("alp(weight=-1)", "alp(weight=-1)"),
        ("nfgsm(step=-1)", "nfgsm(step=-1)"),
        ("free(step=-1)", "free(step=-1)"),
        ("free(smoothing=1)", "free(smoothing=1): expected a number from 0 to below 1"),
        ("noise(smoothing=2)", "noise(smoothing=2)"),
        ("standard(smoothing=-0.1)", "standard(smoothing=-0.1)"),
        ("awp(trdes)", "did you mean trades?"),
        ("awp(trades(bta=6))", "no parameter 'bta': did you mean beta?"),
        ("awp(3)", "objective '3' is unknown"),
        ("awp", "missing a required argument: 'objective'"),
        ("pgd(steps='x')", "steps='x': expected a whole number"),
        ("pgd(", "cannot be read"),
        ("pgd(*(1,))", "is not a number"),
        ("pgd(**{})", "no parameter '**{}'"),
        ("__import__('os').system('true')", "is unknown"),
        ("pgd(__import__('os'))", "is not a number"),
        ("pgd(0.1, 3, 0.1, 0, 0, 0, 0, 0)", "too many positional arguments"),
        ("awp(free)", "awp cannot wrap Free"),
    ],
)
def test_what_it_cannot_read_it_says_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_objective(text, BALL)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_threat_that_is_needed_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="the threat is missing"):
        parse_objective("awp(trades(beta=6))")


def test_what_is_of_another_kind_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"objective=3: expected an objective, as training\.objectives\.pgd"):
        awp(3)  # type: ignore[arg-type]


def test_nothing_is_executed() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ConfigError):
        parse_objective("pgd(torch.manual_seed(7))", BALL)
    assert torch.equal(torch.get_rng_state(), before)
