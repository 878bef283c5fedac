"""Twenty-six small classifiers, each with the threats it is judged under: python benchmarks/reference_models.py NAME ... trains them.

A plain script, no claim. Half of the models are for choosing constants (`train`), the other half is for judging (`test`); they take turns
in the list, so each half has every data set and every norm. Weights (at most 100 KB, half precision) go to
references/models/NAME.safetensors; whoever loads them has the rounded weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from common import DATA, HERE
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast import Classifier, load_data
from holdfast.attacks.short import parse_threat
from holdfast.core.types import Threat
from holdfast.training import Recipe, objectives, train
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy

FOLDER = HERE / "references" / "models"


def plain(channels: int, side: int, classes: int, widths: tuple[int, ...], act: type[nn.Module] = nn.ReLU, norm: str = "none",
          pool: str = "stride", kernel: int = 3, dropout: float = 0.0, hidden: int = 0) -> nn.Sequential:  # fmt: skip
    """Convolutions that halve the map by stride or pool, with a norm and an activation, then one or two linear layers."""
    layers: list[nn.Module] = []
    inside = channels
    for width in widths:
        stride = 2 if pool == "stride" else 1
        layers.append(nn.Conv2d(inside, width, kernel, stride, kernel // 2))
        layers += [nn.BatchNorm2d(width)] if norm == "batch" else [nn.GroupNorm(4, width)] if norm == "group" else []
        layers.append(act())
        layers += {"stride": [], "max": [nn.MaxPool2d(2)], "average": [nn.AvgPool2d(2)]}[pool]
        layers += [nn.Dropout(dropout)] if dropout else []
        inside, side = width, -(-side // 2) if pool == "stride" else side // 2
    size = inside * side * side
    layers.append(nn.Flatten())
    if hidden:
        layers += [nn.Linear(size, hidden), act()] + ([nn.Dropout(dropout)] if dropout else [])
        size = hidden
    return nn.Sequential(*layers, nn.Linear(size, classes))


def dense(values: int, classes: int, widths: tuple[int, ...], act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers alone."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(values, width), act()]
        values = width
    return nn.Sequential(*layers, nn.Linear(values, classes))


class Patches(nn.Module):
    """A small vision transformer."""

    def __init__(self, channels: int, side: int, patch: int, classes: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))


class Residual(nn.Module):
    """Three stages of one residual block with batch norm, then the mean over places."""

    def __init__(self, channels: int, classes: int, width: int = 11) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks, self.turns = nn.ModuleList(), nn.ModuleList()
        for stage in range(3):
            wide = width * 2**stage
            block = [nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, wide, 3, 1, 1)]
            self.blocks.append(nn.Sequential(*block))
            self.turns.append(nn.Conv2d(wide, 2 * wide, 1, 2) if stage < 2 else nn.Identity())
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, turn in zip(self.blocks, self.turns, strict=True):
            x = turn(torch.relu(x + block(x)))
        return self.head(x.mean(dim=(2, 3)))


@dataclass(frozen=True)
class Interval(Objective):
    """Interval bound propagation (Gowal et al. 2018) through a Sequential: cross-entropy of the worst logits, after a warm-up."""

    radius: float
    ramp: int = 600

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        assert isinstance(model.net, nn.Sequential)
        share = min(1.0, float(lesson.step.float().mean()) / self.ramp)
        middle, reach = lesson.x, torch.full_like(lesson.x, share * self.radius)
        for layer in model.net:
            if isinstance(layer, nn.Conv2d):
                middle = layer(middle)
                reach = nn.functional.conv2d(reach, layer.weight.abs(), None, layer.stride, layer.padding)
            elif isinstance(layer, nn.Linear):
                middle, reach = layer(middle), nn.functional.linear(reach, layer.weight.abs())
            elif isinstance(layer, nn.Flatten):
                middle, reach = layer(middle), layer(reach)
            else:
                low, high = layer(middle - reach), layer(middle + reach)
                middle, reach = (low + high) / 2, (high - low) / 2
        own = nn.functional.one_hot(lesson.y, middle.shape[1]).bool()
        worst = torch.where(own, middle - reach, middle + reach)
        return (1 - share / 2) * entropy(model(lesson.x).logits, lesson.y) + share / 2 * entropy(worst, lesson.y)


Pair = tuple[Tensor, Tensor]


@cache
def mnist() -> tuple[Pair, Pair]:
    """Training and test images, uint8 `[n, 1, 28, 28]`, and labels."""
    with np.load(DATA / "mnist" / "mnist.npz") as file:
        train, test = (
            (torch.from_numpy(file[f"x_{one}"]).unsqueeze(1), torch.from_numpy(file[f"y_{one}"]).long()) for one in ("train", "test")
        )
    return (train[0][:10000], train[1][:10000]), test


@cache
def cifar10() -> tuple[Pair, Pair]:
    folder = DATA / "cifar10"
    strips = [np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3) for file in sorted(folder.glob("train_*.webp"))[:20]]
    x = torch.from_numpy(np.concatenate(strips)).permute(0, 3, 1, 2).contiguous()
    with np.load(folder / "cifar10_test_2k.npz") as file:
        test = torch.from_numpy(file["x"]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(file["y"]).long()
    return (x, torch.from_numpy(np.load(folder / "train_labels.npy")[: len(x)]).long()), test


@cache
def signs() -> tuple[Pair, Pair]:
    with np.load(DATA / "gtsrb" / "gtsrb32.npz") as file:
        train, test = (
            (torch.from_numpy(file[f"x_{one}"]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(file[f"y_{one}"]).long())
            for one in ("train", "test")
        )
    order = torch.randperm(len(test[0]), generator=torch.Generator().manual_seed(0))
    return train, (test[0][order], test[1][order])


@cache
def digits() -> tuple[Pair, Pair]:
    train, test = (load_data("digits", split=one) for one in ("train", "test"))
    return (train.x, train.y), (test.x, test.y)


@dataclass(frozen=True)
class Reference:
    """A model: how it is built and trained (`objective`, `epochs`, `rate`), its data, and the `threats` it is judged under."""

    build: Callable[[], nn.Module]
    data: Callable[[], tuple[Pair, Pair]]
    objective: Callable[[], Objective]
    threats: tuple[str, ...]
    epochs: int
    rate: float = 0.05
    classes: int = 10
    optimiser: str = "sgd"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def model(self, name: str) -> Classifier:
        net = self.build()
        net.load_state_dict(load_file(str(FOLDER / f"{name}.safetensors")))
        return Classifier(net.eval(), self.classes, mean=self.mean, std=self.std)

    def images(self, n: int) -> Pair:
        """The first `n` test images as floats in [0, 1], and their labels."""
        x, y = self.data()[1]
        return (x[:n].float() / 255 if x.dtype == torch.uint8 else x[:n]), y[:n]


def threat(text: str) -> Threat:
    return parse_threat(text)


def trades(text: str, beta: float = 6.0) -> Callable[[], Objective]:
    return lambda: objectives.trades(threat(text), beta, steps=5)


def pgd(text: str, steps: int = 5) -> Callable[[], Objective]:
    return lambda: objectives.pgd(threat(text), steps=steps)


NORMAL: dict[str, Any] = {"mean": (0.49, 0.48, 0.45), "std": (0.25, 0.24, 0.26)}
m = partial(plain, 1, 28, 10)
c = partial(plain, 3, 32, 10)
s = partial(plain, 3, 32, 43)

ADAM: dict[str, Any] = {"rate": 2e-3, "optimiser": "adamw"}
REFERENCES: dict[str, Reference] = {
    # MNIST
    "mnist_shallow_trades_l2": Reference(lambda: m((16, 32), kernel=5), mnist, trades("l2:1"), ("l2:1", "l2:2"), 8),
    "mnist_max_pool_pgd": Reference(
        lambda: m((12, 24), pool="max", hidden=24), mnist, pgd("linf:0.1"), ("linf:0.05", "linf:0.1"), 14, **ADAM,
    ),
    "mnist_mlp_pgd": Reference(lambda: dense(784, 10, (48, 48)), mnist, pgd("linf:0.1"), ("linf:0.1", "l1:5"), 12),
    "mnist_attention_trades": Reference(lambda: Patches(1, 28, 7, 10), mnist, trades("linf:0.15"), ("linf:0.1", "l2:1.5"), 8, **ADAM),
    "mnist_batch_norm_nfgsm": Reference(
        lambda: m((12, 24, 48), norm="batch"), mnist, lambda: objectives.nfgsm(threat("linf:0.2")), ("linf:0.2", "l2:2"), 14,
    ),
    "mnist_tanh_awp": Reference(
        lambda: m((12, 24), act=nn.Tanh, hidden=24), mnist, lambda: objectives.awp(objectives.trades(threat("linf:0.2"), steps=5)), ("linf:0.1", "linf:0.2"), 6,
    ),
    "mnist_interval": Reference(
        lambda: m((12, 24), kernel=5, hidden=32), mnist, lambda: Interval(0.1, 2500), ("linf:0.05", "linf:0.1"), 26, rate=1e-3, optimiser="adamw",
    ),
    "mnist_distilled": Reference(
        lambda: m((12, 24), hidden=24), mnist, lambda: objectives.distillation(20.0), ("linf:0.05", "l2:1"), 8, **ADAM,
    ),
    "mnist_dropout": Reference(
        lambda: m((12, 24), pool="max", dropout=0.3, hidden=32), mnist, objectives.standard, ("linf:0.05", "l2:0.75"), 10, **ADAM,
    ),
    "mnist_stability": Reference(
        lambda: m((8, 16, 32), hidden=32), mnist, lambda: objectives.stability(1.0, 0.2), ("linf:0.05", "l1:5"), 8, **ADAM,
    ),
    "mnist_gelu_pgd_l2": Reference(lambda: m((12, 24), act=nn.GELU, pool="average"), mnist, pgd("l2:1.5"), ("l2:1.5", "l1:10"), 8),
    "mnist_wide_mart_l2": Reference(
        lambda: m((22,), kernel=7, pool="max"), mnist, lambda: objectives.mart(threat("l2:1"), steps=5), ("l2:0.5", "l2:1"), 4, **ADAM,
    ),
    # CIFAR-10
    "cifar_batch_norm_nfgsm": Reference(
        lambda: c((24, 32, 48, 52), norm="batch"), cifar10, lambda: objectives.nfgsm(threat("linf:8/255")), ("linf:4/255", "linf:8/255"), 14, 0.1, **NORMAL,
    ),
    "cifar_silu_pgd_l2": Reference(lambda: c((24, 32, 48), act=nn.SiLU, norm="group"), cifar10, pgd("l2:0.5", 3), ("l2:0.5", "l2:1"), 8),
    "cifar_residual": Reference(lambda: Residual(3, 10), cifar10, objectives.standard, ("linf:1/255", "l2:0.25"), 20, 0.1, **NORMAL),
    "cifar_attention_trades": Reference(
        lambda: Patches(3, 32, 4, 10, 40), cifar10, lambda: objectives.trades(threat("linf:4/255"), steps=3), ("linf:4/255", "l1:5"), 3, **ADAM,
    ),
    "cifar_max_pool_mart": Reference(
        lambda: c((16, 24, 32), pool="max"), cifar10, lambda: objectives.mart(threat("linf:8/255"), steps=3), ("linf:4/255", "l1:8"), 8, **ADAM,
    ),
    "cifar_no_norm_trades_l2": Reference(
        lambda: c((20, 36), kernel=5), cifar10, lambda: objectives.trades(threat("l2:0.5"), steps=3), ("l2:0.5", "l2:0.25"), 8, **ADAM,
    ),
    # Traffic signs
    "signs_batch_norm_nfgsm": Reference(
        lambda: s((16, 24, 32), norm="batch"), signs, lambda: objectives.nfgsm(threat("linf:4/255")), ("linf:4/255", "linf:8/255"), 40, 0.1, 43,
    ),
    "signs_trades_l2": Reference(
        lambda: s((16, 24, 28), kernel=5), signs, lambda: objectives.trades(threat("l2:0.5"), steps=4), ("l2:0.5", "l2:1"), 20, **ADAM, classes=43,
    ),
    "signs_dropout": Reference(
        lambda: s((16, 24, 32), pool="max", dropout=0.2), signs, objectives.standard, ("linf:1/255", "l1:5"), 25, **ADAM, classes=43,
    ),
    "signs_gelu_awp": Reference(
        lambda: s((16, 24, 32), act=nn.GELU, norm="group"), signs, lambda: objectives.awp(objectives.pgd(threat("linf:8/255"), steps=4)), ("linf:4/255", "linf:8/255"), 25, **ADAM, classes=43,
    ),
    # Digits
    "digits_mlp_pgd": Reference(lambda: dense(64, 10, (96, 96)), digits, pgd("linf:0.15"), ("linf:0.1", "linf:0.2"), 60),
    "digits_trades_l2": Reference(lambda: plain(1, 8, 10, (24, 48)), digits, trades("l2:0.5"), ("l2:0.5", "l2:1"), 60),
    "digits_silu": Reference(lambda: dense(64, 10, (96, 96), nn.SiLU), digits, objectives.standard, ("linf:0.1", "l1:1.5"), 60, **ADAM),
    "digits_attention_pgd": Reference(lambda: Patches(1, 8, 2, 10), digits, pgd("linf:0.1"), ("linf:0.1", "l2:0.7"), 60, **ADAM),
}  # fmt: skip
NAMES = list(REFERENCES)
TRAIN, TEST = NAMES[::2], NAMES[1::2]


def build(name: str) -> None:
    one, begin = REFERENCES[name], time.time()
    torch.manual_seed(NAMES.index(name))
    net = one.build().eval()
    recipe = Recipe(one.objective(), epochs=one.epochs, rate=one.rate, optimiser=one.optimiser, clip=1.0, average=0.99)
    train(Classifier(net, one.classes, mean=one.mean, std=one.std), one.data()[0], recipe, held=200, seed=0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half() if value.is_floating_point() else value for key, value in net.state_dict().items()}
    save_file({key: value.contiguous() for key, value in weights.items()}, str(FOLDER / f"{name}.safetensors"))
    model, (x, y) = one.model(name), one.images(500)
    with torch.no_grad():
        clean = (model(x).logits.argmax(1) == y).double().mean().item()
    size = (FOLDER / f"{name}.safetensors").stat().st_size
    print(f"{name}: clean {clean:.3f}, {size / 1e3:.0f} kB, {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    torch.set_num_threads(1)
    for chosen in parser.parse_args().names:
        build(chosen)
