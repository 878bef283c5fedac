"""Verification: a claim is asked again of the user's own model, from the point as it would be stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from holdfast.core.rows import Rows
from holdfast.core.types import Batch, Goal, Model, Out, PerRow, Threat, Verdict
from holdfast.engine.noise import ROUNDED, VERIFIED, drawn, model_noise
from holdfast.engine.pieces import Asker
from holdfast.engine.probe import unusable


@dataclass(frozen=True)
class Verified(Rows):
    """What verification found of each claim: the stored `point`, whether it `holds`, the `share` of asks fooled, margin, class and
    softmax confidence of the last answer, the change's `size`, whether it still fools when stored with 8 bits a value, and its forwards,
    of which `nan_forwards` answered no number."""

    point: Tensor
    holds: Tensor
    share: Tensor
    margin: Tensor
    prediction: Tensor
    confidence: Tensor
    size: Tensor
    eight_bit: Tensor
    forwards: Tensor
    nan_forwards: Tensor


@dataclass(frozen=True)
class Verifier:
    """Law 4: fooled again, size ≤ ε(1 + 1e-5) + 1e-6, inside the valid range.

    `threat` is already within the model's bounds; `verdict` says how many asks and what share of them must be fooled.
    """

    model: Model
    goal: Goal
    threat: Threat
    verdict: Verdict
    asker: Asker
    seed: int

    def __call__(self, batch: Batch, p: Tensor, ask: int, asked: Tensor) -> Verified:
        """Verify the claims `p` of the rows of `batch`, each `asked` so often before: that keys the noise of a keyed model; `ask` seeds
        another's."""
        bounds = self.model.bounds
        point, size = self.threat.land(batch.x, p, batch.radius)
        point = bounds.clamp(point)
        share, margin, out, nan = self._fooled(batch, point, ask, asked + VERIFIED)
        inside = (size <= batch.radius * (1 + 1e-5) + 1e-6) & bounds.contain(point)
        holds = inside & (share >= self.verdict.share) & (share > 0)
        forwards = torch.full_like(batch.key, self.verdict.asks)
        eight_bit = torch.zeros_like(holds)
        index = holds.nonzero().squeeze(1)
        if len(index) and bounds.finite:
            rounded = round_to_8_bits(batch.x[index], point[index], *bounds.pair(point))
            again, *_ = self._fooled(batch[index], rounded, ask + 1, asked[index] + ROUNDED)
            eight_bit = eight_bit.index_copy(0, index, (again >= self.verdict.share) & (again > 0))
            forwards = forwards + self.verdict.asks * holds
        prediction, confidence = predicted(out)
        return Verified(point, holds, share, margin, prediction, confidence, size, eight_bit, forwards, nan)

    def _fooled(self, batch: Batch, point: Tensor, ask: int, first: Tensor) -> tuple[PerRow, PerRow, Out, Tensor]:
        count = torch.zeros(len(batch), dtype=torch.float64, device=point.device)
        nan = torch.zeros_like(batch.key)

        def one(rows: slice | Tensor, again: int) -> Out:
            x = self.asker.pieces.arrange(point[rows].clone())
            return drawn(self.model, x, batch.key[rows], first[rows] + again)

        for again in range(self.verdict.asks):
            with model_noise(self.model, self.seed, ask * 1000 + again, purpose=1), torch.no_grad():
                out = self.asker.each(len(batch), partial(one, again=again))
            margin = self.goal.margin(out, batch)
            count, nan = count + self.goal.wrong(out, batch), nan + unusable(margin)
        return count / self.verdict.asks, margin, out, nan


def predicted(out: Out) -> tuple[Tensor, PerRow]:
    """The class a model answers and its softmax probability, each `[n]` (of the first position where a row has several)."""
    logits = out.logits.flatten(2)[:, :, 0] if out.logits.ndim > 2 else out.logits
    confidence, prediction = logits.double().softmax(dim=1).max(dim=1)
    return prediction, confidence


def round_to_8_bits(x: Tensor, point: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`point` on the grid of 256 levels between low and high, rounded toward x, never past it."""
    width = (high - low) / 255
    level = (point - low) / width
    # A level that float arithmetic put a hair off the grid is on it.
    nearest = level.round()
    level = torch.where((level - nearest).abs() < 1e-3, nearest, torch.where(point > x, level.floor(), level.ceil()))
    value = low + level * width
    toward = torch.where(point > x, torch.maximum(value, x), torch.minimum(value, x))
    return torch.where(point == x, x, toward)
