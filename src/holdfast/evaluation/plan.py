"""What an evaluation will do: attacks in order, under one threat, within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.attacks import apgd
from holdfast.attacks.short import parse, parse_threat
from holdfast.core.attack import Attack, Group
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_fields, typed
from holdfast.core.types import Threat
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.suites import DEFAULT, REACTING, additive, suite_entries, suite_name

CONVERGE = 0.005
"""The share of all samples that may still be estimated to fall when search ends."""
CURVE = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Budget:
    """`queries`: forwards that one sample may cost over the whole plan; `deadline`: seconds for this call. None is no limit."""

    queries: int | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        expect_fields(self)
        for name, value in (("queries", self.queries), ("deadline", self.deadline)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}: a budget must be positive")


@dataclass(frozen=True)
class Plan:
    """The entries in order; `threat` is what the robust accuracy speaks of; `suite` the name they came by, if any, at which `effort`."""

    threat: Threat
    entries: tuple[Entry, ...]
    suite: str | None = None
    effort: float = 1.0
    converge: float = CONVERGE

    @property
    def levels(self) -> int:
        """The deepest level of its entries; 0 where the samples are attacked by all of them whatever calibration would show."""
        return max(entry.level for entry in self.entries)

    @property
    def reacts(self) -> bool:
        """Whether it may be changed to suit a model that misleads search; other suites are what their names say."""
        return self.suite in REACTING


@typed
def plan(
    threat: Threat | str,
    suite: str | None = None,
    attacks: Sequence[Attack | str] | Attack = (),
    radii: Sequence[float] = (),
    effort: float = 1.0,
    converge: float = CONVERGE,
) -> Plan:
    """The plan of a named suite, or of attacks of one's own (each made on every sample); `radii` adds the accuracy against them.

    `threat`: one of the threats, or its short form, "linf:8/255"; `effort`: how often `standard-2` tries, as a share of its usual;
    `converge`: the share of the samples that may still be estimated to fall when its search ends.

    Raises ConfigError for unknown names, for a suite together with attacks, for an effort where there is none, and for a threat without
    a positive radius (an infinite one goes only with attacks of one's own, that look for the smallest change).
    """
    attacks = [attacks] if isinstance(attacks, str | Attack) else attacks
    threat = parse_threat(threat) if isinstance(threat, str) else threat
    if not isinstance(threat, Threat):
        raise ConfigError(f"threat {threat!r}: expected a threat, as in Linf(8 / 255) or 'linf:8/255'")
    if not 0 < threat.radius < math.inf and not (attacks and threat.radius == math.inf):
        raise ConfigError(f"threat {threat!r}: an evaluation needs a positive, finite radius, as in linf:8/255")
    if not 0 <= converge < 1:
        raise ConfigError(f"converge={converge}: expected a share of the samples, at least 0 and below 1, as 0.005")
    if suite and attacks:
        raise ConfigError(f"suite {suite!r} and attacks of your own: name one or the other")
    if attacks and effort != 1:
        raise ConfigError(f"effort={effort} and attacks of your own: only {DEFAULT} has an effort; give their restarts instead")
    if attacks:
        own = [parse(item, threat) if isinstance(item, str) else item for item in attacks]
        for item in own:
            if item.threat.kind != threat.kind:
                raise ConfigError(
                    f"{item} moves in {item.threat.kind}, the threat is {threat.kind}: "
                    f"a plan has one threat; leave the attack's own out or evaluate them apart"
                )
        entries = [Entry(item, survivors=False) for item in own]
    else:
        suite = suite_name(suite or DEFAULT)
        entries = suite_entries(suite, threat, effort)
    if radii:
        additive(threat, "the curve over radii", "leave radii and --curve out, or choose such a threat")
        entries.append(Entry(curve_attack(threat, tuple(sorted(set(map(float, radii))))), survivors=False, curve=True))
    return Plan(threat, tuple(entries), suite, float(effort), float(converge))


def curve_attack(threat: Threat, radii: tuple[float, ...]) -> Attack:
    """APGD at a grid of radii, one row each; a success ends the larger ones."""
    attack = apgd(threat, steps=20)
    return replace(attack, group=Group(radii=radii), call=f"{attack.call[:-1]}, radii={tuple(round(r, 5) for r in radii)})")
