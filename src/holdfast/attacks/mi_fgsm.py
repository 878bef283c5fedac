"""MI-FGSM: the basic iterative method with momentum."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Stop
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.sources import source
from holdfast.parts.transforms import Momentum


@attack("Dong et al. 2018, arXiv:1710.06081")
def mi_fgsm(
    threat: Threat | float, steps: int = 10, step: float | None = None, decay: float = 1.0, targeted: bool = False, eot: int = 1
) -> Attack:
    """The momentum iterative method: steps along an accumulated gradient, which transfer better between models.

    g_{t+1} = μ g_t + ∇_x CE / ‖∇_x CE‖₁;  x_{t+1} = clip_{x,ε}( x_t + α · sign g_{t+1} );  α = `step`, by default ε / `steps`; μ = `decay`.

    Inputs `[n, ...]` in the model's range; `threat` and `step` in its units; `eot`: draws of a stochastic model that each gradient is the
    mean of.

    Raises ConfigError for a radius or step that is not positive and finite, no steps or no draws.
    Source: Dong et al. 2018, algorithm 1, eq. 6 and 7; L2 eq. 9.
    Differs from the paper: ends at the first success.

    >>> str(mi_fgsm(16 / 255))
    'mi_fgsm(16/255)'
    """
    threat = bounded(threat, "mi_fgsm")
    share = 1 / max(steps, 1) if step is None else step / threat.radius
    rule = Ascend(CrossEntropy(targeted), Constant(share), transforms=(Momentum(decay),), source=source(eot))
    return Attack(goal(targeted), threat, rule, Stop(steps))
