"""Interpolated adversarial training: between pairs of clean inputs, and between pairs of attacked ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast import attacks
from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Searched, objective


@dataclass(frozen=True)
class Interpolated(Searched):
    alpha: float

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return (self._mixed(model, lesson, lesson.x, "clean") + self._mixed(model, lesson, found, "found")) / 2

    def _mixed(self, model: Classifier, lesson: Lesson, x: Tensor, name: str) -> Tensor:
        draw, y = lesson.draw, lesson.y
        share, other = beta(draw, name, self.alpha).to(x.dtype), partners(draw, name)
        logits = model(per_row(share, x) * x + per_row(1 - share, x) * x[other]).logits
        own, its = (cross_entropy(logits, label, reduction="none") for label in (y, y[other]))
        return (share * own + (1 - share) * its).mean()


def partners(draw: Draw, name: str) -> Tensor:
    """For each row another, its next in a drawn ring of them all: `[n]`; where it stands in the batch does not matter."""
    order = draw.uniform(f"{name} ring", (1,), torch.float64).squeeze(1).argsort()
    return torch.empty_like(order).scatter(0, order, order.roll(-1))


def beta(draw: Draw, name: str, alpha: float) -> Tensor:
    """Beta(α, α) for each row, float64 `[n]`: G / (G + G') of two gammas of shape α.

    Source: Marsaglia & Tsang 2000, "A simple method for generating gamma variables", with shape α + 1, times u^(1/α); of 32 proposals, each
    taken with a chance above 0.95, the first.
    """
    shape = (2, 32)
    normal, u = draw.normal(f"{name} normal", shape, torch.float64), draw.uniform(f"{name} accept", shape, torch.float64)
    d = alpha + 2 / 3
    root = (1 + normal / math.sqrt(9 * d)).clamp_min(1e-9)
    v = root * root * root
    taken = (root > 1e-9) & (u.log() < normal.square() / 2 + d * (1 - v + v.log()))
    log_gamma = v.gather(2, taken.int().argmax(dim=2, keepdim=True)).squeeze(2).log()
    log_gamma = log_gamma + draw.uniform(f"{name} boost", (2,), torch.float64).log() / alpha
    return (log_gamma[:, 0] - log_gamma[:, 1]).sigmoid()


@objective("Lamb, Verma, Kawaguchi, Matyasko, Khosla, Kannala & Bengio 2019, arXiv:1906.06784")
def iat(threat: Threat | float, alpha: float = 1.0, steps: int = 7, step: float | None = None) -> Interpolated:
    """Interpolated adversarial training: mixup of the inputs, and mixup of their adversarial examples, half each.

    ½ M(x) + ½ M(x'),  M(x) = mean_i [ λ CE(f(λ x_i + (1 − λ) x_j), y_i) + (1 − λ) CE(…, y_j) ],  λ ~ Beta(α, α),  x' by `steps` of PGD.

    Inputs `[n, ...]` in the model's range, all labelled; a single row is its own partner.

    Raises ConfigError for a radius or step that is not positive and finite, or an α that is not positive.
    Source: Lamb et al. 2019, with mixup on the input.
    Differs from the paper: every row has a λ of its own; partners are neighbours in a drawn ring, not a permutation with fixed points; the
    attack sees the net in eval mode.

    >>> iat(8 / 255).alpha
    1.0
    """
    if not 0 < alpha < math.inf:
        raise ConfigError(f"iat(alpha={alpha:g}): expected a positive, finite number for Beta(α, α); 1 is uniform")
    return Interpolated(attacks.pgd(threat, steps, step, early=False), alpha)
