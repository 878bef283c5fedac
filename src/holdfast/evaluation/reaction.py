"""`Reaction`: how search meets a model whose answers or gradients mislead it. Decided once a run, stored, obeyed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw
from holdfast.core.types import Access, Bounds, Keyed, Model, Out, Source
from holdfast.engine.noise import by_place
from holdfast.engine.straight import straight
from holdfast.evaluation.entry import Gradient
from holdfast.evaluation.plan import Plan
from holdfast.evaluation.suites import suite_entries
from holdfast.parts.sources import Eot, Smoothed

DRAWS = 8


@dataclass(frozen=True)
class Reaction:
    """`stochastic`: answers vary, so gradients are means over draws (EOT); `logarithm`: answers are probabilities, so search sees their
    logarithms; `scale`: what logits are divided by, so that no softmax of them saturates; `gradient`: the model's `own`, one that goes
    `straight` through steps (BPDA), that of a `smoothed` copy, or `none` of use; `doubtful`: margins found with it say nothing of how
    near a sample is, so that every sample gets every attack; `usable`: the gradients that can be had of a doubtful model."""

    stochastic: bool = False
    logarithm: bool = False
    scale: float = 1.0
    gradient: Gradient = "own"
    doubtful: bool = False
    usable: tuple[Gradient, ...] = ()

    def model(self, model: Model, x: Tensor, steps: bool = True) -> Model:
        """What search asks: the model seen through logarithm and scale, where so decided with a gradient `straight` through its `steps`."""
        logarithm = self.logarithm
        if self.gradient == "straight" and steps:
            model = straight(model, x)
            # Its answers are what the softmax was of, where it found one.
            logarithm = logarithm and probabilities(by_place(model, x).logits)
        return model if not logarithm and self.scale == 1 else Seen(model, logarithm, self.scale)

    def attack(self, attack: Attack, gradient: Gradient | None = None) -> Attack:
        """The attack with the gradient source that the model asks for, or with that of another `gradient`."""
        gradient = gradient or self.gradient
        found: Source | None = Eot(DRAWS) if self.stochastic else Smoothed() if gradient == "smoothed" else None
        return attack if found is None else replace(attack, rule=attack.rule.sourced(found))

    def plan(self, plan: Plan) -> Plan:
        """The plan for such a model, where its suite reacts: sources swapped; where gradients are doubtful every entry is made on
        every survivor, and where there are none only entries that need none."""
        if not plan.reacts:
            return plan
        if self.doubtful and plan.levels and plan.suite:
            curve = tuple(entry for entry in plan.entries if entry.curve)
            entries = suite_entries(plan.suite, plan.threat, plan.effort, self.usable or ("none",))
            plan = replace(plan, entries=(*entries, *curve))
        kept = [entry for entry in plan.entries if self.gradient != "none" or entry.attack.rule.needs < Access.GRADIENT]
        entries = [replace(entry, attack=self.attack(entry.attack, entry.gradient)) for entry in kept or plan.entries]
        if self.doubtful:
            entries = [replace(entry, near=None, hope=None) for entry in entries]
        return replace(plan, entries=tuple(entries))


@final
class Seen:
    """A model whose logits search sees divided by `scale`, after the logarithm where they are probabilities; the order is the same."""

    def __init__(self, model: Model, logarithm: bool, scale: float) -> None:
        self.inner, self.logarithm, self.scale = model, logarithm, scale
        self.access: Access = model.access
        self.bounds: Bounds = model.bounds
        self.stochastic, self.dtype, self.device = model.stochastic, model.dtype, model.device

    @property
    def independent(self) -> bool:
        return self.inner.independent

    @property
    def classes(self) -> int:
        return self.inner.classes

    def __call__(self, x: Tensor) -> Out:
        return self._seen(self.inner(x))

    def drawn(self, x: Tensor, draw: Draw) -> Out:
        """The same under the noise of `draw`, where the model takes it."""
        return self._seen(self.inner.drawn(x, draw) if isinstance(self.inner, Keyed) else self.inner(x))

    def _seen(self, out: Out) -> Out:
        logits = out.logits
        if self.logarithm:
            logits = logits.clamp_min(math.exp(-80)).log()
        return replace(out, logits=logits / self.scale)


def probabilities(logits: Tensor) -> bool:
    """Whether all rows are probabilities: not negative, summing to one."""
    sums = logits.sum(dim=1)
    return bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
