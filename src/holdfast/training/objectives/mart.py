"""MART: what is misclassified as it is learns more from its neighbourhood."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.core.expect import expect_within
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.parts.objectives import CrossEntropy, divergence
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Searched, objective
from holdfast.training.objectives.trades import near


@dataclass(frozen=True)
class Mart(Searched):
    beta: float

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        clean, after = model(lesson.x).logits, model(found).logits
        sure = clean.softmax(dim=1).gather(1, lesson.y.unsqueeze(1)).squeeze(1)
        return (boosted(after, lesson.y) + self.beta * divergence(clean, after) * (1 - sure)).mean()


def boosted(logits: Tensor, y: Tensor) -> Tensor:
    """−log q_y − log(1 − max_{j≠y} q_j) of each row, q = softmax(z): `[n]`."""
    label = y.unsqueeze(1)
    rival = logits.detach().scatter(1, label, -math.inf).argmax(dim=1, keepdim=True)
    rest = logits.log_softmax(dim=1).scatter(1, rival, -math.inf).logsumexp(dim=1)
    return cross_entropy(logits, y, reduction="none") - rest


@objective("Wang, Zou, Yi, Bailey, Ma & Gu 2020, openreview.net/forum?id=rklOg6EFwS")
def mart(threat: Threat | float, beta: float = 6.0, steps: int = 10, step: float | None = None) -> Mart:
    """MART: a boosted loss where the attack led, and consistency with the clean answer, the more the less sure that is of the label.

    −log q_y(x') − log(1 − max_{j≠y} q_j(x')) + β KL(f(x) ‖ f(x')) (1 − q_y(x)),  q = softmax(f),  x' by `steps` of projected ascent on the
    cross-entropy from x + 0.001 n.

    Inputs `[n, ...]` in the model's range, all labelled; `step` by default 2.5 ε / `steps`. With two classes the first line is −2 log q_y.

    Raises ConfigError for a radius or step that is not positive and finite, or a negative β.
    Source: Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples", and their code, YisenWang/MART,
    whose β is 6 (5 in one script, for a ResNet-18).
    Differs from their code: no 1e-12 within the logarithms and no 1.0001 for 1: 1 − q_j is summed from the other classes.

    >>> mart(8 / 255).beta
    6.0
    """
    expect_within("mart", 0, beta=beta)
    return Mart(near(threat, steps, step, "mart", CrossEntropy()), beta)
