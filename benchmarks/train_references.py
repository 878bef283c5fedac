"""Train the small nets that the references are made on: python benchmarks/train_references.py NAME ... (a plain script, no claim).

Adversarial training by one noisy gradient step (N-FGSM; de Jorge et al. 2022), or by a few projected ones; SGD with a one-cycle
rate, flips and shifts for photographs, the moving average of the weights kept. Weights go to benchmarks/references/NAME.safetensors
in half precision; whoever loads them has the rounded weights, as the references did.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from common import DATA, HERE
from nets import halved_preact, strided
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad


@dataclass(frozen=True)
class Recipe:
    """How one net is trained: `radius` of the training attack in the norm `power`, its `steps` (0: none), `epochs`, the peak `rate`."""

    net: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, Tensor]]
    radius: float
    power: float
    steps: int
    epochs: int
    rate: float
    photographs: bool


def mnist() -> tuple[Tensor, Tensor]:
    with np.load(DATA / "mnist" / "mnist.npz") as file:
        return torch.from_numpy(file["x_train"]).unsqueeze(1), torch.from_numpy(file["y_train"]).long()


def signs() -> tuple[Tensor, Tensor]:
    with np.load(DATA / "gtsrb" / "gtsrb32.npz") as file:
        return torch.from_numpy(file["x_train"]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(file["y_train"]).long()


def cifar10() -> tuple[Tensor, Tensor]:
    folder = DATA / "cifar10"
    strips = [np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3) for file in sorted(folder.glob("train_*.webp"))]
    x = torch.from_numpy(np.concatenate(strips)).permute(0, 3, 1, 2).contiguous()
    return x, torch.from_numpy(np.load(folder / "train_labels.npy")).long()


RECIPES = {
    "mnist_strided_l2": Recipe(lambda: strided(1, 10), mnist, 1.5, 2, 5, 4, 0.1, False),
    "gtsrb_strided_linf": Recipe(lambda: strided(3, 43), signs, 4 / 255, torch.inf, 3, 40, 0.1, False),
    "cifar10_preact24_linf": Recipe(halved_preact, cifar10, 8 / 255, torch.inf, 1, 11, 0.2, True),
}


def shifted(x: Tensor) -> Tensor:
    """Each image flipped by chance and moved by up to four pixels."""
    n, _, height, width = x.shape
    x = torch.where((torch.rand(n) < 0.5).reshape(-1, 1, 1, 1), x.flip(3), x)
    rows = torch.randint(9, (n, 1)) + torch.arange(height)
    columns = torch.randint(9, (n, 1)) + torch.arange(width)
    at = torch.arange(n).reshape(-1, 1, 1)
    return pad(x, (4, 4, 4, 4)).permute(0, 2, 3, 1)[at, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def attacked(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    """The inputs that the net is trained on."""
    radius = recipe.radius
    if recipe.power == 2:
        noise = torch.randn_like(x)
        start = noise / noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) * radius
        stride = 2.5 * radius / max(recipe.steps, 1)
    else:
        # N-FGSM: noise of twice the radius, a step of the radius, no projection; more steps are plain PGD.
        start = (torch.rand_like(x) * 2 - 1) * radius * (2 if recipe.steps == 1 else 1)
        stride = radius if recipe.steps == 1 else 2 * radius / max(recipe.steps, 1)
    delta = start
    for _ in range(recipe.steps):
        delta = delta.detach().requires_grad_()
        loss = cross_entropy(net((x + delta).clamp(0, 1)), y, reduction="sum")
        (g,) = torch.autograd.grad(loss, delta)
        delta = delta.detach()
        if recipe.power == 2:
            delta = delta + stride * g / g.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
            delta = delta * (radius / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1).reshape(-1, 1, 1, 1)
        else:
            delta = delta + stride * g.sign()
            delta = delta if recipe.steps == 1 else delta.clamp(-radius, radius)
    return (x + delta).clamp(0, 1)


def train(name: str, recipe: Recipe, batch: int = 128) -> None:
    torch.manual_seed(0)
    x, y = recipe.data()
    net = recipe.net().to(memory_format=torch.channels_last)
    kept = copy.deepcopy(net).eval()
    steps = recipe.epochs * (len(x) // batch)
    optimiser = torch.optim.SGD(net.parameters(), lr=recipe.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.3)
    done, begin = 0, time.time()
    for epoch in range(recipe.epochs):
        right = 0
        for rows in torch.randperm(len(x)).split(batch)[: len(x) // batch]:
            images = x[rows].float() / 255
            images = (shifted(images) if recipe.photographs else images).contiguous(memory_format=torch.channels_last)
            # Batch statistics in the attack too, as in the step it is for.
            images = attacked(net, images, y[rows], recipe)
            logits = net(images)
            loss = cross_entropy(logits, y[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done, right = done + 1, right + int((logits.argmax(1) == y[rows]).sum())
            share = min(0.995, done / (done + 10))
            with torch.no_grad():
                for old, new in zip(kept.state_dict().values(), net.state_dict().values(), strict=True):
                    old.copy_(new if not old.is_floating_point() else share * old + (1 - share) * new)
        print(f"{name}: epoch {epoch + 1}, {right / len(x):.3f} under the training attack, {time.time() - begin:.0f} s", flush=True)
        weights = {key: value.half() if value.is_floating_point() else value for key, value in kept.state_dict().items()}
        save_file({key: value.contiguous() for key, value in weights.items()}, str(HERE / "references" / f"{name}.safetensors"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    for chosen in parser.parse_args().names:
        train(chosen, RECIPES[chosen])
