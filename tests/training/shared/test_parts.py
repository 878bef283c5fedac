"""Masks, placements, penalties and views against their formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast import L1, L2, ConfigError, InputError, Linf
from holdfast.core.draw import Draw, row_key
from holdfast.core.types import Bounds
from holdfast.training.shared.masks import Bars, Disc, Picture, Square, mask_of
from holdfast.training.shared.penalties import Length, NonPrintability
from holdfast.training.shared.placements import Added, Pasted

LOW_HIGH = Bounds(0.0, 1.0)


def draw(n: int, time: int = 0) -> Draw:
    ids = torch.arange(n)
    return Draw(row_key(3, ids, torch.zeros_like(ids)), torch.full_like(ids, time))


def smooth(n: int = 3, side: int = 16) -> torch.Tensor:
    """Images without corners, so that bilinear reading errs little."""
    t = torch.linspace(0, 3, side, dtype=torch.float64)
    waves = [(0.5 + 0.3 * (t + i).sin().unsqueeze(1) * (t * (1 + 0.2 * i)).cos()).expand(3, side, side) for i in range(n)]
    return torch.stack(waves)


def test_two_bars_lie_alike_above_and_below() -> None:
    mask = Bars(0.5, 0.25, 0.25)(torch.zeros(1, 3, 32, 32))[0, 0]
    assert mask.sum() == 2 * 16 * 8 and torch.equal(mask, mask.flip(0)) and torch.equal(mask, mask.flip(1))
    assert mask[14:18].sum() == 0, "the middle of the sign stays free"
    assert (Disc()(torch.zeros(1, 1, 200, 200)).mean() - math.pi / 4).abs() < 2e-3
    assert bool((Square()(torch.zeros(2, 3, 4, 5)) == 1).all())


def test_a_mask_is_read_from_a_picture(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = mask_of(str(tmp_path / "m.png"))(torch.zeros(1, 3, 4, 4))
    assert mask[0, 0].tolist() == [[1.0] * 4] * 2 + [[0.0] * 4] * 2
    with pytest.raises(InputError, match="cannot be read"):
        Picture(str(tmp_path / "none.png"))(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ConfigError, match="choose one of bars, disc, square"):
        mask_of("stripes")
    with pytest.raises(ConfigError, match="do not meet"):
        Bars(0.5, 0.4, 0.1)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.7), L1(0.9)])
def test_projection_is_the_nearest_point_of_the_ball(threat: Linf | L2 | L1) -> None:
    added = Added(threat)
    p = torch.linspace(-0.9, 0.8, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    q = added.project(p, LOW_HIGH)
    assert added.size(q) == pytest.approx(threat.radius)
    assert torch.allclose(added.project(q, LOW_HIGH), q, atol=1e-12)
    if isinstance(threat, Linf):
        assert torch.equal(q, p.clamp(-0.1, 0.1))
    else:
        # The nearest point: p − q makes no acute angle with any way from q into the ball.
        generator = torch.Generator().manual_seed(0)
        for _ in range(50):
            inside = added.project(torch.randn(1, 3, 2, 2, generator=generator, dtype=torch.float64), LOW_HIGH)
            assert float(((p - q) * (inside - q)).sum()) <= 1e-9


def test_a_sticker_stays_on_its_mask_and_inputs_in_their_range() -> None:
    added, x = Added(L2(math.inf), Bars(0.5, 0.25, 0.25)), smooth().clamp(0, 1)
    p = added.project(torch.full((1, 3, 16, 16), 2.0, dtype=torch.float64), LOW_HIGH)
    outside = Bars(0.5, 0.25, 0.25)(p) == 0
    assert float(p.amax()) == 1.0 and bool((p * outside == 0).all())
    shown = added.apply(x, p, LOW_HIGH, draw(3))
    assert bool(LOW_HIGH.contain(shown).all()) and torch.equal(shown * outside, x * outside)
    with pytest.raises(ConfigError, match="images"):
        added.fresh(torch.zeros(2, 5), LOW_HIGH, draw(1))


def test_a_patch_covers_what_it_should() -> None:
    x = torch.zeros(200, 1, 24, 24, dtype=torch.float64)
    upright = Pasted(side=0.5, least=1.0, turn=0.0)
    p = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    shown = upright.apply(x, p, LOW_HIGH, draw(200))
    assert torch.allclose(shown.sum(dim=(1, 2, 3)), x.new_tensor(144.0)), "the whole patch is inside, wherever it lies"
    middle = (shown[:, 0] * torch.arange(24.0)).sum(dim=(1, 2)) / 144
    assert float(middle.amin()) < 7 and float(middle.amax()) > 16, "and it lies everywhere"
    small = Pasted(side=0.5, least=0.5, turn=45.0).apply(x, p, LOW_HIGH, draw(200)).sum(dim=(1, 2, 3))
    assert 30 < float(small.amin()) < 50 and 120 < float(small.amax()) < 145
    with pytest.raises(ConfigError, match="finite range"):
        upright.fresh(x, Bounds(-math.inf, math.inf), draw(1))


def test_what_a_patch_covers_is_gone() -> None:
    whole = Pasted(side=1.0, least=1.0, turn=0.0)
    p = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(whole.apply(smooth(), p, LOW_HIGH, draw(3)), p.expand(3, -1, -1, -1), atol=1e-9)


def test_non_printability_is_sharifs_product() -> None:
    palette = ((0.0, 0.0, 0.0), (1.0, 0.5, 0.0), (0.2, 0.9, 0.7))
    p = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slow = 0.0
    for row in range(4):
        for column in range(5):
            pixel = p[0, :, row, column].tolist()
            slow += math.prod(math.dist(pixel, colour) for colour in palette)
    assert NonPrintability(2.0, palette)(p).item() == pytest.approx(2 * slow, rel=1e-4)
    printed = p.new_tensor(palette[1]).reshape(1, 3, 1, 1).expand(1, 3, 4, 5).clone().requires_grad_()
    cost = NonPrintability(2.0, palette)(printed)
    (g,) = torch.autograd.grad(cost, printed)
    assert cost.item() == pytest.approx(0, abs=1e-6) and bool(g.isfinite().all())
    with pytest.raises(ConfigError, match="3 numbers a colour"):
        NonPrintability(1.0, ((0.0,),))(p)


def test_lengths() -> None:
    p = torch.tensor([[3.0, -4.0]], requires_grad=True)
    assert Length(2.0, 2)(p).item() == pytest.approx(10)
    zero = torch.zeros(1, 2, requires_grad=True)
    assert bool(torch.autograd.grad(Length(1.0, 2)(zero), zero)[0].isfinite().all())
