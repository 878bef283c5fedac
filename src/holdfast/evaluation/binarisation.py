"""The binarisation test: can these attacks find an adversarial example that is known to exist?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.expect import typed
from holdfast.engine import Samples, admit, run
from holdfast.engine.setting import Setting
from holdfast.evaluation.check import Check, Status
from holdfast.evaluation.planting import Binarised, binarised
from holdfast.evaluation.readout import planted
from holdfast.models import Classifier
from holdfast.parts.threats import Additive

PASS, FAIL, EASY = 0.99, 0.95, 0.5


@dataclass(frozen=True)
class BinarisationReport:
    """Of `plants` binary classifiers (made from `tried` samples) the attacks broke `found`, random points within ε `random_found`.

    `reason` says why there is none to tell of.
    """

    plants: int = 0
    tried: int = 0
    found: int = 0
    random_found: int = 0
    reason: str = ""

    @property
    def share(self) -> float:
        """The share of plants found, in [0, 1]; NaN where the test was not run."""
        return self.found / self.plants if self.plants else float("nan")

    @property
    def random_share(self) -> float:
        """The share that random points find: the test says little where it is high."""
        return self.random_found / self.plants if self.plants else float("nan")

    @property
    def status(self) -> Status:
        """`pass` from 99 % found, `fail` below 95 %, `warn` between, and where random points find half: a pass is then worth little."""
        if not self.plants:
            return "not run"
        if self.share < FAIL:
            return "fail"
        return "pass" if self.share >= PASS and self.random_share <= EASY else "warn"

    def check(self) -> Check:
        """The report as one trust check."""
        if not self.plants:
            return Check("binarisation", "not run", self.reason)
        left = f"; {self.tried - self.plants} of {self.tried} samples could not be planted" if self.tried > self.plants else ""
        evidence = f"{self.found} of {self.plants} planted adversarial examples found, {self.random_found} by random points{left}"
        if self.share < PASS:
            remedy = (
                "the attacks miss what is there, so the accuracy is too high: more steps or restarts, another objective, a better gradient"
            )
        elif self.random_share > EASY:
            remedy = "random points find as much: raise the count of inner points"
        else:
            remedy = ""
        return Check("binarisation", self.status, evidence, remedy)


@typed
def binarisation_test(
    model: Classifier,
    x: Tensor,
    attacks: Sequence[Attack],
    threat: Additive,
    plants: int = 200,
    inner: int = 999,
    boundary: int = 1,
    random: int = 200,
    setting: Setting = Setting(),
) -> BinarisationReport:
    """Whether `attacks`, tried one after the other on what is left, find the planted adversarial examples of `binarised`.

    A sound evaluation finds (nearly) all of them; one that does not would call `model` robust whatever it is.

    Parameters as `binarised`; each attack has the radius of `threat`, or none (a smallest change counts when it lies within). A model
    that cannot be planted is reported as `not run`, with the reason.

    Raises ConfigError for no attacks, one of another threat, or one that needs more than the model gives.
    Source: Zimmermann, Brendel, Tramèr & Carlini 2022 (arXiv:2206.13991).
    Differs from the paper: all plants are attacked in one run, each row by its own readout.

    >>> from holdfast import Linf, attacks
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval(), classes=3)
    >>> x = torch.full((2, 1, 4, 4), 0.5)
    >>> binarisation_test(model, x, [attacks.pgd(0.1)], Linf(0.1), inner=99).found
    2
    """
    if not attacks:
        raise ConfigError("attacks=[]: the binarisation test judges attacks: give one at least")
    for attack in attacks:
        admit(attack, model, tuple(x.shape[1:]))
        if type(attack.threat) is not type(threat) or attack.threat.radius not in (threat.radius, float("inf")):
            raise ConfigError(f"{attack} is not an attack within {threat!r}: the test judges attacks at the radius where it plants")
    try:
        ground = binarised(model, x, threat, plants, inner, boundary, random, setting)
    except ModelError as error:
        return BinarisationReport(reason=str(error))
    found = search(ground, attacks, setting)
    return BinarisationReport(len(found), ground.tried, int(found.sum()), int(ground.plants.lucky.sum()))


def search(ground: Binarised, attacks: Sequence[Attack], setting: Setting = Setting()) -> Tensor:
    """Which plants the attacks find, each tried on what those before it left: bool `[plants]`."""
    plants = ground.plants
    samples = Samples(plants.x, torch.zeros_like(plants.sample), plants.sample)
    found = torch.zeros(len(plants), dtype=torch.bool)
    for attack in attacks:
        todo = (~found).nonzero().squeeze(1)
        if len(todo):
            outcome = run(planted(attack), ground.model, samples, setting, clean=plants.clean, todo=todo)
            # An attack without a radius looks for the smallest change, which need not be small enough.
            found |= outcome.success & (outcome.found.size <= ground.threat.radius * (1 + 1e-5) + 1e-6)
    return found
