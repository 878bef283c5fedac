"""What a synthesis gives: images, how sure the model is of them, what they cost; and how a model's probabilities are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.rows import Rows
from holdfast.core.types import Access, Bounds, Model, Points, Verdict
from holdfast.engine import admit_model
from holdfast.engine.noise import drawn, kept_generators, model_noise
from holdfast.engine.pieces import Asker


@dataclass(frozen=True)
class Synthesised(Rows):
    """Images made from nothing, `[k, ...]`, and what the model says of them; every tensor is on the host.

    `target` `[k]` the class each was made for; `confidence` `[k]` the model's softmax probability of it, asked once more of the stored
    image (the mean of twenty asks of a stochastic model); `success` `[k]` whether that is as high as was wanted; `step` `[k]` the step,
    or generation, in which the image was found; `queries` `[k]` the forwards asked until then. `spent` holds, for each image, the totals
    of the whole synthesis: forwards and backwards as the model counted them.
    """

    images: Tensor
    target: Tensor
    confidence: Tensor
    success: Tensor
    step: Tensor
    queries: Tensor
    spent: Tensor

    @property
    def forwards(self) -> int:
        """Rows that the model was asked about in all, filled pieces and verification included."""
        return int(self.spent[0, 0])

    @property
    def backwards(self) -> int:
        """Rows whose gradient was asked in all."""
        return int(self.spent[0, 1])


def judged(
    model: Model, asker: Asker, images: Points, target: Tensor, step: Tensor, queries: Tensor, confidence: float, seed: int
) -> Synthesised:
    """The result: each image, as it will be stored, asked once more of the model itself."""
    verdict = Verdict.of(model)
    images = model.bounds.clamp(images)
    total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    for ask in range(verdict.asks):
        total = total + chances(model, asker, images, seed, ask, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    sure = (total / verdict.asks).cpu()
    spent = torch.tensor([[asker.forwards, asker.backwards]]).expand(len(images), 2).clone()
    return Synthesised(images.cpu(), target.cpu(), sure, sure >= confidence, step.cpu(), queries.cpu(), spent)


def chances(model: Model, asker: Asker, images: Points, seed: int, ask: int, purpose: int = 0) -> Tensor:
    """The softmax probabilities `[n, classes]` in double precision; −1 where the model answers NaN."""
    place = torch.arange(len(images), device=images.device)
    key, number = row_key(seed, place, torch.full_like(place, -3 - purpose)), torch.full_like(place, ask)
    with kept_generators(model.device), model_noise(model, seed, ask, purpose), torch.no_grad():
        out = asker.each(len(images), lambda rows: drawn(model, asker.pieces.arrange(images[rows].clone()), key[rows], number[rows]))
    return out.logits.double().softmax(dim=1).nan_to_num(nan=-1.0)


def admitted(model: Model, name: str, needs: Access, steps: int, confidence: float) -> None:
    """Raise unless the model lets a synthesis be made, and the numbers make sense."""
    admit_model(model, name, needs)
    if not isinstance(steps, int) or steps < 1:
        raise ConfigError(f"{name} with {steps} steps: expected a whole number of at least one")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence}: expected a probability between 0 and 1, both excluded, as in 0.9999")


def wanted(model: Model, asker: Asker, shape: tuple[int, ...], classes: Sequence[int] | None) -> Tensor:
    """The classes to make images for, on the host; all of the model when None. Asks the model one image, of the middle of its range."""
    try:
        middle = middle_of(model.bounds, torch.zeros(1, *shape, dtype=model.dtype, device=model.device))
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"shape={shape}: expected the sizes of one input, as in (3, 32, 32), fitting bounds {model.bounds}") from error
    count = chances(model, asker, middle, 0, 0, 2).shape[1]
    chosen = range(count) if classes is None else classes
    if not len(chosen) or any(not 0 <= one < count for one in chosen):
        raise ConfigError(f"classes={list(chosen)}: expected numbers from 0 to {count - 1}, at least one")
    return torch.tensor(list(chosen))


def middle_of(bounds: Bounds, like: Tensor) -> Tensor:
    """The middle of the valid range, shaped as `like` `[n, ...]`; the valid number nearest to zero where the range has no two ends."""
    if not bounds.finite:
        return bounds.clamp(torch.zeros_like(like))
    low, high = bounds.pair(like)
    return torch.zeros_like(like) + (low + high) / 2


def width_of(bounds: Bounds, like: Tensor) -> Tensor | float:
    """How wide the valid range is, ready to broadcast against `like` `[n, ...]`; 1 where it has no two ends."""
    low, high = bounds.pair(like)
    return high - low if bounds.finite else 1.0
