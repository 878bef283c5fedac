"""The basic iterative method, its two stopping rules, and its least-likely-class form."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Keep, Stop
from holdfast.core.types import Goal, Threat
from holdfast.parts.goals import Targeted, goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.sources import source

_PAPER = "Kurakin, Goodfellow & Bengio 2017, arXiv:1607.02533"
_STOPS = "Feinman, Curtin, Shintre & Gardner 2017, arXiv:1703.00410"


def _iterate(name: str, aim: Goal, threat: Threat | float, steps: int, step: float | None, keep: Keep, eot: int) -> Attack:
    threat = bounded(threat, name)
    share = 1 / max(steps, 1) if step is None else step / threat.radius
    rule = Ascend(CrossEntropy(aim.targeted), Constant(share), source=source(eot))
    return Attack(aim, threat, rule, Stop(steps, early=keep == "first"), keep=keep)


@attack(_PAPER)
def bim(threat: Threat | float, steps: int = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """The basic iterative method: small steps from the clean input, clipped to the ball; ends at the first success.

    x_{t+1} = clip_{x,ε}( x_t + α · sign ∇_x CE(x_t, y) );  α = `step`, by default ε / `steps`.

    Inputs `[n, ...]` in the model's range; `threat` and `step` in its units; `eot`: draws of a stochastic model that each gradient is the
    mean of.

    Raises ConfigError for a radius or step that is not positive and finite, no steps or no draws.
    Source: Kurakin et al. 2017, section 2.2.
    Differs from the paper, which always takes all steps: that is `bim_b`; the two succeed on the same inputs unless success is lost again.

    >>> str(bim(0.3, steps=20, step=0.02))
    'bim(0.3, steps=20, step=0.02)'
    """
    return _iterate("bim", goal(targeted), threat, steps, step, "first", eot)


@attack(_STOPS)
def bim_a(threat: Threat | float, steps: int = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """BIM-a: the basic iterative method that stops for each input as soon as it is misclassified.

    As `bim`, under the name that the detector literature uses; inputs `[n, ...]` in the model's range.

    Raises ConfigError as `bim` does.
    Source: Feinman et al. 2017, section 4.
    Differs from the paper: nothing.

    >>> bim_a(0.3).keep
    'first'
    """
    return _iterate("bim_a", goal(targeted), threat, steps, step, "first", eot)


@attack(_STOPS)
def bim_b(threat: Threat | float, steps: int = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """BIM-b: the basic iterative method that takes all its steps, well past the boundary, and gives the last point.

    x_{t+1} as in `bim`; the claim is x_T; inputs `[n, ...]` in the model's range.

    Raises ConfigError as `bim` does.
    Source: Feinman et al. 2017, section 4.
    Differs from the paper: an input whose last point does not fool the model counts as withstood.

    >>> bim_b(0.3).keep
    'last'
    """
    return _iterate("bim_b", goal(targeted), threat, steps, step, "last", eot)


@attack(_PAPER)
def least_likely(threat: Threat | float, steps: int = 10, step: float | None = None, eot: int = 1) -> Attack:
    """The iterative least-likely-class method: the basic iterative method aimed at the class the clean input resembles least.

    y_LL = argmin_j p(j | x);  x_{t+1} = clip_{x,ε}( x_t − α · sign ∇_x CE(x_t, y_LL) ).

    Inputs `[n, ...]` in the model's range; success is the answer y_LL (never the true label).

    Raises ConfigError as `bim` does.
    Source: Kurakin et al. 2017, section 2.3.
    Differs from the paper: ends at the first success.

    >>> least_likely(0.3).goal.choose
    'least_likely'
    """
    return _iterate("least_likely", Targeted(choose="least_likely"), threat, steps, step, "first", eot)
