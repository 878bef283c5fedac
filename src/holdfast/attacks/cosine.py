"""Cosine ascent: few steps that begin long and end at nothing, from starts and on objectives that the siblings take turns over."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.core.attack import Attack, Group, Stop
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.parts.goals import Untargeted
from holdfast.parts.objectives import Alternating, ClassObjective, Margin, ProbabilityMargin
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Cosine
from holdfast.parts.sources import source
from holdfast.parts.starts import Clean, Corner, Diversified, Start, Turns, Uniform
from holdfast.parts.transforms import Momentum

STARTS: dict[str, Start] = {"clean": Clean(), "corner": Corner(), "uniform": Uniform(), "diversified": Diversified()}


@attack("Holdfast; after Xie et al. 2024 and Tashiro et al. 2020", threats=("linf", "l2"))
def cosine(
    threat: Threat | float,
    steps: int = 20,
    restarts: int = 1,
    rivals: int = 0,
    starts: tuple[str, ...] = ("clean",),
    decay: float = 0.75,
    share: float = 2.0,
    eot: int = 1,
) -> Attack:
    """Ascent of the margin with momentum whose step falls from `share` · ε to nothing along half a cosine.

    m_t = μ m_{t−1} + g/‖g‖₁;  x_{t+1} = Π( x_t + ε · share · ½(1 + cos(πt/T)) · d(m_t) ).

    Inputs `[n, ...]` in the model's range. Restarts take turns over the margin of the logits and that of the probabilities, and over
    `starts`: `clean`, `corner`, `uniform`, `diversified`; with `rivals` each is aimed at one of the likeliest wrong classes in turn (z_t −
    z_y), and any wrong answer counts; `eot`: draws of a stochastic model that each gradient is the mean of.

    Raises ConfigError for a radius or `share` that is not positive and finite, no steps, no draws, or an unknown start.
    Source: step and momentum of the PGD family; margins in probability space Xie et al. 2024 (PMA); starts Tashiro et al. 2020 (ODI).
    Differs from the papers: Xie et al. and Tashiro et al. each lead one ascent of their own; here a margin of theirs and a start of
    theirs are two among those that the restarts of one ascent take turns over.

    >>> str(cosine(8 / 255, restarts=2))
    'cosine(8/255, restarts=2)'
    """
    unknown = [start for start in starts if start not in STARTS]
    if unknown or not starts:
        raise ConfigError(f"cosine(starts={starts!r}): choose from {', '.join(STARTS)}")
    aim = Margin(targeted=True) if rivals else Margin()
    objectives: tuple[ClassObjective, ...] = (aim,) if rivals else (Margin(), ProbabilityMargin())
    rule = Ascend(
        Alternating(members=objectives), Cosine(share), Turns(tuple(STARTS[start] for start in starts)), (Momentum(decay),), source(eot)
    )
    return Attack(Untargeted(), bounded(threat, "cosine"), rule, Stop(steps), Group(restarts, rivals))
