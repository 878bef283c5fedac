"""Named, versioned, frozen suites: what a number was measured with."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.attacks import apgd, apgd_targeted, cosine, pgd, square
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.evaluation.entry import Entry
from holdfast.parts.threats import L0, L1

DEFAULT = "standard-1"


def quick_1(threat: Threat) -> list[Entry]:
    """APGD on the cross-entropy, 50 steps, then toward the nine likeliest rivals, 20 steps each, on what is left."""
    return [Entry(apgd(threat, steps=50)), Entry(apgd_targeted(threat, steps=20))]


def standard_1(threat: Threat, effort: float = 1.0) -> list[Entry]:
    """Our own cascade: a short ascent on every sample, then more the nearer a sample has come to the boundary, then random search.

    The first ascent decides about most; what it leaves far from the boundary is left in peace, but for a share drawn by key, so that a
    masked gradient shows. `effort` multiplies restarts and queries.
    """
    if isinstance(threat, L0):
        return [Entry(pgd(threat, steps=100)), Entry(pgd(threat, steps=200, restarts=_times(4, effort)), near=0.8, spot=SPOT)]
    if isinstance(threat, L1):
        deep = apgd_targeted(threat, steps=40, rivals=5)
        return [Entry(apgd(threat, steps=60)), Entry(deep), Entry(apgd(threat, steps=100, restarts=_times(4, effort)), near=0.4, spot=SPOT)]
    spread = ("diversified", "corner", "uniform")
    return [
        Entry(cosine(threat, steps=20)),
        Entry(cosine(threat, steps=20, restarts=_times(2, effort), starts=spread), near=0.7, spot=SPOT),
        Entry(cosine(threat, steps=30, rivals=_times(3, effort)), near=0.5, spot=SPOT),
        Entry(cosine(threat, steps=40, restarts=_times(6, effort), starts=spread), near=0.35),
        Entry(apgd_targeted(threat, steps=50, rivals=9), near=0.15),
        Entry(square(threat, steps=_times(1000, effort), horizon=10000), near=0.15, spot=SPOT),
    ]


SPOT = 0.02


def _times(count: int, effort: float) -> int:
    return max(1, round(count * effort))


SUITES: dict[str, Callable[[Threat], list[Entry]]] = {"standard-1": standard_1, "quick-1": quick_1}


def suite_entries(name: str, threat: Threat) -> list[Entry]:
    """The entries of a suite under a threat.

    Raises ConfigError for an unknown name.
    """
    if name not in SUITES:
        raise ConfigError(f"suite {name!r} is unknown: choose one of {', '.join(SUITES)}, or give attacks of your own")
    return SUITES[name](threat)
