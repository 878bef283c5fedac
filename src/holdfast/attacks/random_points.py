"""Random points: what anybody can do who knows nothing of the model."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Stop
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Margin
from holdfast.parts.search import RandomSearch, Scatter


@attack("Carlini et al. 2019, arXiv:1902.06705", threats=("linf", "l2", "l1"))
def random_points(threat: Threat | float, steps: int = 100, targeted: bool = False, early: bool = True) -> Attack:
    """Independent points of the ball, every second one a corner of it: the attack that no other may fall behind.

    Inputs `[n, ...]` in the model's range; `steps`: forwards an input.

    Raises ConfigError for a radius that is not positive and finite, or no steps.
    Source: Carlini et al. 2019, "On evaluating adversarial robustness", section 4.5: random search must not beat gradients.
    Differs from the paper: it asks for no corners.

    >>> str(random_points(8 / 255, steps=50))
    'random_points(8/255, steps=50)'
    """
    rule = RandomSearch(Margin(targeted, strict=True), Scatter())
    return Attack(goal(targeted), bounded(threat, "random_points"), rule, Stop(steps, early))
