"""Named, versioned, frozen suites: what a number was measured with."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.attacks import apgd, apgd_targeted, fab, fab_targeted, square
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.parts.threats import L1

# AutoAttack does not scale Square's schedule to its 5000 queries.
_HORIZON = 10000


def quick_1(threat: Threat) -> list[Attack]:
    """APGD on the cross-entropy, 50 steps, then toward the nine likeliest rivals, 20 steps each, on what is left."""
    return [apgd(threat, steps=50), apgd_targeted(threat, steps=20)]


def autoattack_standard(threat: Threat) -> list[Attack]:
    """AutoAttack (Croce & Hein 2020): APGD on the cross-entropy, APGD and FAB toward nine rivals, Square, each on what is left."""
    # Square is defined in L∞ and L2 alone.
    if isinstance(threat, L1):
        return [apgd(threat, restarts=5), apgd_targeted(threat, rivals=5), fab_targeted(threat)]
    return [apgd(threat), apgd_targeted(threat), fab_targeted(threat), square(threat, horizon=_HORIZON)]


def autoattack_rand(threat: Threat) -> list[Attack]:
    """AutoAttack for stochastic models: APGD on the cross-entropy and on the DLR, twenty draws a gradient."""
    return [apgd(threat, eot=20), apgd(threat, objective="dlr", eot=20)]


def autoattack_plus(threat: Threat) -> list[Attack]:
    """AutoAttack's widest version: five restarts of APGD on both objectives and of FAB, Square, then both toward nine rivals."""
    found = [apgd(threat, restarts=5), apgd(threat, objective="dlr", restarts=5), fab(threat, restarts=5)]
    searched = [] if isinstance(threat, L1) else [square(threat, horizon=_HORIZON)]
    return [*found, *searched, apgd_targeted(threat), fab_targeted(threat)]


SUITES: dict[str, Callable[[Threat], list[Attack]]] = {
    "quick-1": quick_1,
    "autoattack-standard": autoattack_standard,
    "autoattack-rand": autoattack_rand,
    "autoattack-plus": autoattack_plus,
}
ALIASES = {"autoattack": "autoattack-standard"}


def suite_name(name: str) -> str:
    """The name under which a suite is recorded, for it or for its alias.

    Raises ConfigError for an unknown name.
    """
    name = ALIASES.get(name, name)
    if name not in SUITES:
        raise ConfigError(f"suite {name!r} is unknown: choose one of {', '.join([*SUITES, *ALIASES])}, or give attacks of your own")
    return name


def suite_attacks(name: str, threat: Threat) -> list[Attack]:
    """The attacks of a suite under a threat.

    Raises ConfigError for an unknown name.
    """
    return SUITES[suite_name(name)](threat)
