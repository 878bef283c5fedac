"""Every attack of the catalogue keeps every promise of the suite, at small settings."""

from __future__ import annotations

import inspect
from math import inf
from typing import Any

import pytest

from holdfast import attacks
from holdfast.attacks.short import ENTRIES, THREATS
from holdfast.core.attack import Attack
from holdfast.core.errors import InputError
from holdfast.parts.threats import L0, L1, L2, Colour, Composed, Flow, Linf, Occlusion

from .bench import Case, case, convolutional, flat, images
from .suite import PROMISES, Promise, claims_hold, counts_are_honest, module_is_left_alone

SMALL: dict[str, list[Attack]] = {
    "apgd": [
        attacks.apgd(0.1, steps=8, restarts=2),
        attacks.apgd(L2(0.25), steps=8, objective="dlr", early=False),
        attacks.apgd(L1(0.6), steps=10, targeted=True),
        attacks.apgd(L1(0.4), steps=8, restarts=2, larger_radii=False, eot=2),
        attacks.apgd(L1(0.6), steps=6, slide=True),
        attacks.apgd(0.1, steps=4, eot=3),
    ],
    "apgd_targeted": [
        attacks.apgd_targeted(0.08, steps=5, rivals=2, restarts=2),
        attacks.apgd_targeted(L1(0.3), steps=10, rivals=2, restarts=2),
    ],
    "bim": [attacks.bim(0.1, steps=5, targeted=True)],
    "bim_a": [attacks.bim_a(0.1, steps=5)],
    "bim_b": [attacks.bim_b(0.12, steps=5)],
    "carlini_wagner": [attacks.carlini_wagner(steps=10, searches=2, rate=0.1, initial=0.1)],
    "carlini_wagner_l0": [
        attacks.carlini_wagner_l0(steps=5, rounds=5, rate=0.3),
        attacks.carlini_wagner_l0(L0(3), steps=5, rounds=4, rate=0.3, targeted=True),
    ],
    "carlini_wagner_linf": [
        attacks.carlini_wagner_linf(steps=5, factor=10, decay=0.6),
        attacks.carlini_wagner_linf(Linf(0.15), steps=5, factor=10, decay=0.6, targeted=True),
    ],
    "cosine": [
        attacks.cosine(0.08, steps=5, restarts=4, starts=("diversified", "corner", "uniform")),
        attacks.cosine(L2(0.25), steps=5, restarts=2, starts=("corner", "clean")),
        attacks.cosine(0.08, steps=4, rivals=2, restarts=2),
    ],
    "ddn": [attacks.ddn(steps=8, length=0.2), attacks.ddn(L2(0.3), steps=6, levels=64), attacks.ddn(steps=6, targeted=True)],
    "deepfool": [attacks.deepfool(steps=6), attacks.deepfool(Linf(0.15), steps=6, classes=3), attacks.deepfool(steps=6, targeted=True)],
    "ead": [
        attacks.ead(steps=6, searches=2, initial=1.0),
        attacks.ead(steps=10, searches=2, initial=0.1, rate=0.1, decision="en", targeted=True),
    ],
    "fab": [attacks.fab(L2(0.3), steps=5, restarts=2), attacks.fab(Linf(inf), steps=5), attacks.fab(L1(0.8), steps=5)],
    "fab_targeted": [attacks.fab_targeted(0.1, steps=4, rivals=2, restarts=2), attacks.fab_targeted(steps=4, rivals=2)],
    "fgsm": [attacks.fgsm(0.1), attacks.fgsm(L2(0.3), targeted=True)],
    "fmn": [
        attacks.fmn(steps=6),
        attacks.fmn(Linf(inf), steps=5, targeted=True),
        attacks.fmn(L1(0.8), steps=5),
        attacks.fmn(L0(inf), steps=6),
    ],
    "jsma": [
        attacks.jsma(theta=0.4, gamma=0.5, direction="both"),
        attacks.jsma(L0(3), theta=0.3, gamma=1.0, pairs=False),
        attacks.jsma(theta=0.5, gamma=0.5, targeted=True),
    ],
    "lbfgs": [attacks.lbfgs(steps=6, searches=3), attacks.lbfgs(L2(0.3), steps=6, searches=3, targeted=True)],
    "mi_fgsm": [attacks.mi_fgsm(0.1, steps=5)],
    "occlusion": [
        attacks.occlusion(Occlusion(2), steps=7, stride=1, fill="black"),
        attacks.occlusion(Occlusion(2), steps=7, stride=3, fill="noise", restarts=2),
        attacks.occlusion(Occlusion(2), steps=5, fill="adversarial", step=0.2, restarts=2, targeted=True),
    ],
    "pgd": [
        attacks.pgd(0.08, steps=6, restarts=3),
        attacks.pgd(L2(0.25), steps=6, targeted=True, restarts=2),
        attacks.pgd(L1(0.6), steps=6, early=False),
        attacks.pgd(L0(2), steps=6),
        attacks.pgd(Flow(0.4), steps=6),
    ],
    "recolor": [
        attacks.recolor(Colour(0.1, resolution=(3, 4, 4)), steps=6, rate=0.05),
        attacks.recolor(Composed((Colour(0.05, resolution=(3, 4, 4)), Flow(0.2), Linf(0.03))), steps=5, rate=0.3, targeted=True),
    ],
    "sigma_zero": [attacks.sigma_zero(steps=12), attacks.sigma_zero(L0(3), steps=12, targeted=True)],
    "square": [
        attacks.square(0.1, steps=15, restarts=2),
        attacks.square(L2(0.4), steps=15, targeted=True, horizon=10000),
        attacks.square(L1(0.7), steps=15, restarts=2),
    ],
    "stadv": [attacks.stadv(steps=6, rate=0.2), attacks.stadv(Flow(0.3), steps=6, rate=0.2, tau=0.0, targeted=True)],
}
DEFAULTS: dict[str, Any] = {"threat": 0.1, "steps": 6, "searches": 2}


def small(name: str) -> list[Attack]:
    """Settings of an attack that end soon: those above, or its own with few steps (and what it does with a target)."""
    if name in SMALL:
        return SMALL[name]
    entry = ENTRIES[name]
    known = inspect.signature(entry.make).parameters
    given = {key: value for key, value in DEFAULTS.items() if key in known}
    if entry.minimum_norm:
        del given["threat"]
    elif "threat" in given and "linf" not in entry.threats:
        given["threat"] = THREATS[entry.threats[0]](0.3)
    made = [entry.make(**given)]
    return [*made, entry.make(**given, targeted=True)] if "targeted" in known else made


SETTINGS = [(name, attack) for name in attacks.__all__ for attack in small(name)]
PROMISE = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
ATTACK = pytest.mark.parametrize("attack", [attack for _, attack in SETTINGS], ids=str)
FIRST = pytest.mark.parametrize("attack", [small(name)[0] for name in attacks.__all__], ids=str)


def suited(attack: Attack, wanted: Case) -> Case:
    """The case, or images where the attack's threat says that it cannot change such inputs."""
    return images() if attack.threat.unfit(tuple(wanted.samples.x.shape[1:])) else wanted


@PROMISE
@ATTACK
def test_flat_inputs(attack: Attack, promise: Promise) -> None:
    promise(attack, suited(attack, flat()))


@pytest.mark.parametrize("attack", [attack for _, attack in SETTINGS if attack.threat.unfit((6,))], ids=str)
def test_inputs_that_a_threat_cannot_change_are_refused_in_one_line(attack: Attack) -> None:
    with pytest.raises(InputError, match=r"does not fit inputs of shape \['n', 6\].*choose another threat") as raised:
        flat().run(attack)
    assert "\n" not in str(raised.value)


@PROMISE
@FIRST
def test_images(attack: Attack, promise: Promise) -> None:
    promise(attack, images())


@pytest.mark.parametrize("attack", [attack for _, attack in SETTINGS if attack.goal.targeted], ids=str)
def test_targets_of_the_caller(attack: Attack) -> None:
    claims_hold(attack, case((2, 4, 4) if attack.threat.unfit((6,)) else (6,), targets=True))


@pytest.mark.parametrize("promise", [claims_hold, counts_are_honest, module_is_left_alone], ids=lambda promise: promise.__name__)
@FIRST
def test_a_net_as_users_have_them(attack: Attack, promise: Promise) -> None:
    promise(attack, case((2, 4, 4), n=12, net=convolutional()))


@FIRST
@pytest.mark.parametrize(("shape", "n", "classes"), [((6,), 9, 2), ((6,), 9, 3), ((6,), 1, 5), ((1,), 9, 2), ((1, 1, 1), 5, 4)])
def test_small_cases(attack: Attack, shape: tuple[int, ...], n: int, classes: int) -> None:
    claims_hold(attack, case((1, *shape, 1) if attack.threat.unfit(shape) else shape, n, classes))


def test_something_is_found_and_something_withstands() -> None:
    """Settings at which nothing falls, or everything, would test little."""
    shares = [float(suited(attack, flat()).run(attack).success.double().mean()) for _, attack in SETTINGS]
    assert sum(0.15 < share < 0.98 for share in shares) > len(shares) // 2
