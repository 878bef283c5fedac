"""Each denoising operation is its sum over pixels, written out; the block begins as the identity."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.core.errors import ConfigError
from holdfast.defences.layers import OPERATIONS, Denoise, windows
from holdfast.defences.layers.denoise import WEIGHTED

SHAPES = [(2, 3, 5, 7), (1, 1, 1, 1), (2, 4, 2, 3), (1, 2, 1, 4), (1, 9, 3, 2)]
KINDS = [(name, embedded) for name in OPERATIONS for embedded in ((False, True) if name in WEIGHTED else (False,))]
Pair = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(params=["small", "large", "blocks"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways maps of different sizes go: as matrices, along lines, and of many images a few at a time."""
    if request.param != "small":
        monkeypatch.setattr(windows, "FEW", 0)
    if request.param == "blocks":
        monkeypatch.setattr(windows, "BLOCK", 1)


def window(i: tuple[int, int], high: int, wide: int) -> list[tuple[int, int]]:
    places = [(i[0] + down, i[1] + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return [(a, b) for a, b in places if 0 <= a < high and 0 <= b < wide]


def literal(operation: str, x: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
    """The operation as a loop over images, pixels and neighbours."""
    y = torch.zeros_like(x)
    n, c, high, wide = x.shape
    whole = [(a, b) for a in range(high) for b in range(wide)]
    for image in range(n):
        for i in whole:
            near = window(i, high, wide)
            xs, out = x[image], y[image, :, i[0], i[1]]
            if operation == "null":
                out.copy_(xs[:, i[0], i[1]])
            elif operation == "mean":
                out.copy_(sum(xs[:, a, b] for a, b in near) / len(near))  # type: ignore[arg-type]
            elif operation == "median":
                edge = [(min(max(i[0] + d, 0), high - 1), min(max(i[1] + r, 0), wide - 1)) for d in (-1, 0, 1) for r in (-1, 0, 1)]
                for feature in range(c):
                    out[feature] = sorted(float(xs[feature, a, b]) for a, b in edge)[4]
            else:
                region = near if operation.startswith("bilateral") else whole
                dots = [float(theta[image, :, i[0], i[1]] @ phi[image, :, a, b]) for a, b in region]
                gaussian = operation.endswith("gaussian")
                f = [math.exp(dot / math.sqrt(theta.shape[1])) for dot in dots] if gaussian else dots
                norm = sum(f) if gaussian else len(region)
                for weight, (a, b) in zip(f, region, strict=True):
                    out += weight * xs[:, a, b] / norm
    return y


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("operation", "embedded"), KINDS)
def test_operations_are_their_sums_over_pixels(operation: str, embedded: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    block = Denoise(shape[1], operation, embedded)
    x = torch.randn(shape)
    with torch.no_grad():
        if embedded:
            for embedding in (block.theta, block.phi):
                embedding.weight.normal_()  # its own start is so small that all weights would be alike
        keys = (block.theta(x), block.phi(x)) if embedded else (x, x)
        torch.testing.assert_close(block.smoothed(x), literal(operation, x, *keys), rtol=1e-5, atol=1e-5)
        still = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        torch.testing.assert_close(block.smoothed(still), block.smoothed(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("shape", [(1, 3, 3, 4), (2, 2, 1, 1), (1, 8, 2, 2)], ids=str)
@pytest.mark.parametrize(("operation", "embedded"), KINDS)
def test_gradients_are_right_twice(operation: str, embedded: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    block = Denoise(shape[1], operation, embedded).double().eval()
    torch.nn.init.ones_(block.bn.weight)
    for part in (block.theta, block.phi) if embedded else ():
        torch.nn.init.normal_(part.weight)  # as they start, their share of the gradient would be lost in its tolerance
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(block, (x,))


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_beside_the_image_weigh_nothing(shape: tuple[int, ...]) -> None:
    """Sums by weights of any kind: those of the operations are zero there, and could hide what reaches beyond the edge."""
    torch.manual_seed(2)
    n, _, high, wide = shape
    x, weights, expected = torch.randn(shape), torch.randn(n, 9, high, wide), torch.zeros(shape)
    for row, column in ((a, b) for a in range(high) for b in range(wide)):
        for place, (a, b) in enumerate((row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)):
            if 0 <= a < high and 0 <= b < wide:
                expected[:, :, row, column] += weights[:, place, row, column, None] * x[:, :, a, b]
    torch.testing.assert_close(windows.weighted(weights, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 3, 4), (2, 4, 9, 8)], ids=str)
@pytest.mark.parametrize(("operation", "embedded"), KINDS)
def test_in_mixed_precision_too(operation: str, embedded: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    block, x = Denoise(shape[1], operation, embedded), torch.randn(shape, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = block.smoothed(x)
    (g,) = torch.autograd.grad(y.float().square().sum(), x)
    whole = block.smoothed(x)
    (expected,) = torch.autograd.grad(whole.square().sum(), x)
    torch.testing.assert_close(y.float(), whole, rtol=0.05, atol=0.1)
    torch.testing.assert_close(g, expected, rtol=0.1, atol=0.2 * float(expected.abs().max()))


@pytest.mark.parametrize("shape", [(1, 3, 3, 4), (1, 3, 9, 8)], ids=str)
def test_what_comes_out_can_be_written_over(shape: tuple[int, ...]) -> None:
    x, weights = torch.randn(shape, requires_grad=True), torch.randn(1, 9, *shape[2:])
    for y in (windows.summed(x), windows.weighted(weights, x), windows.products(x, x)):
        positive = y.detach() > 0
        (g,) = torch.autograd.grad(y.relu_().sum(), x, retain_graph=True)
        assert bool(positive.any()) and bool(g.any())


def test_keys_may_be_wider_than_what_they_weigh() -> None:
    torch.manual_seed(4)
    x, theta, phi = torch.randn(1, 2, 3, 3), torch.randn(1, 12, 3, 3), torch.randn(1, 12, 3, 3)
    for name in WEIGHTED:
        torch.testing.assert_close(WEIGHTED[name](x, theta, phi), literal(name, x, theta, phi), rtol=1e-5, atol=1e-5)


def test_ties_share_the_medians_gradient() -> None:
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    (g,) = torch.autograd.grad(Denoise(1, "median").smoothed(x)[0, 0, 1, 1], x)
    torch.testing.assert_close(g, torch.full_like(g, 1 / 9))
    x = torch.arange(9.0).reshape(1, 1, 3, 3).requires_grad_()
    (g,) = torch.autograd.grad(Denoise(1, "median").smoothed(x)[0, 0, 1, 1], x)
    assert g.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_block_begins_as_the_identity_and_is_not_held_there(operation: str) -> None:
    x = torch.rand(3, 4, 5, 6)
    block = Denoise(4, operation)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert bool((block.bn.weight.grad != 0).all()), "γ learns"
    torch.nn.init.ones_(block.bn.weight)
    block.eval()
    with torch.no_grad():
        expected = x + block.bn(block.conv(block.smoothed(x)))
        torch.testing.assert_close(block(x), expected)
        assert not torch.equal(block(x), x)
        torch.testing.assert_close(block(x[1:2]), block(x)[1:2], rtol=1e-5, atol=1e-6)


def test_the_dot_product_costs_no_map_of_pixels() -> None:
    """Both orders of the product are the same operation; 64 × 64 pixels would need 16 million weights."""
    x, kept = torch.randn(1, 3, 64, 64, dtype=torch.float64, requires_grad=True), [0]

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = Denoise(3, "nonlocal_dot").smoothed(x)
    assert 0 < max(kept) <= x.numel()
    flat = x.flatten(2)
    torch.testing.assert_close(found, (flat @ (flat.transpose(1, 2) @ flat) / 4096).reshape(x.shape))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Denoise(4, "nonlocal_gausian"), "did you mean nonlocal_gaussian"),
        (lambda: Denoise(4, "median", embedded=True), "median has no weights"),
        (lambda: Denoise(0), "channels=0"),
    ],
)
def test_what_is_no_block(make: Callable[[], Denoise], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
