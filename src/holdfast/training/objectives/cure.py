"""CURE: the loss bends little along the way an attack would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.parts.threats import L2
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, objective, taught
from holdfast.training.slopes import labelled, slope


@dataclass(frozen=True)
class Cure(Objective):
    gamma: float
    h: float

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        _, g = slope(model, lesson.x, lesson.y, twice=False)
        return lesson.x + self.h * L2().steepest(g.sign())

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        _, here = slope(model, lesson.x, lesson.y, twice=True)
        _, there = slope(model, found, lesson.y, twice=True)
        bend = (there - here).square().flatten(1).sum(dim=1)
        return taught(model, lesson.x, lesson.y) + self.gamma * labelled(bend, lesson.y)


@objective("Moosavi-Dezfooli, Fawzi, Uesato & Frossard 2019, arXiv:1811.09716")
def cure(gamma: float = 4.0, h: float = 1.5) -> Cure:
    """Curvature regularisation (CURE): the loss, and how much its gradient in the input turns along the gradient's sign.

    min_θ E[ ℓ(x) + γ ‖∇ℓ(x + h z) − ∇ℓ(x)‖₂² ],  z = sign(∇ℓ(x)) / ‖sign(∇ℓ(x))‖₂ held fixed; for small h the second term is γ h² ‖H z‖².

    Inputs `[n, ...]` in the model's range, `h` an L2 length in it; rows without a label count in neither term. The paper starts from a
    trained net, and public code takes an `h` for each of the first epochs: call `train` for each with a `cure(gamma, h)` of its own.

    Raises ConfigError for a `gamma` that is negative, an `h` that is not positive, or either not finite.
    Source: Moosavi-Dezfooli et al. 2019, the section on CURE.
    Differs from the paper: nothing known. Public code (F-Salehi/CURE_robustness, γ = 4, h = 3 unless told) does not square the norm; as
    there, batch norm takes its running statistics in the second term, and x + h z, a point to take a slope at, is not clipped to the range.

    >>> cure(h=0.5)
    Cure(gamma=4.0, h=0.5)
    """
    if not (0 <= gamma < math.inf and 0 < h < math.inf):
        raise ConfigError(f"cure(gamma={gamma}, h={h}): gamma must not be negative, h positive, both finite; try cure(4, 1.5)")
    return Cure(gamma, h)
