"""The random numbers of a stochastic model: keyed by row where it takes them so, else seeded for each ask; the caller's generators are
left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.core.types import Keyed, Model, Out

VERIFIED, ROUNDED = 1 << 40, 1 << 41
"""Where the numbers of such asks begin: verification sees no noise that search has seen."""


def drawn(model: Model, x: Tensor, key: Tensor, number: Tensor) -> Out:
    """The answer to `x` `[n, ...]`: of a keyed model under the noise of each row's `key` and the `number` of its ask, both `[n]`."""
    return model.drawn(x, Draw(key, number)) if model.stochastic and isinstance(model, Keyed) else model(x)


def by_place(model: Model, x: Tensor, number: int = 0, seed: int = 0) -> Out:
    """The answer to `x` `[n, ...]` asked outside a run: a keyed model's noise follows from each row's place and the `number` of the ask."""
    place = torch.arange(len(x), device=x.device)
    return drawn(model, x, row_key(seed, place, torch.full_like(place, -3)), torch.full_like(place, number))


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
    with seeded_generators(model.device, seed, ask, purpose):
        yield


@contextmanager
def seeded_generators(device: torch.device, seed: int, ask: int, purpose: int) -> Iterator[None]:
    """Inside, the global generators begin where `seed`, `ask` and `purpose` say; afterwards they are as they were."""
    with kept_generators(device):
        key = int(row_key(seed, torch.tensor([ask]), torch.tensor([purpose]))) & (2**63 - 1)
        # Only the generators that are kept: torch.manual_seed would move those of every device.
        torch.default_generator.manual_seed(key)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(key)
        yield
