"""Random resizing and padding: every size and margin comes up, and each is what torch's own resizing gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from holdfast.core.errors import ConfigError, InputError
from holdfast.defences.layers import ResizePad


def where(y: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of what is not zero in one image `[c, h, w]`."""
    there = (y != 0).any(dim=0)
    down, right = there.any(dim=1).nonzero().flatten(), there.any(dim=0).nonzero().flatten()
    return int(down[0]), int(right[0]), len(down), len(right)


@pytest.mark.parametrize(("kind", "mode"), [("nearest", "nearest-exact"), ("bilinear", "bilinear")])
@pytest.mark.parametrize("shape", [(3, 7, 7), (1, 1, 1), (2, 3, 8), (1, 9, 4)], ids=str)
def test_each_row_is_resized_and_put_somewhere(shape: tuple[int, ...], kind: str, mode: str) -> None:
    x = torch.rand(60, *shape, dtype=torch.float64) + 0.1
    y = ResizePad(12, kind)(x)
    assert y.shape == (60, shape[0], 12, 12)
    for image, given in zip(y, x, strict=True):
        top, left, high, wide = where(image)
        assert max(high, wide) in range(max(shape[1:]), 12)
        assert abs(min(high, wide) - max(high, wide) * min(shape[1:]) / max(shape[1:])) <= 0.5
        sizes: dict[str, object] = {"align_corners": False} if kind == "bilinear" else {}
        resized = interpolate(given.unsqueeze(0), (high, wide), mode=mode, **sizes)[0]  # type: ignore[arg-type]
        torch.testing.assert_close(image[:, top : top + high, left : left + wide], resized)
        assert int((image != 0).sum()) == resized.numel()


def test_sizes_and_margins_are_uniform() -> None:
    torch.manual_seed(0)
    y = ResizePad(6)(torch.ones(6000, 1, 3, 3))
    places = [where(image) for image in y]
    sizes = Counter(high for _, _, high, _ in places)
    assert set(sizes) == {3, 4, 5} and all(abs(count - 2000) < 160 for count in sizes.values())
    corners = Counter((top, left) for top, left, high, _ in places if high == 4)
    assert len(corners) == 9 and all(abs(count - 2000 / 9) < 70 for count in corners.values())


def test_what_lies_beside_the_image_is_the_value_and_what_fits_exactly_is_left() -> None:
    x = torch.rand(4, 2, 5, 5)
    assert torch.equal(ResizePad(5)(x), x)
    y = ResizePad(9, value=-2.0)(x)
    assert float(y.min()) == -2 and bool((y[y != -2] >= -1e-6).all())


def test_the_gradient_is_that_of_the_pixels_shown() -> None:
    x = torch.rand(3, 1, 4, 4, requires_grad=True)
    (g,) = torch.autograd.grad(ResizePad(7)(x).sum(), x)
    assert torch.equal(g, g.round()) and bool((g >= 1).all()), "nearest: how often a pixel is shown"


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: ResizePad(8, "cubic"), ConfigError, "expected nearest or bilinear"),
        (lambda: ResizePad(0), ConfigError, "side=0"),
        (lambda: ResizePad(8, value=float("inf")), ConfigError, "value=inf"),
        (lambda: ResizePad(8)(torch.rand(1, 1, 3, 9)), InputError, "3 by 9 pixels is larger than side=8"),
    ],
)
def test_what_cannot_be_padded(make: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
