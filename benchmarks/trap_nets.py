"""The nets behind the traps: trained in seconds, the same every time, their weights kept in a folder of the caller's choice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from common import DATA
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Nets:
    """Data as floats in [0, 1], and `fit`, which trains a net or reads what an earlier call trained from `cache`."""

    cache: Path
    n: int

    @cached_property
    def mnist(self) -> tuple[Pair, Pair]:
        """The first 20,000 training images with their labels, and the first `n` test images with theirs."""
        with np.load(DATA / "mnist" / "mnist.npz") as file:
            train, test = ((file[f"x_{split}"], file[f"y_{split}"]) for split in ("train", "test"))
        return _floats(train[0][:20000, None], train[1][:20000]), _floats(test[0][: self.n, None], test[1][: self.n])

    @cached_property
    def signs(self) -> tuple[Pair, Pair]:
        """Traffic signs of 43 kinds, likewise."""
        with np.load(DATA / "gtsrb" / "gtsrb32.npz") as file:
            train, test = ((file[f"x_{split}"].transpose(0, 3, 1, 2), file[f"y_{split}"]) for split in ("train", "test"))
        return _floats(*train), _floats(test[0][: self.n], test[1][: self.n])

    def fit(
        self, name: str, net: nn.Module, x: Tensor, y: Tensor, epochs: int = 2, temperature: float = 1.0, seed: int = 0, batch: int = 128
    ) -> nn.Module:
        """`net`, trained by Adam on the cross-entropy of its logits over `temperature`; `y` are labels or probabilities."""
        file = self.cache / f"{name}.safetensors"
        if file.exists():
            net.load_state_dict(load_file(file))
            return net.eval()
        draw = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # for nets that draw, and for their first weights
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * -(-len(x) // batch))
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=draw).split(batch):
                loss = cross_entropy(net(x[rows]) / temperature, y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        self.cache.mkdir(parents=True, exist_ok=True)
        save_file(net.state_dict(), file)
        return net.eval()


def _floats(x: np.ndarray, y: np.ndarray) -> Pair:
    return torch.from_numpy(np.ascontiguousarray(x)).float() / 255, torch.from_numpy(y).long()
