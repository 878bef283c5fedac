"""Our networks: they are the architectures of their papers, fit published weights, and take inputs however these lie in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError
from holdfast.models.bottlenecks import Bottleneck, resnet50, resnet101, resnet152, resnext101
from holdfast.models.load import load_net
from holdfast.models.nets import NETS, lenet5, mlp
from holdfast.models.resnets import BasicBlock, PreActivationBlock, Subsample, preact_resnet18, resnet20, wide_resnet

SMALL = {
    "lenet5": (lenet5, (1, 28, 28)),
    "mlp": (lambda: mlp(192, 10), (3, 8, 8)),
    "preact_resnet18": (lambda: preact_resnet18(width=8), (3, 32, 32)),
    "resnet101": (lambda: resnet101(10, width=4), (3, 32, 32)),
    "resnet152": (lambda: resnet152(10, width=4), (3, 32, 32)),
    "resnet20": (resnet20, (3, 32, 32)),
    "resnet50": (lambda: resnet50(10, width=4), (3, 32, 32)),
    "resnext101": (lambda: resnext101(10, width=8), (3, 32, 32)),
    "wide_resnet": (lambda: wide_resnet(10, 1), (3, 32, 32)),
}


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((net(x).argmax(dim=1) == y).double().mean())


def test_every_name_is_tried_here() -> None:
    assert SMALL.keys() == NETS.keys()


@pytest.mark.parametrize("name", SMALL)
def test_layout_in_memory_changes_nothing(name: str) -> None:
    make, shape = SMALL[name]
    net = make().eval().double()
    x = torch.rand(2, *shape, dtype=torch.float64)
    permuted = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    with torch.no_grad():
        assert net(x).shape == (2, 10)
        torch.testing.assert_close(net(permuted), net(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_rows_do_not_meet_in_eval_mode(name: str) -> None:
    make, shape = SMALL[name]
    net = make().eval().double()
    x = torch.rand(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("lenet5", (), 32 * 9 + 32 + 64 * 32 * 9 + 64 + 200 * 3136 + 200 + 2000 + 10),
        ("resnet20", (), 269_722),  # He et al. (2016), table 6: 0.27 M
        ("wide_resnet", (28, 10), 36_479_194),  # Zagoruyko and Komodakis (2016), table 4: 36.5 M
        ("wide_resnet", (40, 4), 8_949_210),  # the same table: 8.9 M
        ("preact_resnet18", (), 11_172_170),
        ("resnet50", (), 25_557_032),  # this and what follows: as torchvision counts them
        ("resnet101", (), 44_549_160),
        ("resnet152", (), 60_192_808),
        ("resnext101", (), 88_791_336),
    ],
)
def test_number_of_parameters(name: str, arguments: tuple[int, ...], count: int) -> None:
    with torch.device("meta"):
        net = NETS[name](*arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_mlp_is_the_formula() -> None:
    net = mlp(6, 4, hidden=(5,)).double()
    x = torch.rand(3, 2, 3, dtype=torch.float64)
    state = net.state_dict()
    hidden = (x.reshape(3, 6) @ state["linear1.weight"].T + state["linear1.bias"]).clamp(min=0)
    torch.testing.assert_close(net(x), hidden @ state["linear2.weight"].T + state["linear2.bias"])


def test_mlp_without_hidden_layers_is_affine() -> None:
    net = mlp(6, 4, hidden=()).double()
    x, y = torch.rand(2, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(net(x) + net(y), net(x + y) + net(torch.zeros_like(x)))


def test_subsample_takes_every_second_pixel_and_pads_both_sides() -> None:
    x = torch.rand(2, 4, 5, 6)
    y = Subsample(2, 2)(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


@pytest.mark.parametrize("block", [BasicBlock, PreActivationBlock])
def test_a_block_whose_branch_is_silent_is_its_shortcut(block: type[BasicBlock] | type[PreActivationBlock]) -> None:
    same = block(4, 4, 1).eval()
    last = same.bn2.weight if block is BasicBlock else same.conv2.weight
    nn.init.zeros_(last)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(same(x), x)


def test_a_bottleneck_starts_as_its_shortcut_and_has_torchvisions_names() -> None:
    x = torch.rand(2, 8, 6, 6)
    block = Bottleneck(8, 2, 1, 2, 1).eval()
    assert torch.equal(block(x), x)
    nn.init.ones_(block.bn3.weight)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
    torch.testing.assert_close(block(x), (x + block.bn3(block.conv3(inner))).relu())
    names = set(resnet50(width=4).state_dict())
    for name in (
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.downsample.1.bias",
        "layer3.5.conv2.weight",
        "layer4.2.bn3.weight",
        "fc.bias",
    ):
        assert name in names
    assert len(names) == 320


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: resnext101(width=4), "width=4: 16 channels do not fall into 32 groups; take a multiple of 8"),
        (lambda: mlp(0, 10), "features=0"),
        (lambda: mlp(4, 10, hidden=(3, -1)), "hidden width=-1"),
        (lambda: mlp(4, 10, hidden=3), "hidden=3"),  # type: ignore[arg-type]
        (lambda: mlp(4, 2.0), "classes=2.0"),  # type: ignore[arg-type]
        (lambda: wide_resnet(27), "depth=27.*nearest is 28"),
        (lambda: wide_resnet(4), "depth=4.*nearest is 10"),
        (lambda: wide_resnet(10, True), "widen=True"),
        (lambda: preact_resnet18(width=0), "width=0"),
        (lambda: resnet20(channels=-3), "channels=-3"),
        (lambda: lenet5(classes=0), "classes=0"),
    ],
)
def test_arguments_that_make_no_net(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=said):
        make()


# On the first 500 test images; over all of them the same nets have 98.89 %, 98.64 % and 91.95 %, as published.
@pytest.mark.parametrize(("weights", "right"), [("mnist_lenet5_clean", 495), ("mnist_lenet5_adv", 489)])
def test_lenet_fits_published_weights(data_dir: Path, weights: str, right: int) -> None:
    net = load_net("lenet5", data_dir / "models" / f"{weights}.safetensors")
    with np.load(data_dir / "mnist" / "mnist.npz") as file:
        x, y = torch.from_numpy(file["x_test"][:500, None]), torch.from_numpy(file["y_test"][:500])
    assert accuracy(net, x / 255, y) == pytest.approx(right / 500, abs=0.001)


def test_resnet_fits_published_weights(data_dir: Path) -> None:
    net = load_net("resnet20", data_dir / "models" / "cifar10_resnet20.safetensors")
    with np.load(data_dir / "cifar10" / "cifar10_test_2k.npz") as file:
        x, y = torch.from_numpy(file["x"][:500]).permute(0, 3, 1, 2), torch.from_numpy(file["y"][:500])
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert accuracy(net, (x / 255 - mean) / std, y) == pytest.approx(464 / 500, abs=0.003)
