"""What the trust checks judge: other ways to break what a plan left standing, tried on a few samples drawn by key."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from holdfast.attacks import apgd, cosine, pgd, random_points, square
from holdfast.core.attack import Attack
from holdfast.core.errors import ModelError
from holdfast.core.types import Out, Threat
from holdfast.engine import NONE, Samples, Setting, run
from holdfast.evaluation.binarisation import binarisation_test
from holdfast.evaluation.diagnosis import calibration, short
from holdfast.evaluation.plan import Plan
from holdfast.evaluation.search import Search
from holdfast.models import Classifier
from holdfast.parts.sources import Smoothed
from holdfast.parts.threats import L0, L1, L2, Additive, Linf

SURVIVORS, CORRECT, PLANTS = 24, 16, 24


def gather(
    model: Classifier, search: Search, samples: Samples, clean: Out, standing: Tensor, plan: Plan, setting: Setting
) -> dict[str, Any]:
    """Of `tried` samples how many each other way broke: dictionaries by the name of the check.

    `standing` `[n]`: the samples that no entry of the plan broke, of which some are tried; those that were correct are tried where no
    survivor is asked for. Needs a threat with a finite radius.
    """
    threat = plan.threat
    survivors = _drawn(samples, standing, SURVIVORS, setting.seed)
    correct = _drawn(samples, clean.logits.argmax(dim=1) == samples.y.cpu(), CORRECT, setting.seed)

    def broken(attack: Attack, where: Tensor, reacted: bool = True) -> dict[str, int]:
        attack = search.reaction.attack(attack) if reacted else attack
        if not len(where):
            return {"tried": 0, "broken": 0}
        try:
            found = run(attack, model, samples, setting, search=search(attack), clean=clean, todo=where)
        except ModelError:
            return {"tried": 0, "broken": 0}  # no gradient to be had: other checks say so
        return {"tried": len(where), "broken": int((found.found.member[where] != NONE).sum())}

    facts: dict[str, Any] = {}
    if not isinstance(threat, L0):
        facts["noise"] = broken(random_points(threat, steps=64), survivors)
    if isinstance(threat, Linf | L2):
        facts["gradient_free"] = broken(square(threat, steps=300), survivors)
    if search.reaction.gradient != "none":
        smooth = short(threat)
        facts["smoothed"] = broken(replace(smooth, rule=smooth.rule.sourced(Smoothed())), survivors, search.reaction.stochastic)
        facts["more_steps"] = broken(longer(threat), survivors)
        facts["larger_radius"] = broken(short(replace_radius(threat, 2 * threat.radius)), survivors)
        whole = everything(threat, model, samples)
        if whole is not None:
            facts["unbounded"] = broken(whole, correct)
        some = _drawn(samples, torch.ones_like(standing), PLANTS, setting.seed)
        facts["binarisation"] = _binarisation(model, search, samples, some, plan, setting)
    return facts


def _drawn(samples: Samples, which: Tensor, count: int, seed: int) -> Tensor:
    """Positions of at most `count` of the samples that hold, by their keys."""
    index = which.nonzero().squeeze(1)
    return index[calibration(samples.ids[index], seed, count)].sort().values


def longer(threat: Threat) -> Attack:
    """Three times the steps of the first attempt, from another start."""
    if isinstance(threat, L0):
        return pgd(threat, steps=60)
    return apgd(threat, steps=60, slide=True) if isinstance(threat, L1) else cosine(threat, steps=60, starts=("diversified",))


def replace_radius(threat: Threat, radius: float) -> Threat:
    """The same threat with another radius."""
    assert isinstance(threat, Additive)
    return replace(threat, radius=radius)


def everything(threat: Threat, model: Classifier, samples: Samples) -> Attack | None:
    """An ascent that may go anywhere in the valid range; None where the range has no ends."""
    bounds = model.bounds
    if not bounds.finite or isinstance(threat, L0):
        return None
    low, high = bounds.pair(samples.x[:1].double())
    width = float(torch.as_tensor(high).amax() - torch.as_tensor(low).amin())
    values = samples.x[0].numel()
    if isinstance(threat, L1):
        return apgd(L1(width * values), steps=60, slide=True)
    radius = width * (math.sqrt(values) if isinstance(threat, L2) else 1.0)
    return cosine(replace_radius(threat, radius), steps=40, restarts=2, starts=("clean", "uniform"), share=0.5)


def _binarisation(model: Classifier, search: Search, samples: Samples, where: Tensor, plan: Plan, setting: Setting) -> dict[str, Any]:
    """The test of Zimmermann et al. on a few plants, for the plan's first attacks."""
    if model.stochastic or not isinstance(plan.threat, Additive) or isinstance(plan.threat, L0):
        return {"reason": "planting needs a deterministic model and a threat in L∞, L2 or L1"}
    if search.reaction.gradient != "own" or not len(where):
        return {"reason": "the model's own gradient is of no use: its features cannot be planted"}
    attacks = [entry.attack for entry in plan.entries if not entry.curve]
    x = model.bounds.intake(samples.x[where.to(samples.x.device)], model.dtype, model.device).cpu()
    found = binarisation_test(model, x, attacks[:4], plan.threat, PLANTS, 99, 1, 30, setting)
    return {"plants": found.plants, "tried": found.tried, "found": found.found, "random": found.random_found, "reason": found.reason}
