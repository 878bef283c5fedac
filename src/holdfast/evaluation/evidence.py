"""What the trust checks judge: other ways to break what a plan left standing, tried on a few samples drawn by key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.types import Out
from holdfast.engine import NONE, Samples, Setting, run
from holdfast.evaluation import trials
from holdfast.evaluation.binarisation import binarisation_test
from holdfast.evaluation.diagnosis import calibration, short
from holdfast.evaluation.plan import Plan
from holdfast.evaluation.search import Search
from holdfast.models import Classifier
from holdfast.parts.threats import L0, Additive

SURVIVORS, CORRECT, PLANTS, LEAST = 24, 16, 24, 8
NO_SURVIVOR = "no sample survived, so there is nothing that search could have missed"
USELESS = "the model's gradients are of no use, so search went without them"

Facts = dict[str, Any]
Attempt = Callable[[str, Attack, Tensor], tuple[int, int] | None]
"""An attack within the plan's own threat, by the name of its check, on samples at given positions: how many were `tried` and `broken`."""


class Halt(Exception):
    """The run was told to stop."""


def gather(
    model: Classifier, search: Search, samples: Samples, clean: Out, standing: Tensor, plan: Plan, setting: Setting,
    attempt: Attempt | None = None, spent: int | None = None, halt: Callable[[], bool] = lambda: False,
) -> dict[str, Facts]:  # fmt: skip
    """Of `tried` survivors how many each other way broke, or the `reason` why it was not tried: dictionaries by the name of the check.

    `standing` `[n]`: the samples that no entry of the plan broke, of which some are tried. `attempt` makes the attacks that keep to the
    plan's own threat (None: their examples are not kept); `spent`: the forwards that the plan's attacks cost, which random search keeps
    below. Needs a threat with a finite radius.

    Raises Halt where `halt` says so, or `attempt` was stopped.
    """
    here = Samples(samples.x, samples.y, samples.ids)
    survivors = _drawn(here, standing, SURVIVORS, setting.seed)
    facts: dict[str, Facts] = {}
    if not len(survivors):
        names = ("noise", "gradient_free", "minimum_norm", "smoothed", "more_steps", "larger_radius", "unbounded", "binarisation")
        return {name: {"reason": NO_SURVIVOR} for name in names}
    threat, reaction = plan.threat, search.reaction
    made = attempt or partial(_attempt, model, search, here, clean, setting)
    # Random search costs most; where the attacks themselves were cheap it is made on fewer.
    some = SURVIVORS if spent is None else min(SURVIVORS, max(LEAST, spent // (2 * trials.QUERIES)))
    used = {entry.attack.name for entry in plan.entries}

    def tried(name: str, attack: Callable[[], Attack], where: Tensor = survivors, reacted: bool = True) -> None:
        if halt():
            raise Halt
        try:
            found = made(name, reaction.attack(attack()) if reacted else attack(), where)
        except (ConfigError, ModelError) as error:
            facts[name] = {"reason": f"it cannot be tried here: {error}"}
            return
        if found is None:
            raise Halt
        facts[name] = {"tried": found[0], "broken": found[1]}

    tried("noise", lambda: trials.noise(threat))
    tried("gradient_free", lambda: trials.gradient_free(threat), _drawn(here, standing, some, setting.seed))
    if reaction.gradient == "none":
        return facts | {name: {"reason": USELESS} for name in _BY_GRADIENT}
    tried("minimum_norm", lambda: trials.minimum_norm(threat, used))
    tried("smoothed", lambda: trials.smoothed(threat), reacted=reaction.stochastic)
    tried("more_steps", lambda: trials.longer(threat))
    made = partial(_attempt, model, search, here, clean, setting)
    tried("larger_radius", lambda: short(trials.radius_times(threat, 2)))
    if halt():
        raise Halt
    facts["unbounded"] = _unbounded(model, search, here, clean, survivors, setting)
    few = _drawn(here, torch.ones_like(standing), min(PLANTS, 4 * len(survivors)), setting.seed)
    facts["binarisation"] = _binarisation(model, search, here, few, plan, setting)
    return facts


_BY_GRADIENT = ("minimum_norm", "smoothed", "more_steps", "larger_radius", "unbounded", "binarisation")


def another_seed(setting: Setting) -> Setting:
    """Trust attacks draw other noise than the plan's: a random search made twice with one seed finds the same twice."""
    return replace(setting, seed=setting.seed ^ 1)


def subset(samples: Samples, where: Tensor) -> Samples:
    """The samples at positions `where`, so that nothing of the size of the whole data is made for a few."""
    return Samples(samples.x[where.to(samples.x.device)], samples.y[where.to(samples.y.device)], samples.ids[where])


def _attempt(
    model: Classifier, search: Search, samples: Samples, clean: Out, setting: Setting, name: str, attack: Attack, where: Tensor
) -> tuple[int, int]:
    """An attack whose examples are not kept."""
    found = run(attack, model, subset(samples, where), another_seed(setting), search=search(attack), clean=clean[where])
    return len(where), int((found.found.member != NONE).sum())


def _drawn(samples: Samples, which: Tensor, count: int, seed: int) -> Tensor:
    """Positions of at most `count` of the samples that hold, by their keys."""
    index = which.nonzero().squeeze(1)
    return index[calibration(samples.ids[index], seed, count)].sort().values


def _unbounded(model: Classifier, search: Search, samples: Samples, clean: Out, survivors: Tensor, setting: Setting) -> Facts:
    """Survivors whose class the model leaves somewhere in the range, for some other input of the data shows so; how many fell."""
    ways = trials.unbounded(model)
    if not ways:
        return {"reason": "the valid range has no ends"}
    answers, y = clean.logits.argmax(dim=1), samples.y.cpu()
    where = survivors[:CORRECT]
    where = where[torch.stack([(answers != label).any() for label in y[where]])]
    if not len(where):
        return {"reason": "the model answers all inputs alike, so no other class is known to be in reach"}
    left = where
    for way in ways:
        if len(left):
            attack = search.reaction.attack(way)
            few = subset(samples, left)
            try:
                found = run(attack, model, few, another_seed(setting), search=search(attack), clean=clean[left])
            except ModelError as error:
                return {"reason": f"it cannot be tried here: {error}"}
            left = left[found.found.member == NONE]
    return {"tried": len(where), "broken": len(where) - len(left)}


def _binarisation(model: Classifier, search: Search, samples: Samples, where: Tensor, plan: Plan, setting: Setting) -> Facts:
    """The test of Zimmermann et al. on a few plants, for the plan's first attacks."""
    if model.stochastic or not isinstance(plan.threat, Additive) or isinstance(plan.threat, L0):
        return {"reason": "planting needs a deterministic model and a threat in L∞, L2 or L1"}
    if search.reaction.gradient != "own":
        return {"reason": "the model's own gradient is of no use: its features cannot be planted"}
    attacks = [entry.attack for entry in plan.entries if not entry.curve]
    x = model.bounds.intake(samples.x[where.to(samples.x.device)], model.dtype, model.device).cpu()
    found = binarisation_test(model, x, attacks[:4], plan.threat, PLANTS, 99, 1, 30, setting)
    facts: Facts = {"plants": found.plants, "tried": found.tried, "found": found.found, "random": found.random_found}
    return facts | ({"reason": found.reason} if found.reason else {})
