"""Named, versioned, frozen suites: what a number was measured with."""

from __future__ import annotations

import math
from collections.abc import Callable

from holdfast.attacks import apgd, apgd_targeted, cosine, fab, fab_targeted, fmn, pgd, sigma_zero, square
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.evaluation.entry import Entry, Gradient
from holdfast.parts.threats import L0, L1, L2, Additive

DEFAULT = "standard-2"
REACTING = ("standard-1", "standard-2")
"""The suites that change to suit a model that misleads search, and that have an effort; others are what their names say."""
# AutoAttack does not scale Square's schedule to its 5000 queries.
_HORIZON = 10000
# How near the boundary, as a share of its clean margin, a sample gets more attempts at level 2 of `standard-2`.
_HAIR = 0.02
# The share of all samples that the deeper attacks of `standard-1` are made on however far these are from the boundary.
_SPOT = 0.01


def standard_2(threat: Threat, effort: float = 1.0, gradients: tuple[Gradient, ...] = ()) -> list[Entry]:
    """Our own suite: levels of search, each about as dear as all before it, made until calibration samples say that search has converged.

    Every level holds attacks of several kinds, because they fail on different images. `effort` multiplies restarts, rivals and queries
    from level 1 on. `gradients`: where the model's own gradient is doubtful, those that lead anywhere: level 1 then holds a search by
    each of them, and AutoAttack's 5,000 queries of random search.
    """

    def times(count: int) -> int:
        return max(1, round(count * effort))

    if isinstance(threat, L0):
        return sparse_levels(threat, times)

    def ce(steps: int, restarts: int) -> Attack:
        return apgd(threat, steps=steps, restarts=times(restarts))

    def aimed(steps: int, rivals: int) -> Attack:
        return apgd_targeted(threat, steps=steps, rivals=times(rivals))

    def again(steps: int, restarts: int) -> Attack:
        if isinstance(threat, L1):
            return apgd(threat, steps=steps, restarts=times(restarts), objective="margin")
        starts = ("corner", "diversified", "uniform")
        return cosine(threat, steps=steps, restarts=times(restarts), starts=starts, decay=0.5, share=1.0)

    def fab(steps: int, rivals: int) -> Attack:
        return fab_targeted(threat, steps=steps, rivals=times(rivals))

    def search(queries: int, horizon: int) -> Attack:
        return square(threat, steps=times(queries), horizon=times(horizon))

    first = [apgd(threat, steps=30)] if isinstance(threat, L1) else [cosine(threat, steps=20), apgd(threat, steps=20)]
    levels = [
        first,
        [ce(25, 2), aimed(12, 5), search(100, 1000)],
        [again(25, 2), ce(30, 1), aimed(25, 3), search(420, 3000)],
        [ce(100, 1), again(40, 3), aimed(50, 4), fab(30, 3), search(1000, 5000)],
        [ce(100, 2), again(60, 2), aimed(60, 3), fab(60, 5), search(2500, _HORIZON)],
        [ce(100, 4), again(60, 6), aimed(100, 5), fab(100, 9), search(5000, _HORIZON)],
    ]
    # A sample a hair from the boundary is worth many attempts, and there are few of them.
    polish = [Entry(attack, level=2, near=_HAIR) for attack in (ce(100, 3), again(60, 3), aimed(60, 3))]
    entries = [Entry(attack, level=level) for level, attacks in enumerate(levels) for attack in attacks]
    # Where gradients jump, those of a smoothed copy lead on.
    smooth = (
        []
        if isinstance(threat, L1)
        else [Entry(again(25, 2), level=3, gradient="smoothed"), Entry(again(40, 2), level=4, gradient="smoothed")]
    )
    entries = sorted([*entries, *polish, *smooth], key=lambda entry: entry.level)
    if not gradients:
        return entries
    for gradient in gradients:
        entries += [Entry(attack, level=1, gradient=gradient) for attack in (again(40, 3), ce(60, 2), aimed(20, 9))]
    entries += [Entry(search(5000, _HORIZON), level=level) for level in (1, 2, 3)]
    return sorted(entries, key=lambda entry: entry.level)


def sparse_levels(threat: L0, times: Callable[[int], int]) -> list[Entry]:
    """The levels of `standard-2` in L0: σ-zero, which draws nothing, in several settings, and PGD on the k largest gradients, restarted."""
    levels = [
        [sigma_zero(threat, steps=60), pgd(threat, steps=30)],
        [sigma_zero(threat, steps=200), pgd(threat, steps=50, restarts=times(2)), fmn(threat, steps=100)],
        [sigma_zero(threat, steps=300, threshold=0.1), pgd(threat, steps=60, restarts=times(3), objective="margin")],
        [sigma_zero(threat, steps=1000), pgd(threat, steps=100, restarts=times(6), objective="margin"), fmn(threat, steps=500)],
        [sigma_zero(threat, steps=1000, rate=0.5), pgd(threat, steps=200, restarts=times(10))],
    ]
    return [Entry(attack, level=level) for level, attacks in enumerate(levels) for attack in attacks]


def standard_1(threat: Threat, effort: float = 1.0) -> list[Entry]:
    """Our own cascade: a short ascent on every sample, ever more the nearer a sample has come to the boundary, then random search.

    The first ascent decides about most. What it leaves far from the boundary is left in peace, but for a share drawn by key, so that a
    masked gradient shows. `effort` multiplies restarts, rivals and queries.
    """

    def times(count: int) -> int:
        return max(1, round(count * effort))

    if isinstance(threat, L0):
        return [Entry(pgd(threat, steps=100)), Entry(pgd(threat, steps=200, restarts=times(4)), near=0.8, spot=_SPOT)]
    if isinstance(threat, L1):
        # What this name stands for is frozen: SLIDE's steps, which were all of APGD in L1 when it was chosen.
        first, aimed = apgd(threat, steps=60, slide=True), apgd_targeted(threat, steps=40, rivals=5, slide=True)
        return [Entry(first), Entry(aimed, near=0.8, spot=_SPOT), Entry(apgd(threat, restarts=times(5), slide=True), near=0.4)]
    round_ball = isinstance(threat, L2)
    toward = Entry(apgd_targeted(threat, steps=12, rivals=times(5)), near=0.65 if round_ball else 0.5, spot=_SPOT)
    other = Entry(apgd(threat, steps=40), near=0.3, spot=_SPOT)
    wide = Entry(apgd_targeted(threat, steps=25, rivals=times(9)), near=0.2, hope=2.0)
    # Square follows the schedule of three times its queries, of which the first third finds most.
    queries = times(400 if round_ball else 700)
    search = square(threat, steps=queries, horizon=3 * queries)

    def again(steps: int, restarts: int, *starts: str) -> Attack:
        return cosine(threat, steps=steps, restarts=times(restarts), starts=starts, decay=0.5, share=1.0)

    if round_ball:
        return [
            Entry(cosine(threat, steps=20)),
            toward,
            Entry(again(50, 1, "uniform"), near=0.4, spot=_SPOT),
            other,
            wide,
            Entry(apgd(threat, steps=50, restarts=times(6)), near=0.2, hope=2.0),
            Entry(apgd_targeted(threat, steps=40, rivals=times(3), restarts=2), near=0.1, hope=2.0),
            Entry(search, near=0.05, hope=1.5, spot=_SPOT),
        ]
    return [
        Entry(cosine(threat, steps=20)),
        toward,
        Entry(again(25, 1, "corner"), near=0.5, spot=_SPOT),
        other,
        wide,
        # A member's draws are its own, so that each start stands at other places in the two.
        Entry(again(50, 6, "corner", "diversified", "uniform"), near=0.2, hope=2.0),
        Entry(again(60, 4, "diversified", "uniform", "corner"), near=0.1, hope=2.0),
        Entry(search, near=0.15, hope=1.5, spot=_SPOT),
    ]


def quick_1(threat: Threat) -> list[Entry]:
    """APGD on the cross-entropy, 50 steps, then toward the nine likeliest rivals, 20 steps each, on what is left."""
    slide = isinstance(threat, L1)
    return _cascade(apgd(threat, steps=50, slide=slide), apgd_targeted(threat, steps=20, slide=slide))


def autoattack_standard(threat: Threat) -> list[Entry]:
    """AutoAttack (Croce & Hein 2020): APGD on the cross-entropy, APGD and FAB toward nine rivals, Square, each on what is left.

    In L1 (Croce & Hein 2021) both APGD begin at larger radii, the first from five starts, the second toward five rivals.
    """
    search = square(threat, horizon=_HORIZON)
    if isinstance(threat, L1):
        first, aimed = apgd(threat, restarts=5, larger_radii=True), apgd_targeted(threat, rivals=5, larger_radii=True)
        return _cascade(first, aimed, fab_targeted(threat), search)
    return _cascade(apgd(threat), apgd_targeted(threat), fab_targeted(threat), search)


def autoattack_rand(threat: Threat) -> list[Entry]:
    """AutoAttack for stochastic models: APGD on the cross-entropy and on the DLR, twenty draws a gradient."""
    larger = _own_radius(threat)
    return _cascade(apgd(threat, eot=20, larger_radii=larger), apgd(threat, objective="dlr", eot=20, larger_radii=larger))


def autoattack_plus(threat: Threat) -> list[Entry]:
    """AutoAttack's widest version: five restarts of APGD on both objectives and of FAB, Square, then both toward nine rivals."""
    larger = _own_radius(threat)
    plain, ratio = (apgd(threat, objective=name, restarts=5, larger_radii=larger) for name in ("ce", "dlr"))
    found = [plain, ratio, fab(threat, restarts=5), square(threat, horizon=_HORIZON)]
    return _cascade(*found, apgd_targeted(threat, larger_radii=larger), fab_targeted(threat))


def _own_radius(threat: Threat) -> bool | None:
    """For APGD's `larger_radii`: of the authors' versions only `standard` begins at larger radii in L1."""
    return False if isinstance(threat, L1) else None


def _cascade(*attacks: Attack) -> list[Entry]:
    return [Entry(attack) for attack in attacks]


SUITES: dict[str, Callable[[Threat], list[Entry]]] = {
    "standard-2": standard_2,
    "standard-1": standard_1,
    "quick-1": quick_1,
    "autoattack-standard": autoattack_standard,
    "autoattack-rand": autoattack_rand,
    "autoattack-plus": autoattack_plus,
}
ALIASES = {"standard": DEFAULT, "autoattack": "autoattack-standard"}


def suite_name(name: str) -> str:
    """The name under which a suite is recorded, for it or for its alias.

    Raises ConfigError for an unknown name.
    """
    name = ALIASES.get(name, name)
    if name not in SUITES:
        raise ConfigError(f"suite {name!r} is unknown: choose one of {', '.join([*SUITES, *ALIASES])}, or give attacks of your own")
    return name


def suite_entries(name: str, threat: Threat, effort: float = 1.0, gradients: tuple[Gradient, ...] = ()) -> list[Entry]:
    """The entries of a suite under a threat; `effort` other than 1 scales our own suites, and only those; `gradients` as in `standard_2`.

    Raises ConfigError for an unknown name, a threat that is not additive, an effort that is not positive, or one for a suite that has none.
    """
    name = suite_name(name)
    additive(threat, f"suite {name!r}", "name attacks of your own, as pgd or stadv")
    if effort == 1 and not gradients:
        return SUITES[name](threat)
    if not 0 < effort < math.inf or name not in REACTING:
        raise ConfigError(f"effort={effort} for suite {name!r}: only {' and '.join(REACTING)} have one, a positive number; leave it out")
    return standard_1(threat, effort) if name == "standard-1" else standard_2(threat, effort, gradients)


def additive(threat: Threat, name: str, remedy: str) -> None:
    """Raise ConfigError unless `name`, which adds to inputs, fits the threat; `remedy` says what to do instead."""
    if not isinstance(threat, Additive):
        raise ConfigError(f"{name} knows additive changes (linf, l2, l1, l0), not {threat.kind}: {remedy}")
