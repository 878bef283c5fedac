"""The attacks that trust checks make on survivors: other ways than a plan's to break within its own threat."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

from holdfast.attacks import apgd, apgd_targeted, cosine, ddn, fab_targeted, fmn, pgd, random_points, sigma_zero, square
from holdfast.core.attack import Attack, Stop
from holdfast.core.types import Threat
from holdfast.evaluation.diagnosis import short
from holdfast.models import Classifier
from holdfast.parts.goals import Untargeted
from holdfast.parts.objectives import Margin
from holdfast.parts.search import RandomSearch
from holdfast.parts.sources import Smoothed
from holdfast.parts.sparse import SparseChange
from holdfast.parts.threats import L0, L1, L2, Linf

QUERIES = 2000
"""Of random search on each survivor, with a schedule of its own."""


def noise(threat: Threat) -> Attack:
    """64 random points of the ball.

    Raises ConfigError where random points are not defined for the threat.
    """
    return random_points(threat, steps=64)


def gradient_free(threat: Threat) -> Attack:
    """Random search for `QUERIES` queries: Square, or in L0 a search over which values change.

    Raises ConfigError where Square is not defined for the threat.
    """
    if isinstance(threat, L0):
        rule = RandomSearch(Margin(), SparseChange())
        return Attack(Untargeted(), threat, rule, Stop(QUERIES), call=f"sparse_search(steps={QUERIES})")
    return square(threat, steps=QUERIES)


def minimum_norm(threat: Threat, used: Collection[str] = ()) -> Attack:
    """A method that looks for the smallest change, not for the largest loss; of another name than those `used`, where there is one."""
    ways: dict[type[Threat], tuple[Callable[[], Attack], ...]] = {
        Linf: (lambda: fab_targeted(threat, steps=30, rivals=3), lambda: fmn(threat, steps=60)),
        L2: (lambda: ddn(threat, steps=60), lambda: fab_targeted(threat, steps=30, rivals=3), lambda: fmn(threat, steps=60)),
        L1: (lambda: fab_targeted(threat, steps=30, rivals=3), lambda: fmn(threat, steps=60)),
        L0: (lambda: sigma_zero(threat, steps=200), lambda: fmn(threat, steps=100)),
    }
    made = [way() for way in ways[type(threat)]]
    return next((attack for attack in made if attack.name not in used), made[-1])


def smoothed(threat: Threat) -> Attack:
    """A short ascent along the gradient of a copy that is smoothed by noise."""
    attack = short(threat)
    return replace(attack, rule=attack.rule.sourced(Smoothed()))


def longer(threat: Threat) -> Attack:
    """Three times the steps of the first attempt, from another start."""
    if isinstance(threat, L0):
        return pgd(threat, steps=60)
    return apgd(threat, steps=60) if isinstance(threat, L1) else cosine(threat, steps=60, starts=("diversified",))


def unbounded(model: Classifier) -> list[Attack]:
    """Ascents that may go anywhere in the valid range, each made on what those before it left; none where the range has no ends.

    Anywhere in the range is a box whatever the plan's norm, so all move in L∞: toward any class, then toward each of the likeliest, then
    along the cross-entropy.
    """
    bounds = model.bounds
    if not bounds.finite:
        return []
    ends = [side if isinstance(side, tuple) else (side,) for side in (bounds.low, bounds.high)]
    box = Linf(max(ends[1]) - min(ends[0]))
    first = cosine(box, steps=40, restarts=2, starts=("clean", "uniform"), share=0.5)
    return [first, apgd_targeted(box, steps=20), apgd(box, steps=40)]


def radius_times(threat: Threat, factor: float) -> Threat:
    """The same threat with a larger radius."""
    assert isinstance(threat, Linf | L2 | L1 | L0) and math.isfinite(threat.radius)
    return replace(threat, radius=factor * threat.radius)
