"""The random numbers of a stochastic model: seeded for each ask, and the caller's generators left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from holdfast.core.draw import row_key
from holdfast.core.types import Model


@contextmanager
def kept_generators(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the global generators are afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def model_noise(model: Model, seed: int, ask: int, purpose: int = 0) -> Iterator[None]:
    """Fresh noise for one ask of a stochastic model, the same whenever the same ask is made again; `purpose` 1 is verification."""
    if not model.stochastic:
        yield
        return
    with kept_generators(model.device):
        key = int(row_key(seed, torch.tensor([ask]), torch.tensor([purpose]))) & (2**63 - 1)
        # Only the generators that are kept: torch.manual_seed would move those of every device.
        torch.default_generator.manual_seed(key)
        if model.device.type == "cuda":
            with torch.cuda.device(model.device):
                torch.cuda.manual_seed(key)
        yield
