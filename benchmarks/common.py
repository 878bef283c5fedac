"""What every benchmark shares: data and nets, interleaved timing, the record table."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from holdfast import Classifier
from holdfast.models import load_net

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
DATA = Path(os.environ.get("HOLDFAST_DATA", REPOSITORY.parent / "shared" / "data"))
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEADER = "| record | hardware | torch | n | median (min–max) | ratio to bare loop/peer | commit |\n|---|---|---|---|---|---|---|\n"


class Normalised(nn.Module):
    """A net with its normalisation inside: what tools that know of none are given, and what judges everybody's outputs."""

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


@dataclass(frozen=True)
class Case:
    """A pretrained net with its test images: `plain` takes inputs in [0, 1], `model` is the same net as Holdfast takes it."""

    name: str
    plain: nn.Module
    model: Classifier
    x: Tensor
    y: Tensor
    epsilon: float


def case(name: str, n: int) -> Case:
    """`mnist_lenet5_adv`, `mnist_lenet5_clean` or `cifar10_resnet20`, with its first `n` test images as floats `[n, c, h, w]`."""
    file = DATA / "models" / f"{name}.safetensors"
    if name.startswith("mnist"):
        net, (x, y) = load_net("lenet5", file), mnist(n)
        return Case(name, net, Classifier(net, 10), x.float() / 255, y, 0.3)
    net, (x, y) = load_net("resnet20", file), cifar10(n)
    plain = Normalised(net, CIFAR_MEAN, CIFAR_STD).eval()
    return Case(name, plain, Classifier(net, 10, mean=CIFAR_MEAN, std=CIFAR_STD), x.float() / 255, y, 8 / 255)


def mnist(n: int) -> tuple[Tensor, Tensor]:
    """The first `n` test images, uint8 `[n, 1, 28, 28]`, and labels."""
    with np.load(DATA / "mnist" / "mnist.npz") as file:
        return torch.from_numpy(file["x_test"][:n]).unsqueeze(1), torch.from_numpy(file["y_test"][:n]).long()


def cifar10(n: int) -> tuple[Tensor, Tensor]:
    """The first `n` of 2000 test images, uint8 `[n, 3, 32, 32]`, and labels."""
    with np.load(DATA / "cifar10" / "cifar10_test_2k.npz") as file:
        x = torch.from_numpy(file["x"][:n]).permute(0, 3, 1, 2).contiguous()
        return x, torch.from_numpy(file["y"][:n]).long()


def training_images(name: str, n: int) -> Tensor:
    """The first `n` training images of a case's data, floats `[n, c, h, w]`."""
    if name.startswith("mnist"):
        with np.load(DATA / "mnist" / "mnist.npz") as file:
            return torch.from_numpy(file["x_train"][:n]).unsqueeze(1).float() / 255
    strips = [Image.open(DATA / "cifar10" / f"train_{i:02d}.webp").convert("RGB") for i in range(-(-n // 500))]
    pixels = np.concatenate([np.asarray(strip).reshape(-1, 32, 32, 3) for strip in strips])[:n]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255


def signs(split: str) -> tuple[Tensor, Tensor]:
    """Traffic signs of 43 classes (`train` or `test`), floats `[n, 3, 32, 32]`, and labels; class 14 is stop."""
    with np.load(DATA / "gtsrb" / "gtsrb32.npz") as file:
        return torch.from_numpy(file[f"x_{split}"]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(file[f"y_{split}"]).long()


def stop_photographs(side: int) -> Tensor:
    """Twenty photographs of stop signs, averaged down to `side`: floats `[20, 3, side, side]`."""
    with np.load(DATA / "stop_signs" / "stop_photos_256.npz") as file:
        return interpolate(torch.from_numpy(file["x"]).permute(0, 3, 1, 2).float() / 255, (side, side), mode="area")


@torch.no_grad()
def predict(net: nn.Module, x: Tensor, piece: int = 500) -> Tensor:
    return torch.cat([net(part).argmax(dim=1) for part in x.split(piece)])


def right_ones(one: Case, n: int) -> Case:
    """The first `n` images that the net classifies right."""
    index = (predict(one.plain, one.x) == one.y).nonzero().squeeze(1)[:n]
    return Case(one.name, one.plain, one.model, one.x[index], one.y[index], one.epsilon)


def robust(net: nn.Module, x: Tensor, y: Tensor, adversarial: Tensor, epsilon: float) -> float:
    """The share of images that `net` still classifies right in a tool's output; a point outside the L∞ ball or [0, 1] breaks nothing."""
    inside = ((adversarial - x).abs() <= epsilon + 2e-6).flatten(1).all(dim=1)
    valid = ((adversarial >= -1e-6) & (adversarial <= 1 + 1e-6)).flatten(1).all(dim=1)
    allowed = (inside & valid).reshape(-1, *[1] * (x.ndim - 1))
    return (predict(net, torch.where(allowed, adversarial, x)) == y).double().mean().item()


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True, timer: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call in each of `rounds`, taken in turn (each round begins with another); one warm-up of each is left out."""
    if warm:
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(clock(calls[name], timer))
    return seconds


def clock(call: Callable[[], object], timer: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call by the `timer`, the device's queue emptied before and after."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = timer()
    call()
    wait()
    return timer() - begin


def paired(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of the same round, which a slow drift of the machine does not touch."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def hardware(device: str = "cpu") -> str:
    if device != "cpu":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {torch.get_num_threads()} threads"


def commit() -> str:
    """The short hash, with + where tracked files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "--no-optional-locks", "-C", str(REPOSITORY), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    short = git("rev-parse", "--short", "HEAD")
    return (short + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")) or "none"


def span(values: list[float], unit: str = "s") -> str:
    """median (min–max)."""
    middle, least, most = (f"{v:.4g}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} {unit}" if len(values) == 1 else f"{middle} {unit} ({least}–{most})"


@dataclass
class Sheet:
    """Collects a script's rows, prints them, and with --record appends them to RECORDS.md; a missed bar makes the exit status 1."""

    record: bool
    device: str = "cpu"
    missed: list[str] = field(default_factory=list)

    def row(self, name: str, n: int, value: str, ratio: str = "", bar: str = "", met: bool = True) -> None:
        """One row; `bar` is said beside the ratio, with whether it was `met`."""
        said = ratio + (f"; bar {bar}: {'met' if met else 'MISSED'}" if bar else "")
        line = f"| {name} | {hardware(self.device)} | {torch.__version__} | {n} | {value} | {said} | {commit()} |"
        print(line, flush=True)
        if not met:
            self.missed.append(name)
        if self.record:
            file = HERE / "RECORDS.md"
            before = file.read_text() if file.exists() else "# Records\n\n" + HEADER
            file.write_text(before + line + "\n")

    def close(self) -> None:
        sys.exit(f"bars missed: {', '.join(self.missed)}" if self.missed else 0)


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options every script has; stops, saying why, where the shared data are not there."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="append the rows to RECORDS.md")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run? (its bars mean nothing)")
    if not DATA.is_dir():
        parser.exit(0, f"skipped: no data in {DATA}; set HOLDFAST_DATA to the folder with mnist/, cifar10/ and models/\n")
    return parser
