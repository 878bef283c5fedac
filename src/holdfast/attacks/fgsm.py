"""FGSM: one step of the largest size along the steepest direction."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Stop
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.sources import source


@attack("Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572")
def fgsm(threat: Threat | float, targeted: bool = False, eot: int = 1) -> Attack:
    """The fast gradient sign method: one step of size ε along the steepest direction of the cross-entropy.

    x' = clip( x + ε · sign ∇_x CE(x, y) );  targeted: x' = clip( x − ε · sign ∇_x CE(x, t) ).

    Inputs `[n, ...]` in the model's range; `threat`: L∞ radius ε in the same units, or another norm, whose steepest direction is taken;
    `eot`: draws of a stochastic model that each gradient is the mean of.

    Raises ConfigError for a radius that is not positive and finite, or no draws.
    Source: Goodfellow et al. 2015, section 4; the targeted form Kurakin et al. 2017, section 2.
    Differs from the paper: the result is clipped to the valid range.

    >>> str(fgsm(8 / 255))
    'fgsm(8/255)'
    """
    threat = bounded(threat, "fgsm")
    return Attack(goal(targeted), threat, Ascend(CrossEntropy(targeted), Constant(1.0), source=source(eot)), Stop(1))
