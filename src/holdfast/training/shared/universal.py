"""Universal perturbations: one small change that fools a model on most inputs, by DeepFool or by gradients."""

from __future__ import annotations

import math

from holdfast.attacks import deepfool
from holdfast.attacks.short import bounded
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import ProbabilityMargin
from holdfast.parts.threats import L2
from holdfast.training.shared.ask import Scene
from holdfast.training.shared.moves import Climb, Nearest
from holdfast.training.shared.placements import Added
from holdfast.training.shared.sentence import Shared
from holdfast.training.shared.short import shared


@shared("Moosavi-Dezfooli, Fawzi, Fawzi & Frossard 2017, arXiv:1610.08401", threats=("linf", "l2", "l1"))
def universal(
    threat: Threat | float,
    passes: int = 10,
    until: float = 0.8,
    target: int | None = None,
    overshoot: float = 0.02,
    steps: int = 10,
    classes: int = 10,
    together: int = 8,
) -> Shared:
    """Universal perturbation by DeepFool: over the inputs in turn, each that is not fooled yet pushes p over its nearest boundary.

    for x_i with k(x_i + p) = k(x_i):  p ← Π(p + argmin_r ‖r‖₂ s.t. k(x_i + p + r) ≠ k(x_i)),  until the fooling rate is `until`.

    Inputs `[n, ...]` in the model's range; `threat` the ball of Π (a bare number: L∞); `overshoot`, `steps`, `classes` are DeepFool's;
    with a `target` the inner change leads to that class. `together`: how many inner searches run at once.

    Raises ConfigError for a radius that is not positive and finite.
    Source: Moosavi-Dezfooli et al. 2017, the algorithm and its projection Π.
    Differs from the paper: x + p is kept in the valid range; the changes of 8 inputs are found from one p and added in turn, passing over
    those fooled meanwhile (`together=1` is the paper's); the best pass is kept, not the last; L1 and a targeted form.

    >>> universal(10 / 255).until
    0.8
    """
    inner = deepfool(L2(math.inf), steps, overshoot, classes, target is not None)
    scene = Scene(goal(target is not None), Added(bounded(threat, "universal")))
    return Shared(scene, Nearest(inner, together), passes, 128, until, target)


@shared("Shafahi, Najibi, Xu, Dickerson, Davis & Goldstein 2020, arXiv:1811.11304", threats=("linf", "l2", "l1"))
def universal_gradient(
    threat: Threat | float,
    passes: int = 10,
    until: float | None = None,
    target: int | None = None,
    rate: float = 0.2,
    batch: int = 128,
) -> Shared:
    """Universal perturbation by gradients: p climbs the mean margin of a batch, projected steepest step by step.

    p ← Π(p + α_t ε argmax_{‖d‖ ≤ 1} ⟨∇_p (1/b) Σ_i J(x_i + p), d⟩);  in L∞ d is the sign.

    Inputs `[n, ...]` in the model's range; `threat` the ball of Π (a bare number: L∞); α falls from `rate` to 0 along half a cosine.

    Raises ConfigError for a radius that is not positive and finite, or a step that is not positive.
    Source: Shafahi et al. 2020, algorithm 1 and section 3.1 (a clipped loss, so that no input dominates).
    Differs from the paper: the loss is bounded by its form, not by a clip: the margin of class probabilities; the labels are the model's
    own answers, as fooling means to change those.

    >>> universal_gradient(10 / 255, target=3).target
    3
    """
    targeted = target is not None
    scene = Scene(goal(targeted), Added(bounded(threat, "universal_gradient")))
    return Shared(scene, Climb(ProbabilityMargin(targeted), rate, steepest=True), passes, batch, until, target)
