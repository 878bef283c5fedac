"""Keyed noise has the distributions it promises and is independent over rows, steps, names and places."""

import math

import pytest
import torch
from scipy import stats

from holdfast.core.draw import Draw, row_key


def draw(n=64, step=0, seed=0):
    rows = torch.arange(n)
    return Draw(row_key(seed, rows, torch.zeros_like(rows)), torch.full((n,), step))


def test_uniform_is_uniform_inside_the_open_interval():
    for dtype in (torch.float32, torch.float64):
        u = draw().uniform("a", (40, 50), dtype)
        assert u.shape == (64, 40, 50) and u.dtype == dtype
        assert u.min() > 0 and u.max() < 1
        assert stats.kstest(u.flatten().double().numpy(), "uniform").pvalue > 1e-3


def test_the_largest_and_smallest_uniform_stay_inside_in_float32():
    class Extreme(Draw):
        def bits(self, name, count):
            return torch.tensor([[0, 2**32 - 1]])

    u = Extreme(torch.zeros(1).long(), torch.zeros(1).long()).uniform("a", (2,))
    assert float(u[0, 0]) > 0 and float(u[0, 1]) < 1


def test_normal_is_standard_normal():
    z = draw().normal("a", (2000,), torch.float64).flatten()
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert abs((z**4).mean() - 3) < 0.15


def test_integers_are_even_over_their_range():
    for high in (1, 2, 7, 10):
        k = draw().integer("a", (500,), high)
        assert int(k.min()) == 0 and int(k.max()) == high - 1
        if high > 1:
            assert stats.chisquare(torch.bincount(k.flatten(), minlength=high).numpy()).pvalue > 1e-3


def test_a_very_large_range_of_integers_is_covered():
    k = draw().integer("a", (500,), 2**31).double() / 2**31
    assert k.min() >= 0 and k.max() < 1
    assert stats.kstest(k.flatten().numpy(), "uniform").pvalue > 1e-3


def test_signs_are_even():
    s = draw().sign("a", (500,))
    assert set(s.flatten().tolist()) == {-1.0, 1.0}
    assert abs(s.mean()) < 4 / math.sqrt(s.numel())


def test_the_same_key_step_name_and_shape_give_the_same_numbers_in_any_company():
    everyone = draw(16, step=4)
    whole = everyone.normal("a", (3, 5))
    order = torch.tensor([9, 2, 15])
    some = Draw(everyone.key[order], everyone.step[order]).normal("a", (3, 5))
    assert torch.equal(whole[order], some)


@pytest.mark.parametrize("kind", ["uniform", "normal", "sign"])
def test_streams_are_uncorrelated(kind):
    def noise(name="a", step=0, seed=0):
        return getattr(draw(32, step, seed), kind)(name, (400,), torch.float64)

    base = noise()
    others = [base.roll(1, dims=0), base.roll(1, dims=1), noise(step=1), noise(name="b"), noise(seed=1)]
    for other in others:
        correlation = torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(base.numel())
    assert len(noise().unique(dim=0)) == 32


def test_normal_uses_two_independent_uniforms():
    z = draw().normal("a", (2000,), torch.float64)
    u = draw().uniform("a", (2000,), torch.float64)
    neighbours = torch.corrcoef(torch.stack([z[:, ::2].abs().flatten(), z[:, 1::2].abs().flatten()]))[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(z.numel() / 2)
    assert not torch.equal(z, u)
