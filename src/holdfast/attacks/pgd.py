"""PGD: projected gradient descent with random starts."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import objective as named
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.sources import source
from holdfast.parts.starts import Clean, Uniform
from holdfast.parts.threats import L0


@attack("Madry et al. 2018, arXiv:1706.06083", threats=("linf", "l2", "l1", "l0", "flow", "colour"))
def pgd(
    threat: Threat | float,
    steps: int = 40,
    step: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    objective: str = "ce",
    targeted: bool = False,
    early: bool = True,
    eot: int = 1,
) -> Attack:
    """Projected gradient descent: steepest ascent of the loss within the ball, from a random point of it.

    x_{t+1} = Π( x_t + α · d(∇_x J(x_t)) ), d the steepest direction of the norm (the sign for L∞, the unit gradient for L2);
    α = `step`, by default 2.5 ε / `steps`; in L0 the mean change of a value before it is made sparse, by default 0.15.

    Inputs `[n, ...]` in the model's range; `threat` and `step` in its units; `steps` from 1 to thousands; `restarts` are tried one after
    the other until one succeeds; `objective`: `ce`, `margin` or `dlr`; `early=False` spends all steps on every input; `eot`: how
    many draws of a stochastic model each gradient is the mean of.

    Raises ConfigError for a radius or step that is not positive and finite, no steps, no draws, or an unknown objective.
    Source: Madry et al. 2018, section 2.1; L1 steps Tramèr & Boneh 2019 (SLIDE) with the exact projection of Croce & Hein 2021; L0
    Croce & Hein 2019 (PGD0).
    Differs from the paper: every visited point counts, not only the last.

    >>> str(pgd(8 / 255, steps=20, restarts=5))
    'pgd(8/255, steps=20, restarts=5)'
    """
    threat = bounded(threat, "pgd")
    if step is None:
        # PGD0 moves each value by 0.15 on average, whatever the count: 30000/255 over the 784 values of MNIST in its authors' code.
        step = 0.15 if isinstance(threat, L0) else 2.5 * threat.radius / max(steps, 1)
    share = step / threat.radius
    rule = Ascend(named(objective, targeted), Constant(share), Uniform() if random_start else Clean(), source=source(eot))
    return Attack(goal(targeted), threat, rule, Stop(steps, early), Group(restarts))
