"""Training on noisy inputs: the oldest of the defences that fail."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import objective
from holdfast.training.objectives.standard import Standard


@dataclass(frozen=True)
class Noise(Standard):
    sigma: float = 0.1

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        return noisy(model, lesson, self.sigma)


def noisy(model: Classifier, lesson: Lesson, sigma: float) -> Tensor:
    """x + σ n in the valid range, n the lesson's own."""
    return model.bounds.clamp(lesson.x + sigma * lesson.draw.normal("noise", tuple(lesson.x.shape[1:]), lesson.x.dtype))


@objective("Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow & Fergus 2013, arXiv:1312.6199")
def noise(sigma: float = 0.1, smoothing: float = 0.0) -> Noise:
    """Training on noise: the cross-entropy of inputs with Gaussian noise added.

    (1/n) Σ −log softmax(f(x + σ n))_y,  n standard normal, clipped to the valid range.

    Inputs `[n, ...]` in the model's range; `sigma` in its units; labels smoothed by `smoothing`.

    Raises ConfigError for a σ that is not positive, and a smoothing outside [0, 1).
    Source: Szegedy et al. 2013, who compare with such noise; lectures list it among defences that failed.
    Differs from the paper: nothing known.

    >>> noise(0.2).sigma
    0.2
    """
    if not sigma > 0:
        raise ConfigError(f"noise(sigma={sigma:g}): expected a positive deviation, in the units of the input; without noise take standard")
    return Noise(smoothing, sigma)
