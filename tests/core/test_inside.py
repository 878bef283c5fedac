"""Noise that layers draw inside a net: each row's own while a keyed model is asked, the global generator's otherwise."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ModelError
from holdfast.core.inside import drawing, normal, uniform


def draw(*samples: int, step: int = 0) -> Draw:
    ids = torch.tensor(samples)
    return Draw(row_key(3, ids, torch.zeros_like(ids)), torch.full_like(ids, step))


def test_a_rows_noise_does_not_depend_on_its_company_nor_on_the_global_generator() -> None:
    x = torch.zeros(4, 3, 5)
    with drawing(draw(0, 1, 2, 3)):
        first, second, third = normal(x), normal(x), uniform(x, 2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with drawing(draw(2, 0)):
        again = normal(x[:2]), normal(x[:2]), uniform(x[:2], 2)
    for noise, some in zip((first, second, third), again, strict=True):
        assert torch.equal(noise[[2, 0]], some)
    assert torch.equal(before, torch.get_rng_state())


def test_rows_steps_and_layers_differ() -> None:
    x = torch.zeros(2, 50)
    noises = []
    for step in (0, 1, 1 << 40):
        with drawing(draw(0, 1, step=step)):
            noises += [*normal(x), *normal(x)]
    for place, noise in enumerate(noises):
        assert not any(bool((noise == other).any()) for other in noises[:place])


def test_it_is_standard_normal_and_uniform() -> None:
    x = torch.zeros(200, 500, dtype=torch.float64)
    with drawing(draw(*range(200))):
        z, u = normal(x), uniform(x, 500)
    for values, mean, square in ((z, 0.0, 1.0), (u, 0.5, 1 / 3)):
        assert float(values.mean()) == pytest.approx(mean, abs=0.015)
        assert float(values.square().mean()) == pytest.approx(square, abs=0.025)
        # Over rows as over places: their seeds are not alike.
        assert float(values.mean(dim=0).std()) == pytest.approx(((square - mean**2) / 200) ** 0.5, rel=0.2)
    assert bool((u >= 0).all()) and bool((u < 1).all()) and z.dtype == torch.float64


def test_outside_of_an_ask_torchs_generator_is_used() -> None:
    x = torch.zeros(2, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        with pytest.raises(RuntimeError, match="left"), drawing(draw(0)):
            raise RuntimeError("left")
        drawn = normal(x), uniform(x, 1)
        torch.manual_seed(5)
        assert torch.equal(drawn[0], torch.randn(2, 3))
        assert not torch.equal(normal(x), drawn[0])


def test_rows_that_are_not_the_asks_are_refused() -> None:
    with drawing(draw(0, 1)), pytest.raises(ModelError, match="4 rows of an ask of 2"):
        normal(torch.zeros(4, 3))
