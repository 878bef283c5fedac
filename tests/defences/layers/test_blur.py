"""Blurs are averages of their neighbourhood, filters one for each channel, penalties their sums written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.defences.layers import Blur, Depthwise, filter_penalty, variation_penalty
from holdfast.parts.views import Blurred


def literal(x: Tensor, filters: Tensor) -> Tensor:
    """Every channel under its own of `filters` `[c, s, s]`, zero beside the image, as loops."""
    y, half = torch.zeros_like(x), filters.shape[1] // 2
    for channel in range(x.shape[1]):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                for a in range(filters.shape[1]):
                    for b in range(filters.shape[2]):
                        if 0 <= i + a - half < x.shape[2] and 0 <= j + b - half < x.shape[3]:
                            y[:, channel, i, j] += filters[channel, a, b] * x[:, channel, i + a - half, j + b - half]
    return y


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (1, 1, 1, 1), (1, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_filters_are_sums_over_neighbours(size: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    box = torch.full((shape[1], size, size), 1 / size**2)
    torch.testing.assert_close(Blur(size)(x), literal(x, box))
    learned = Depthwise(shape[1], size)
    torch.testing.assert_close(learned(x), literal(x, box))
    with torch.no_grad():
        learned.weight.normal_()
        torch.testing.assert_close(learned(x), literal(x, learned.weight[:, 0]), rtol=1e-5, atol=1e-5)
    gaussian = Blur(size, "gaussian")
    torch.testing.assert_close(gaussian(x), literal(x, gaussian.weight[0].expand(shape[1], -1, -1)))


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_gaussian_is_symmetric_sums_to_one_and_falls(size: int) -> None:
    weight = Blur(size, "gaussian").weight[0, 0]
    assert float(weight.sum()) == pytest.approx(1)
    assert torch.equal(weight, weight.T) and torch.equal(weight, weight.flip(0))
    middle = weight[size // 2]
    assert bool((middle.diff()[: size // 2] > 0).all())
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    assert float(middle[0] / middle[size // 2]) == pytest.approx(float(torch.tensor(-((size // 2) ** 2) / (2 * sigma**2)).exp()), rel=1e-5)


def test_a_gaussian_is_that_of_the_view_away_from_the_border() -> None:
    x = torch.rand(1, 1, 21, 21)
    seen = Blurred(0.5).seen(x, None)  # type: ignore[arg-type]
    weight = torch.exp(-torch.arange(-3.0, 4).square() / (2 * 0.25))
    weight = weight / weight.sum()
    blur = Blur(7, "gaussian")
    blur.weight.copy_(torch.outer(weight, weight))
    torch.testing.assert_close(blur(x)[..., 3:-3, 3:-3], seen[..., 3:-3, 3:-3], rtol=1e-5, atol=1e-6)


def test_a_fixed_blur_is_no_weight_and_follows_the_net() -> None:
    blur = Blur(5)
    assert not blur.state_dict() and not list(blur.parameters())
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    assert blur.double()(x).dtype == torch.float64


def test_penalties_are_their_sums() -> None:
    torch.manual_seed(0)
    filters, maps = torch.randn(4, 1, 3, 3), torch.randn(2, 3, 5, 4)
    assert float(filter_penalty(filters)) == pytest.approx(sum(float(one.abs().max()) for one in filters) / 4)
    total = 0.0
    for image in maps:
        for f in image:
            total += sum(abs(float(f[i + 1, j] - f[i, j])) for i in range(4) for j in range(4))
            total += sum(abs(float(f[i, j + 1] - f[i, j])) for i in range(5) for j in range(3))
    assert float(variation_penalty(maps)) == pytest.approx(total / 6, rel=1e-5)
    assert float(variation_penalty(torch.rand(2, 3, 1, 1))) == 0


def test_of_filters_with_the_same_sum_the_even_one_costs_least() -> None:
    even = Depthwise(1, 3).weight.detach()
    for _ in range(10):
        other = torch.rand_like(even)
        assert float(filter_penalty(even)) < float(filter_penalty(other / other.sum()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Blur(4), "size=4: a filter has a middle, so its size is odd: 3 or 5"),
        (lambda: Blur(0), "size=0"),
        (lambda: Blur(3, "median"), "expected box or gaussian"),
        (lambda: Depthwise(2, 2), "size=2"),
        (lambda: Depthwise(0, 3), "channels=0"),
    ],
)
def test_what_is_no_filter(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
