"""Before anything is measured: does the model answer alike twice, in logits, with gradients that lead anywhere? And what to do if not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from holdfast.attacks import apgd, cosine, pgd, square
from holdfast.core.attack import Attack
from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ModelError
from holdfast.core.types import Access, Model, Threat
from holdfast.engine import NONE, Asker, Pieces, Samples, Setting, clean_answers, run
from holdfast.engine.noise import by_place, seeded_generators
from holdfast.evaluation.entry import Gradient
from holdfast.evaluation.reaction import Reaction, probabilities
from holdfast.models import Classifier
from holdfast.parts.threats import L0, L1

ROWS = 32
"""Of the calibration set, which is drawn by key."""
DEAD = 0.02
"""The share of rows without a gradient from which on the gradients are suspected."""
STEADY = 1e-4
"""The distance of two answers to one input, as a share of the largest logit, above which they are random."""
SATURATED, CALM = 30.0, 5.0
"""The median distance of the two highest logits above which these are divided, and what it becomes."""


@dataclass(frozen=True)
class Diagnosis:
    """What was seen on the calibration set, as numbers, and the `reaction` to it.

    `apart`: how far two answers to one input differ, as a share of the largest logit; `dead`: the share of rows whose gradient is zero or
    not to be had; `spread`: the median distance of the two highest logits (of their logarithms, for probabilities); `trials`: of how many
    rows each gradient left standing what share; for suspects only.
    """

    apart: float = 0.0
    probabilities: bool = False
    dead: float = 0.0
    spread: float = 0.0
    rows: int = 0
    trials: dict[str, float] = field(default_factory=dict)
    reaction: Reaction = Reaction()

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """The diagnosis whose `dataclasses.asdict` was stored."""
        reaction = dict(stored["reaction"])
        return cls(**{**stored, "reaction": Reaction(**reaction | {"usable": tuple(reaction["usable"])})})


def calibration(ids: Tensor, seed: int, count: int = ROWS) -> Tensor:
    """Positions `[m]` of at most `count` samples, chosen by their keys, in the order of these."""
    key = row_key(seed, ids, torch.full_like(ids, -2))
    return Draw(key, torch.zeros_like(ids)).uniform("calibration", (1,), torch.float64).squeeze(1).argsort(stable=True)[:count]


def diagnose(model: Classifier, samples: Samples, threat: Threat, react: bool = True, seed: int = 0) -> Diagnosis:
    """Look at a model's answers and gradients on a few samples, and decide how search should ask it; where it may not `react`, which
    gradients lead anywhere is not tried.

    Raises ModelError for a model whose answer to a row depends on the others.
    """
    some = calibration(samples.ids, seed)
    few = Samples(samples.x[some.to(samples.x.device)], samples.y[some.to(samples.y.device)], samples.ids[some])
    x = model.bounds.intake(few.x, model.dtype, model.device)
    logits, apart = answers_apart(model, x, seed)
    if bool(logits.isnan().any()):
        return Diagnosis()
    if apart <= STEADY:
        _company(model, x, logits)
    stochastic = model.stochastic or apart > STEADY
    likely = probabilities(logits)
    seen = logits.clamp_min(torch.finfo(logits.dtype).tiny).log() if likely else logits
    top = seen.double().topk(2, dim=1).values
    spread = float((top[:, 0] - top[:, 1]).median())
    reaction = Reaction(stochastic, likely, spread / CALM if spread > SATURATED else 1.0)
    if model.access < Access.GRADIENT:
        return Diagnosis(apart, likely, 0.0, spread, len(x), reaction=replace(reaction, gradient="none", doubtful=True))
    dead = _dead(reaction.model(model, x), x, seed)
    found = Diagnosis(apart, likely, dead, spread, len(x), reaction=reaction)
    return found if dead <= DEAD or not react else _tried(found, model.declared(stochastic), few, x, threat, seed)


def answers_apart(model: Model, x: Tensor, seed: int) -> tuple[Tensor, float]:
    """The logits for `x` `[n, ...]`, and how far those of three more asks lie from them, as a share of the largest; up to `STEADY` they are
    one answer."""
    with seeded_generators(model.device, seed, 0, purpose=4), torch.no_grad():
        logits, *others = (by_place(model, x, ask, seed).logits for ask in range(4))
    scale = logits.abs().amax().clamp_min(1e-6)
    return logits, max(float((logits - other).abs().amax() / scale) for other in others)


def _company(model: Model, x: Tensor, together: Tensor, rows: int = 8) -> None:
    with torch.no_grad():
        alone = torch.cat([by_place(model, x[i : i + 1]).logits for i in range(min(rows, len(x)))])
    apart = float((together[: len(alone)] - alone).abs().amax() / together.abs().amax().clamp_min(1e-6))
    if apart > 1e-2:
        raise ModelError(
            f"the model's answer to a row depends on the others in its batch ({apart:.2g} of the largest logit): "
            f"remove batch statistics from it, or call .eval() on it"
        )


def _dead(model: Model, x: Tensor, seed: int) -> float:
    """The share of rows whose margin has a zero gradient, or none."""
    with seeded_generators(model.device, seed, 1, purpose=4), torch.enable_grad():
        q = x.clone().requires_grad_()
        logits = by_place(model, q.clone(), 4, seed).logits
        top = logits.topk(2, dim=1).values
        total = (top[:, 1] - top[:, 0]).sum()
        g = torch.autograd.grad(total, q, allow_unused=True)[0] if total.requires_grad else None
    if g is None:
        return 1.0
    # A handful of live values among hundreds is a gradient that has died as well.
    live = ((g != 0) & g.isfinite()).flatten(1).double().mean(dim=1)
    return float((live < 0.01).double().mean())


def _tried(found: Diagnosis, model: Classifier, few: Samples, x: Tensor, threat: Threat, seed: int) -> Diagnosis:
    """Suspected gradients: which of those that can be had leads furthest, or does random search?"""
    setting = Setting(seed, pieces=Pieces(len(x)))
    clean = clean_answers(model, few, Asker(Pieces(len(x))), seed)
    right = (clean.logits.argmax(dim=1) == few.y.cpu()).nonzero().squeeze(1)
    trials: dict[str, float] = {}
    choices: tuple[Gradient, ...] = ("straight", "smoothed", "own") if found.dead < 1 else ("straight",)
    for gradient in choices:
        reaction = replace(found.reaction, gradient=gradient, doubtful=True)
        try:
            outcome = run(reaction.attack(short(threat)), model, few, setting, clean=clean, todo=right, search=reaction.model(model, x))
        except ModelError:
            continue  # a copy that cannot be made, or has no gradient either, is no candidate
        trials[gradient] = _left(outcome.found.member, right)
    if not isinstance(threat, L1 | L0):
        blind = reaction_free(found.reaction).attack(square(threat, steps=300))
        outcome = run(blind, model, few, setting, clean=clean, todo=right)
        trials["none"] = _left(outcome.found.member, right)
    order: tuple[Gradient, ...] = ("own", "straight", "smoothed", "none")
    candidates = [name for name in order if name in trials]
    best = min(candidates, key=lambda name: trials[name]) if candidates else "none"
    # Random search is made in any case; a gradient that is not far behind finds what it does not.
    if best == "none" and trials.get("straight", 1.0) <= trials.get("none", 0.0) + 0.25:
        best = "straight"
    usable = tuple(name for name in order if name in trials and name != "none")
    return replace(found, trials=trials, reaction=replace(found.reaction, gradient=best, doubtful=True, usable=usable))


def reaction_free(reaction: Reaction) -> Reaction:
    """The reaction without its gradients: what random search needs of it."""
    return replace(reaction, gradient="none", doubtful=True)


def short(threat: Threat) -> Attack:
    """Twenty steps of the ascent that suits the norm."""
    if isinstance(threat, L0):
        return pgd(threat, steps=20)
    return apgd(threat, steps=20, slide=True) if isinstance(threat, L1) else cosine(threat, steps=20)


def _left(member: Tensor, right: Tensor) -> float:
    """The share of the rows at `right` that nothing broke."""
    return float((member[right] == NONE).double().mean()) if len(right) else 0.0
