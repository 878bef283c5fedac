"""A growing radius: what is learned from lies on the way from the input to what the objective finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_lessons import lesson, tiny

from holdfast.core.errors import ConfigError
from holdfast.training.objectives import free, pgd, ramp, trades


@pytest.mark.parametrize("inner", [pgd(0.1), trades(0.1)], ids=["pgd", "trades"])
@pytest.mark.parametrize(("step", "share"), [(0, 0.25), (1, 0.5), (3, 1.0), (9, 1.0)])
def test_the_perturbation_has_its_share_of_the_whole_length(inner, step: int, share: float) -> None:
    model, one = tiny(), lesson()
    one = replace(one, step=torch.full_like(one.step, step))
    whole = inner.look(model, one)
    near = ramp(inner, 4).look(model, one)
    assert (whole != one.x).any()
    torch.testing.assert_close(near - one.x, share * (whole - one.x), rtol=0, atol=1e-15)
    assert ramp(inner, 4)(model, one) == inner.loss(model, one, near)


def test_what_cannot_be_ramped_is_told() -> None:
    with pytest.raises(ConfigError, match="ramp cannot wrap Free"):
        ramp(free(0.1))
    with pytest.raises(ConfigError, match=r"ramp\(steps=0\)"):
        ramp(pgd(0.1), 0)
