"""LLR: around each input the loss is nearly the plane that touches it there, and the plane is not steep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from holdfast.attacks.short import bounded
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Normed, Threat
from holdfast.models import Classifier
from holdfast.parts.threats import L1, L2, Linf
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, objective, taught
from holdfast.training.slopes import labelled, losses, slope


@dataclass(frozen=True)
class Llr(Objective):
    threat: Threat
    weight: float
    mu: float
    steps: int
    step: float

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        x, y, ball = lesson.x, lesson.y, self.threat.within(model.bounds)
        assert isinstance(ball, Normed)
        here, g = slope(model, x, y, twice=False)
        p = ball.random(x, lesson.draw, x.new_full((len(x),), ball.radius))
        for _ in range(self.steps):
            there, other = slope(model, x + p, y, twice=False)
            gap = there - here - along(p, g)
            p = ball.project(x, p + self.step * ball.steepest(per_row(gap.sign(), g) * (other - g)))
        return model.bounds.clamp(x + p)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        x, y = lesson.x, lesson.y
        here, g = slope(model, x, y, twice=True)
        linear = along(found - x, g)
        gap = losses(model, found, y) - here - linear
        return taught(model, x, y) + labelled(self.weight * gap.abs() + self.mu * linear.abs(), y)


def along(p: Tensor, g: Tensor) -> Tensor:
    """⟨p, g⟩ of each row: `[n]`."""
    return (p * g).flatten(1).sum(dim=1)


@objective("Qin, Martens, Gowal, Krishnan, Dvijotham, Fawzi, De, Stanforth & Kohli 2019, arXiv:1907.02610")
def llr(threat: Threat | float, weight: float = 4.0, mu: float = 3.0, steps: int = 10, step: float | None = None) -> Llr:
    """Local linearity regularisation: the loss, how far it leaves its tangent plane in the ball, and how far the plane rises there.

    min_θ E[ ℓ(x) + λ |g(δ)| + μ |⟨δ, ∇ℓ(x)⟩| ],  g(δ) = ℓ(x + δ) − ℓ(x) − ⟨δ, ∇ℓ(x)⟩,  δ = argmax_{B} |g| held fixed,
    the maximum by `steps` of projected ascent, α = `step`, from a random point of the ball; λ = `weight`, μ = `mu`.

    Inputs `[n, ...]` in the model's range; L∞, L2 or L1; `step` by default 2.5 ε / `steps`; rows without a label count in no term.

    Raises ConfigError for another threat, a radius or step that is not positive and finite, weights that are negative, or no steps.
    Source: Qin et al. 2019, the section on the local linearity regulariser; code, google-deepmind/local_linearity_regularizer.
    Differs from the code: steepest steps instead of Adam's at rate 0.1; ℓ weighs 1 (there 2, with λ = 4 and μ = 4 · 0.3); batch norm takes
    its running statistics, not the batch's, in what is regularised; the radius grows only if the caller lets it (there over 500 steps).

    >>> llr(8 / 255).weight
    4.0
    """
    ball = bounded(threat, "llr")
    if not isinstance(ball, Linf | L2 | L1):
        raise ConfigError(f"llr({ball!r}): it adds a perturbation within a norm: choose linf:RADIUS, l2:RADIUS or l1:RADIUS")
    if steps < 1 or not (0 <= weight < math.inf and 0 <= mu < math.inf and (step is None or 0 < step < math.inf)):
        raise ConfigError(
            f"llr(weight={weight}, mu={mu}, steps={steps}, step={step}): steps must be at least 1, step positive, weights not negative"
        )
    return Llr(ball, weight, mu, steps, 2.5 * ball.radius / steps if step is None else step)
