"""stAdv: images that are bent, not painted."""

from __future__ import annotations

import math

from holdfast.attacks.short import attack
from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import Hinge
from holdfast.parts.schedules import Cosine
from holdfast.parts.smooth_ascent import SmoothAscent
from holdfast.parts.sources import source
from holdfast.parts.threats import Flow


def smooth_ascent(name: str, threat: Threat, steps: int, rate: float, tau: float, confidence: float, targeted: bool, eot: int) -> Attack:
    """The attack that climbs the hinge less τ times the threat's penalty, and claims the success of least penalty.

    Raises ConfigError for a negative weight or confidence, or a rate that is not positive and finite.
    """
    if not 0 < rate < math.inf or not 0 <= tau < math.inf or not 0 <= confidence < math.inf:
        raise ConfigError(
            f"{name}(rate={rate}, tau={tau}, confidence={confidence}): the rate must be positive, the others not negative, all finite"
        )
    rule = SmoothAscent(Hinge(targeted, confidence), tau, Cosine(rate), source(eot))
    return Attack(goal(targeted, confidence), threat, rule, Stop(steps, early=False), keep="last")


@attack("Xiao, Zhu, Li, He, Liu & Song 2018, arXiv:1801.02612", threats=("flow", "composed"))
def stadv(
    threat: Threat | float = Flow(math.inf),
    steps: int = 100,
    rate: float = 0.05,
    tau: float = 0.05,
    confidence: float = 0.0,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """Spatially transformed adversarial examples: the smoothest flow of pixels that fools, by Adam on a penalised hinge.

    min_p max( max_{j≠t} z_j − z_t, −κ ) + τ Σ_a Σ_{b ∈ N(a)} ‖p(a) − p(b)‖₂,  x'(i, j) = x( (i, j) + p(i, j) ), bilinear;
    untargeted: max( z_y − max_{j≠y} z_j, −κ ).

    Inputs: images `[n, c, h, w]` of `[n, ...]` in the model's range; `threat`: its radius is the largest displacement in pixels (∞: any),
    and a bare number is that; `steps`: gradients an input, all of them spent; `rate`: Adam's, in pixels, falling to 0 along a cosine; τ =
    `tau`; κ = `confidence` in logits. Of all flows that fooled, the one with the least flow loss is claimed; `eot`: draws of a stochastic
    model that each gradient is the mean of.

    Raises ConfigError for no steps, no draws, a rate that is not positive, or a negative weight or confidence.
    Source: Xiao et al. 2018, eq. 1 (the flow), 3 (the hinge) and 4 (its smoothness), with τ = 0.05.
    Differs from the paper: Adam instead of L-BFGS with line search; displacements may be bounded; the smoothest success is kept, not the
    last point.

    >>> str(stadv(Flow(1.0), steps=50))
    'stadv(Flow(1), steps=50)'
    """
    threat = threat if isinstance(threat, Threat) else Flow(float(threat))
    return smooth_ascent("stadv", threat, steps, rate, tau, confidence, targeted, eot)
