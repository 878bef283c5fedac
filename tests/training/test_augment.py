"""Augmentations against literal loops over pixels, and their noise against the row alone."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.training.augment import Augmentation, Crop, Flip, augmentations, augmented

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


@pytest.mark.parametrize("made", [Crop(), Flip()])
def test_the_noise_is_the_rows_own(made: Augmentation) -> None:
    x = torch.rand(9, 1, 16, 16)
    whole, order = made(x, Draw(KEYS, STEP)), torch.randperm(9)
    assert torch.equal(made(x[order], Draw(KEYS[order], STEP[order])), whole[order])
    assert torch.equal(made(x[3:5], Draw(KEYS[3:5], STEP[3:5])), whole[3:5])
    assert not torch.equal(made(x, Draw(KEYS, STEP + 2)), whole)
    assert not torch.equal(made(x, Draw(KEYS + 1, STEP)), whole)


def test_by_name() -> None:
    assert augmentations("crop, flip") == (Crop(), Flip())
    assert augmentations("none") == augmentations("") == ()
    with pytest.raises(ConfigError, match="augmentation 'turn' is unknown: choose of crop, flip"):
        augmentations("crop,turn")
    with pytest.raises(InputError, match="not of inputs \\[2, 64\\]"):
        augmented(torch.rand(2, 64), (Flip(),), Draw(KEYS[:2], STEP[:2]))
