"""The basic iterative method, its two stopping rules, and its least-likely-class form."""

from __future__ import annotations

import math
from typing import Literal

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Keep, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.types import Goal, Threat
from holdfast.parts.goals import Targeted, goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.sources import source

_PAPER = "Kurakin, Goodfellow & Bengio 2017, arXiv:1607.02533"
_STOPS = "Feinman, Curtin, Shintre & Gardner 2017, arXiv:1703.00410"


Steps = int | Literal["kurakin"]


def _iterate(name: str, aim: Goal, threat: Threat | float, steps: Steps, step: float | None, keep: Keep, eot: int) -> Attack:
    threat = bounded(threat, name)
    if isinstance(steps, str):
        step = 1 / 255 if step is None else step
        steps = _kurakin(name, steps, threat.radius, step)
    share = 1 / max(steps, 1) if step is None else step / threat.radius
    rule = Ascend(CrossEntropy(aim.targeted), Constant(share), source=source(eot))
    return Attack(aim, threat, rule, Stop(steps, early=keep == "first"), keep=keep)


def _kurakin(name: str, word: str, radius: float, step: float) -> int:
    """min(ε + 4, 1.25 ε) with ε counted in steps: its whole part, and one at least."""
    if word != "kurakin" or not step > 0:
        raise ConfigError(f"{name}(steps={word!r}, step={step:g}): expected a number of steps or 'kurakin', and a positive step")
    levels = radius / step
    return max(1, math.floor(min(levels + 4, 1.25 * levels) + 1e-6))


@attack(_PAPER)
def bim(threat: Threat | float, steps: Steps = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """The basic iterative method: small steps from the clean input, clipped to the ball; ends at the first success.

    x_{t+1} = clip_{x,ε}( x_t + α · sign ∇_x CE(x_t, y) );  α = `step`, by default ε / `steps`.

    Inputs `[n, ...]` in the model's range; `threat` and `step` in its units; `steps="kurakin"`: the paper's number of steps,
    min(ε/α + 4, 1.25 ε/α), and its α, one grey level: 1/255, or `step=1` where inputs are 0..255; `eot`: draws of a stochastic model that
    each gradient is the mean of.

    Raises ConfigError for a radius or step that is not positive and finite, no steps, an unknown word for them, or no draws.
    Source: Kurakin et al. 2017, section 2.2.
    Differs from the paper: α is ε / `steps` and there are ten of them, unless `steps="kurakin"`: the paper has α = 1 and
    min(ε + 4, 1.25 ε) steps in units of 0..255. The paper always takes all steps: that is `bim_b`; the two succeed on the same inputs
    unless success is lost again.

    >>> str(bim(0.3, steps=20, step=0.02)), bim(8 / 255, steps="kurakin").stop.steps
    ('bim(0.3, steps=20, step=0.02)', 10)
    """
    return _iterate("bim", goal(targeted), threat, steps, step, "first", eot)


@attack(_STOPS)
def bim_a(threat: Threat | float, steps: Steps = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """BIM-a: the basic iterative method that stops for each input as soon as it is misclassified.

    As `bim`, under the name that the detector literature uses; inputs `[n, ...]` in the model's range.

    Raises ConfigError as `bim` does.
    Source: Feinman et al. 2017, section 4.
    Differs from the paper: α as in `bim`.

    >>> bim_a(0.3).keep
    'first'
    """
    return _iterate("bim_a", goal(targeted), threat, steps, step, "first", eot)


@attack(_STOPS)
def bim_b(threat: Threat | float, steps: Steps = 10, step: float | None = None, targeted: bool = False, eot: int = 1) -> Attack:
    """BIM-b: the basic iterative method that takes all its steps, well past the boundary, and gives the last point.

    x_{t+1} as in `bim`; the claim is x_T; inputs `[n, ...]` in the model's range.

    Raises ConfigError as `bim` does.
    Source: Feinman et al. 2017, section 4.
    Differs from the paper: α as in `bim`; an input whose last point does not fool the model counts as withstood.

    >>> bim_b(0.3).keep
    'last'
    """
    return _iterate("bim_b", goal(targeted), threat, steps, step, "last", eot)


@attack(_PAPER)
def least_likely(threat: Threat | float, steps: Steps = 10, step: float | None = None, eot: int = 1) -> Attack:
    """The iterative least-likely-class method: the basic iterative method aimed at the class the clean input resembles least.

    y_LL = argmin_j p(j | x);  x_{t+1} = clip_{x,ε}( x_t − α · sign ∇_x CE(x_t, y_LL) ).

    Inputs `[n, ...]` in the model's range; success is the answer y_LL (never the true label); `steps` and `step` as in `bim`.

    Raises ConfigError as `bim` does.
    Source: Kurakin et al. 2017, section 2.3.
    Differs from the paper: α and the number of steps, as in `bim`; ends at the first success.

    >>> least_likely(0.3).goal.choose
    'least_likely'
    """
    return _iterate("least_likely", Targeted(choose="least_likely"), threat, steps, step, "first", eot)
