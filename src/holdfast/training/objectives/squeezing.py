"""Logit pairing without attacks: small logits, or alike ones, on noisy inputs; what fools attacks that are short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_within
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import entropy, objective
from holdfast.training.objectives.noise import Noise

By = Literal["squeezing", "pairing"]


@dataclass(frozen=True)
class Squeezed(Noise):
    weight: float = 0.5
    by: By = "squeezing"

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        logits = model(found).logits
        pull = logits
        if self.by == "pairing":
            # Each row and the next, in an order of the lesson's own: those of one half with those of the other.
            order = row_key(0, lesson.key, lesson.step).argsort()[: len(lesson) // 2 * 2]
            one, other = order.chunk(2) if len(order) else (order, order)
            pull = logits[one] - logits[other]
        return entropy(logits, lesson.y, self.smoothing) + self.weight * pull.square().sum() / max(1, pull.numel())


@objective("Kannan, Kurakin & Goodfellow 2018, arXiv:1803.06373")
def logit_squeezing(weight: float = 0.5, sigma: float = 0.5, by: By = "squeezing", smoothing: float = 0.0) -> Squeezed:
    """Clean logit squeezing, or pairing: noisy inputs, and logits that are small, or those of random pairs alike.

    CE(f(x + σ n), y) + λ ‖f(x + σ n)‖² / (n k) (`squeezing`), or λ Σ_pairs ‖f(x_i + σ n_i) − f(x_j + σ n_j)‖² / (k ⌊n/2⌋) (`pairing`),
    over n inputs and k classes, λ = `weight`.

    Inputs `[n, ...]` in the model's range; `sigma` in its units; labels smoothed by `smoothing`; rows without a label count in the second
    term alone.

    Raises ConfigError for a negative λ, a σ that is not positive, a smoothing outside [0, 1), or another way.
    Source: Kannan et al. 2018, on clean logit pairing and on logit squeezing.
    Differs from the paper: each row is in one pair at most. Mosbach et al. 2018, arXiv:1810.12042, broke both: they find that the
    attack's search gets harder, and the net no more robust.

    >>> logit_squeezing(0.1).by
    'squeezing'
    """
    expect_within("logit_squeezing", 0, weight=weight)
    expect_within("logit_squeezing", 0, 1, smoothing=smoothing)
    if not sigma > 0 or by not in get_args(By):
        raise ConfigError(
            f"logit_squeezing(sigma={sigma:g}, by={by!r}): expected a positive deviation, and one of {', '.join(get_args(By))}"
        )
    return Squeezed(smoothing, sigma, weight, by)
