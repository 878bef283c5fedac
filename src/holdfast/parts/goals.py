"""Goals over classes: untargeted and targeted misclassification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.types import Batch, Goal, Mask, Out, PerRow


def best_other(logits: Tensor, index: Tensor) -> Tensor:
    """The largest logit but the one at `index` `[n]`: `[n]`."""
    return logits.scatter(1, index.unsqueeze(1), -torch.inf).amax(dim=1)


def at(logits: Tensor, index: Tensor) -> Tensor:
    """The logit at `index` `[n]`: `[n]`."""
    return logits.gather(1, index.unsqueeze(1)).squeeze(1)


def _sure(fooled: Mask, margin: PerRow, confidence: float) -> Mask:
    """`fooled` where the margin is a number (it is none for NaN and for ∞ − ∞), and at least `confidence` where that is asked for."""
    return fooled & (margin >= confidence if confidence else ~margin.isnan())


@dataclass(frozen=True)
class Untargeted(Goal):
    """Any class but the label, by a margin of at least `confidence` (in logits).

    wrong: argmax z ≠ y and, where κ > 0, margin ≥ κ;  margin: max_{j≠y} z_j − z_y.
    """

    confidence: float = 0.0

    def wrong(self, out: Out, batch: Batch) -> Mask:
        return _sure(out.logits.argmax(dim=1) != batch.y, self.margin(out, batch), self.confidence)

    def margin(self, out: Out, batch: Batch) -> PerRow:
        return best_other(out.logits, batch.y) - at(out.logits, batch.y)


@dataclass(frozen=True)
class Targeted(Goal):
    """One given class, by a margin of at least `confidence`; where the caller gives none, `choose` picks it from the clean logits.

    wrong: argmax z = t and, where κ > 0, margin ≥ κ;  margin: z_t − max_{j≠t} z_j.
    `choose`: the `likely` runner-up, the `least_likely` class, or a `random` wrong one.
    """

    confidence: float = 0.0
    choose: Literal["likely", "least_likely", "random"] = "likely"
    targeted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.choose not in ("likely", "least_likely", "random"):
            raise ConfigError(f"choose={self.choose!r}: expected 'likely', 'least_likely' or 'random'")

    def wrong(self, out: Out, batch: Batch) -> Mask:
        return _sure(out.logits.argmax(dim=1) == batch.target, self.margin(out, batch), self.confidence)

    def margin(self, out: Out, batch: Batch) -> PerRow:
        return at(out.logits, batch.target) - best_other(out.logits, batch.target)

    def aim(self, clean: Out, y: Tensor, target: Tensor | None, draw: Draw) -> Tensor:
        if target is not None:
            return target
        others = clean.logits.scatter(1, y.unsqueeze(1), torch.nan)
        if self.choose == "likely":
            return others.nan_to_num(nan=-torch.inf).argmax(dim=1)
        if self.choose == "least_likely":
            return others.nan_to_num(nan=torch.inf).argmin(dim=1)
        step = 1 + draw.integer("target", (1,), clean.logits.shape[1] - 1).squeeze(1)
        return (y + step) % clean.logits.shape[1]


def goal(targeted: bool, confidence: float = 0.0) -> Goal:
    """The goal that an attack's `targeted` and `confidence` ask for."""
    return Targeted(confidence) if targeted else Untargeted(confidence)
