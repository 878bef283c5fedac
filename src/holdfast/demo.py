"""The demo's classifier: a small net trained on scikit-learn's bundled scans of handwritten digits, in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from holdfast.data import load_data
from holdfast.engine.noise import kept_generators
from holdfast.engine.snapshot import write_whole
from holdfast.models import Classifier, load_net

NET = "mlp(64, 10, hidden=(128, 128))"


def demo_classifier(folder: Path, say: Callable[[str], None], epochs: int = 60) -> Classifier:
    """A trained net for the embedded digits, kept in `folder` so that the same run can go on."""
    weights = folder / "digits.safetensors"
    if not weights.exists():
        say(f"training {NET} on 8×8 scans of handwritten digits")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(weights, save(_train(epochs).state_dict()))
    return Classifier(load_net(NET, weights), classes=10)


def _train(epochs: int) -> nn.Module:
    data = load_data("digits", split="train")
    with kept_generators(torch.device("cpu")):
        torch.manual_seed(0)
        net = load_net(NET)
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
        for _ in range(epochs):
            for rows in torch.randperm(len(data)).split(64):
                x = data.x[rows]
                noisy = (x + 0.15 * torch.randn_like(x)).clamp(0, 1)
                loss = nn.functional.cross_entropy(net(noisy), data.y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return net.eval()
