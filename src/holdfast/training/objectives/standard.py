"""Standard training: the cross-entropy of the inputs as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holdfast.core.expect import expect_within
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, objective, taught


@dataclass(frozen=True)
class Standard(Objective):
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        expect_within(type(self).__name__.lower(), 0, 1, smoothing=self.smoothing)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return taught(model, found, lesson.y, self.smoothing)


@objective("")
def standard(smoothing: float = 0.0) -> Standard:
    """Standard training: the mean cross-entropy of the inputs as they are.

    (1/n) Σ −log softmax(f(x))_y,  labels smoothed by `smoothing` in [0, 1).

    Inputs `[n, ...]` in the model's range; rows without a label count for nothing.

    Raises ConfigError for a smoothing outside [0, 1).

    >>> standard().smoothing
    0.0
    """
    return Standard(smoothing)
