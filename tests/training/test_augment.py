"""Augmentations against literal loops over pixels, and their noise against the row alone."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.training.augment import Augmentation, Colour, Crop, Flip, Zoom, augmentations, augmented

KEYS, STEP = torch.arange(9) * 77 + 5, torch.arange(9) % 2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(8, 8), (16, 24), (5, 3)])
def test_a_crop_is_a_shift_of_every_pixel(size: tuple[int, int], dtype: torch.dtype) -> None:
    high, wide = size
    x = torch.randint(1, 255, (9, 2, high, wide), generator=torch.Generator().manual_seed(0)).to(dtype)
    found = Crop()(x, Draw(KEYS, STEP))
    most = max(1, min(high, wide) // 8)
    shifts = (Draw(KEYS, STEP).integer("crop", (2,), 2 * most + 1) - most).tolist()
    assert len({tuple(shift) for shift in shifts}) > 2
    assert found.dtype == dtype
    for row, (down, across) in enumerate(shifts):
        for i in range(high):
            for j in range(wide):
                inside = 0 <= i + down < high and 0 <= j + across < wide
                expected = x[row, :, i + down, j + across] if inside else torch.zeros(2, dtype=dtype)
                assert torch.equal(found[row, :, i, j], expected)


def test_a_flip_turns_half_of_the_rows_round() -> None:
    keys = torch.arange(400)
    x = torch.rand(400, 1, 2, 3)
    found = Flip()(x, Draw(keys, torch.zeros_like(keys)))
    turned = 0
    for before, after in zip(x, found, strict=True):
        mirrored = torch.stack([before[:, :, 2 - j] for j in range(3)], dim=2)
        assert torch.equal(after, before) != torch.equal(after, mirrored)
        turned += int(torch.equal(after, mirrored))
    assert 150 < turned < 250


def test_a_zoom_shows_a_window_of_the_image() -> None:
    """Of a ramp each way: steps are between 0 and 1 of a pixel, their product the area, nothing lies beyond, bytes are rounded."""
    keys = torch.arange(200)
    down, across = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x = torch.stack([down, across]).expand(200, 2, 32, 32)
    found = Zoom()(x, Draw(keys, torch.zeros_like(keys)))
    tall, wide = found[:, 0].diff(dim=1)[:, 10:20].mean(dim=(1, 2)), found[:, 1].diff(dim=2)[:, :, 10:20].mean(dim=(1, 2))
    assert bool((tall <= 1.001).all()) and bool((wide <= 1.001).all()) and float(found.min()) >= 0 and float(found.max()) <= 31.001
    area, ratio = tall * wide, (wide / tall).log()
    assert 0.07 < float(area.min()) < 0.15 and 0.85 < float(area.max()) <= 1.002 and 0.4 < float(area.mean()) < 0.6
    assert -0.3 < float(ratio.min()) < -0.2 and 0.2 < float(ratio.max()) < 0.3
    stored = Zoom()(x.byte(), Draw(keys, torch.zeros_like(keys)))
    assert stored.dtype == torch.uint8 and torch.equal(stored, found.round().byte())


def test_colour_is_three_factors() -> None:
    keys = torch.arange(50)
    x = torch.randint(90, 110, (50, 3, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draw = Draw(keys, torch.zeros_like(keys))
    found = Colour()(x, draw).float()
    b, c, s = (0.6 + 0.8 * draw.uniform(name, (1, 1, 1)) for name in ("brightness", "contrast", "saturation"))
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    v = b * x.float()
    mean = (v * weights).sum(dim=1).mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
    v = mean + c * (v - mean)
    grey = (v * weights).sum(dim=1, keepdim=True)
    assert torch.allclose(found, grey + s * (v - grey), atol=0.51)
    assert len(b.unique()) == 50 and float((b - c).abs().min()) > 0
    ends = 255 * torch.randint(2, (50, 3, 6, 7), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    v = (b * ends.float()).clamp(0, 255)
    mean = (v * weights).sum(dim=1).mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
    v = (mean + c * (v - mean)).clamp(0, 255)
    grey = (v * weights).sum(dim=1, keepdim=True)
    assert torch.allclose(Colour()(ends, draw).float(), (grey + s * (v - grey)).clamp(0, 255), atol=0.51)
    with pytest.raises(InputError, match=r"augmentation colour: inputs are torch\.float32, expected uint8"):
        Colour()(x.float(), draw)


@pytest.mark.parametrize("made", [Crop(), Flip(), Zoom(), Colour()])
def test_the_noise_is_the_rows_own(made: Augmentation) -> None:
    x = torch.randint(256, (9, 1, 16, 16), dtype=torch.uint8)
    whole, order = made(x, Draw(KEYS, STEP)), torch.randperm(9)
    assert torch.equal(made(x[order], Draw(KEYS[order], STEP[order])), whole[order])
    assert torch.equal(made(x[3:5], Draw(KEYS[3:5], STEP[3:5])), whole[3:5])
    assert not torch.equal(made(x, Draw(KEYS, STEP + 2)), whole)
    assert not torch.equal(made(x, Draw(KEYS + 1, STEP)), whole)


def test_by_name() -> None:
    assert augmentations("crop, flip,zoom,colour") == (Crop(), Flip(), Zoom(), Colour())
    assert augmentations("none") == augmentations("") == ()
    with pytest.raises(ConfigError, match="augmentation 'turn' is unknown: choose of crop, flip, zoom, colour"):
        augmentations("crop,turn")
    with pytest.raises(InputError, match="not of inputs \\[2, 64\\]"):
        augmented(torch.rand(2, 64), (Flip(),), Draw(KEYS[:2], STEP[:2]))
