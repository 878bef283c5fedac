"""Named, versioned, frozen suites: what a number was measured with."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.attacks import apgd, apgd_targeted
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat


def quick_1(threat: Threat) -> list[Attack]:
    """APGD on the cross-entropy, 50 steps, then toward the nine likeliest rivals, 20 steps each, on what is left."""
    return [apgd(threat, steps=50), apgd_targeted(threat, steps=20)]


SUITES: dict[str, Callable[[Threat], list[Attack]]] = {"quick-1": quick_1}


def suite_attacks(name: str, threat: Threat) -> list[Attack]:
    """The attacks of a suite under a threat.

    Raises ConfigError for an unknown name.
    """
    if name not in SUITES:
        raise ConfigError(f"suite {name!r} is unknown: choose one of {', '.join(SUITES)}, or give attacks of your own")
    return SUITES[name](threat)
