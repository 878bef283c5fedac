"""Tables of colours against a literal interpolation; CIELUV against published values and its own inverse."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.errors import ConfigError
from holdfast.core.types import Bounds
from holdfast.parts import cieluv
from holdfast.parts.threats import Colour
from holdfast.parts.threats.colour import look_up


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal(table: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """Every entry of the table weighs by its distance from the colour along each axis, where that is less than a cell."""
    n, values, *sides = table.shape
    out = torch.zeros(n, values, colour.shape[2], dtype=table.dtype)
    for b in range(n):
        for pixel in range(colour.shape[2]):
            for entry in torch.cartesian_prod(*(torch.arange(side) for side in sides)).reshape(-1, len(sides)).tolist():
                weight = 1.0
                for axis, place in enumerate(entry):
                    at = min(max(float(colour[b, axis, pixel]), 0.0), 1.0) * (sides[axis] - 1)
                    weight *= max(0.0, 1 - abs(at - place))
                out[b, :, pixel] += weight * table[(b, slice(None), *entry)]
    return out


@pytest.mark.parametrize("sides", [(5,), (3, 4), (2, 3, 4)])
def test_looking_up_is_the_literal_interpolation(sides):
    table, colour = random(2, 3, *sides), 1.4 * random(2, len(sides), 6, seed=1) - 0.2
    colour[:, :, 0], colour[:, :, 1] = 0, 1
    assert torch.allclose(look_up(table, colour), literal(table, colour), atol=1e-12)


def test_an_affine_table_is_looked_up_exactly():
    grid = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, side, dtype=torch.float64) for side in (3, 5, 4)), indexing="ij"))
    colour = random(1, 3, 20)
    table = (2 * grid - 1).unsqueeze(0)
    assert torch.allclose(look_up(table, colour), 2 * colour - 1, atol=1e-12)


def test_gradients_in_table_and_colour():
    table, colour = random(1, 2, 3, 3, 3).requires_grad_(), (0.05 + 0.4 * random(1, 3, 4, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(look_up, (table, colour))


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((1, 0, 0), (53.24, 175.01, 37.76)),
        ((0, 1, 0), (87.73, -83.08, 107.40)),
        ((0, 0, 1), (32.30, -9.40, -130.34)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_cieluv_of_primaries(colour, expected):
    """L*, u*, v* of the sRGB primaries under D65, as colour tables give them."""
    lightness, u, v = cieluv.luv(torch.tensor(colour, dtype=torch.float64).reshape(1, 3, 1, 1)).flatten().tolist()
    assert (lightness * 100, u * 200 - 100, v * 200 - 100) == pytest.approx(expected, abs=0.1)


def test_greys_have_no_chromaticity():
    grey = torch.linspace(0, 1, 50, dtype=torch.float64).reshape(1, 1, 50, 1).expand(1, 3, 50, 1)
    found = cieluv.luv(grey)
    assert torch.allclose(found[:, 1:], torch.full_like(found[:, 1:], 0.5), atol=1e-12)
    assert bool((found[0, 0].diff(dim=0) > 0).all())


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-9), (torch.float32, 3e-5)])
def test_cieluv_there_and_back(dtype, apart):
    colours = torch.cartesian_prod(*[torch.linspace(0, 1, 18, dtype=dtype)] * 3).T.reshape(1, 3, -1, 1)
    assert torch.allclose(cieluv.rgb(cieluv.luv(colours)), colours, atol=apart)


def test_gradients_of_cieluv_both_ways():
    colour = (0.1 + 0.8 * random(1, 3, 3, 1)).requires_grad_()
    assert torch.autograd.gradcheck(cieluv.luv, (colour,))
    assert torch.autograd.gradcheck(cieluv.rgb, (cieluv.luv(colour.detach()).requires_grad_(),))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_at_black_and_white_are_numbers(value):
    x = torch.full((1, 3, 2, 2), value)
    p = Colour(0.06, resolution=(3, 3, 3)).zero(x).requires_grad_()
    Colour(0.06, resolution=(3, 3, 3)).apply(x, p).sum().backward()
    assert p.grad is not None and bool(p.grad.isfinite().all())


@pytest.mark.parametrize("space", ["luv", "rgb"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_empty_table_changes_nothing_to_the_last_bit(space, channels):
    x, threat = random(2, channels, 3, 3).float(), Colour(0.06, space=space, resolution=(4, 3, 5))
    assert torch.equal(threat.apply(x, threat.zero(x)), x)
    assert threat.zero(x).shape == (2, channels, *(4, 3, 5)[:channels])


def test_pixels_of_one_colour_stay_of_one_colour():
    x = random(1, 3, 1, 2).repeat(1, 1, 3, 1)
    threat = Colour(0.1, resolution=(4, 4, 4))
    after = threat.apply(x, 0.2 * random(1, 3, 4, 4, 4, seed=4) - 0.1)
    assert torch.equal(after[:, :, 0], after[:, :, 2]) and not torch.equal(after, x)


def test_a_shift_inside_the_gamut_moves_colours_by_itself():
    x, threat = 0.4 + 0.2 * random(1, 3, 4, 4), Colour(0.06, resolution=(2, 2, 2))
    p = torch.tensor([0.01, -0.02, 0.03], dtype=torch.float64).reshape(1, 3, 1, 1, 1).expand(1, 3, 2, 2, 2)
    moved = cieluv.luv(threat.apply(x, p)) - cieluv.luv(x)
    assert torch.allclose(moved, p[:, :, 0, :1, :1].expand_as(moved), atol=1e-9)
    assert threat.size(x, p).tolist() == [0.03]


def test_no_colour_moves_farther_than_the_largest_shift_not_even_where_it_is_clipped():
    x = (random(4, 3, 16, 16) * 1.3 - 0.2).clamp(0, 1).float()
    x[0] = x[0] * 0.05
    threat = Colour(0.06, resolution=(4, 4, 4))
    p = 0.12 * random(4, 3, 4, 4, 4, seed=3).float() - 0.06
    moved = (cieluv.luv(threat.apply(x, p)) - cieluv.luv(x)).abs().flatten(1).amax(dim=1)
    assert bool((moved <= threat.size(x, p) + 2e-4).all()) and bool((moved > 0.03).all())


def test_other_ranges_are_scaled_and_kept():
    threat = Colour(0.5, space="rgb", resolution=(2, 2, 2)).within(Bounds(-2.0, 6.0))
    x, p = torch.tensor([-2.0, 2.0, 5.0]).reshape(1, 3, 1, 1), torch.full((1, 3, 2, 2, 2), 0.25)
    assert threat.apply(x, p).flatten().tolist() == [0.0, 4.0, 6.0]
    with pytest.raises(ConfigError, match="finite range"):
        threat.within(Bounds(-float("inf"), float("inf")))


def test_projection_keeps_each_entry_within_each_rows_radius():
    x, p = random(2, 1, 2, 2), 2 * random(2, 1, 16, seed=1) - 1
    radius = torch.tensor([0.06, 0.5], dtype=torch.float64)
    q = Colour(0.06).project(x, p, radius)
    assert torch.equal(q, p.clamp(-radius.reshape(2, 1, 1), radius.reshape(2, 1, 1)))
    assert Colour(0.06).unfit((4, 8, 8)) and Colour(0.06).unfit((3,)) and not Colour(0.06).unfit((3, 8, 8))
    with pytest.raises(ConfigError, match="expected a radius"):
        Colour(0.06, resolution=(1, 4, 4))
