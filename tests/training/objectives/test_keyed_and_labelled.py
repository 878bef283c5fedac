"""A row's noise is keyed by its id and the step, whatever its company; rows without a label are refused, or count where they can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_lessons import lesson, tiny

from holdfast.core.errors import InputError
from holdfast.training.objective import Objective
from holdfast.training.objectives import (
    alp,
    avmixup,
    awp,
    distillation,
    iat,
    logit_squeezing,
    mart,
    nfgsm,
    noise,
    pgd,
    stability,
    stability_ranking,
    trades,
)
from holdfast.training.objectives.penalties import penalised

# So short that where it starts can be seen in where it ends.
SHORT: Any = {"steps": 1, "step": 0.01}
DRAWN: dict[str, Callable[[], Objective]] = {
    "alp": lambda: alp(0.1, **SHORT),
    "avmixup": lambda: avmixup(0.1, **SHORT),
    "awp": lambda: awp(pgd(0.1, **SHORT)),
    "iat": lambda: iat(0.1, **SHORT),
    "logit_squeezing": lambda: logit_squeezing(sigma=0.2, by="pairing"),
    "mart": lambda: mart(0.1, **SHORT),
    "noise": lambda: noise(0.2),
    "penalised": lambda: penalised(pgd(0.1, **SHORT), lambda maps: maps.abs().mean(), "1", 0.1, "maps"),
    "stability": lambda: stability(sigma=0.2),
    "stability_ranking": lambda: stability_ranking(sigma=0.2),
}


@pytest.mark.parametrize("name", DRAWN)
def test_noise_is_keyed_by_row_and_step(name: str) -> None:
    model, one, objective = tiny(), lesson(5), DRAWN[name]()
    whole = objective.look(model, one)
    assert torch.equal(objective.look(model, one[3:4]), whole[3:4])
    assert torch.equal(objective.look(model, one[torch.tensor([4, 3])]), whole[[4, 3]])
    assert not torch.equal(objective.look(model, replace(one, step=one.step + 1)), whole)
    assert not torch.equal(objective.look(model, replace(one, key=one.key + 1)), whole)


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_lesson_gives_the_same_loss(name: str) -> None:
    before = torch.get_rng_state()
    assert torch.equal(DRAWN[name]()(tiny(), lesson()), DRAWN[name]()(tiny(), lesson()))
    assert torch.equal(torch.get_rng_state(), before), "nothing draws from the global generator"


@pytest.mark.parametrize("name", ["alp", "avmixup", "awp", "iat", "mart", "penalised"])
def test_an_attack_on_a_label_refuses_rows_without_one(name: str) -> None:
    one = replace(lesson(3), y=torch.tensor([0, -1, 2]))
    with pytest.raises(InputError, match=r"1 of 3 have none \(y = -1\)") as told:
        DRAWN[name]()(tiny(), one)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("objective", [nfgsm(0.1), noise(0.1), distillation(5.0)], ids=["nfgsm", "noise", "distillation"])
def test_rows_without_a_label_are_left_out(objective: Objective) -> None:
    one = lesson(4)
    some = replace(one, y=torch.tensor([0, -1, 2, -1]))
    assert objective(tiny(), some).item() == pytest.approx(objective(tiny(), one[torch.tensor([0, 2])]).item(), rel=1e-12)
    assert objective(tiny(), replace(one, y=torch.full((4,), -1))).item() == 0


@pytest.mark.parametrize(
    "objective",
    [stability(3.0), stability_ranking(3.0), trades(0.1), logit_squeezing()],
    ids=["stability", "ranking", "trades", "squeezing"],
)
def test_rows_without_a_label_count_in_the_second_term(objective: Objective) -> None:
    one = lesson(4)
    none = replace(one, y=torch.full((4,), -1))
    alone = [objective(tiny(), none[row : row + 1]).item() for row in range(4)]
    assert min(alone) > 0 and objective(tiny(), none).item() == pytest.approx(sum(alone) / 4, rel=1e-12)
