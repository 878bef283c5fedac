"""Adversarial logit pairing: logits that stay where they are when the input is attacked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.expect import expect_within
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import entropy, objective
from holdfast.training.objectives.adversarial import Adversarial, ascent


@dataclass(frozen=True)
class Paired(Adversarial):
    weight: float = 0.5

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        before, after = model(torch.cat([lesson.x, found])).logits.chunk(2)
        hard, easy = (entropy(logits, lesson.y, self.smoothing) for logits in (after, before))
        return (1 - self.clean) * hard + self.clean * easy + self.weight * (before - after).square().mean()


@objective("Kannan, Kurakin & Goodfellow 2018, arXiv:1803.06373")
def alp(
    threat: Threat | float,
    weight: float = 0.5,
    steps: int = 7,
    step: float | None = None,
    clean: float = 0.5,
    smoothing: float = 0.0,
    targeted: bool = False,
) -> Paired:
    """Adversarial logit pairing: adversarial training, and a pull of each input's logits to those of its adversarial example.

    (1 − c) CE(f(x'), y) + c CE(f(x), y) + λ ‖f(x) − f(x')‖² / (n k),  x' by `steps` of PGD, c = `clean`, λ = `weight`, over n inputs and k
    classes.

    Inputs `[n, ...]` in the model's range, asked together with their examples in one batch; all labelled, smoothed by `smoothing`.
    `targeted`: the ascent is toward a wrong class drawn at random, as for many classes.

    Raises ConfigError for a radius or step that is not positive and finite, a negative λ, and a share outside [0, 1].
    Source: Kannan et al. 2018 and their code (tensorflow/models), whose mean square is over inputs and classes, and λ = 0.5 in its example.
    Differs from the paper: the attack sees the net in eval mode, as in their code. Engstrom et al. 2018, arXiv:1807.10272, broke the
    defence by longer attacks, and name what sets it apart from adversarial training: the loss of clean inputs (c = 1), and `targeted`.

    >>> alp(8 / 255).weight
    0.5
    """
    expect_within("alp", 0, weight=weight)
    return Paired(ascent(threat, steps, step, targeted), smoothing, clean, weight)
