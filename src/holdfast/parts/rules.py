"""`Ascend`: steepest ascent of an objective with projection, the rule of the FGSM–BIM–PGD–MI family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.rows import Named, Rows, per_row
from holdfast.core.types import Access, Normed, Probe, Source
from holdfast.parts.objectives import ClassObjective
from holdfast.parts.schedules import Schedule
from holdfast.parts.sources import Sourced, White
from holdfast.parts.starts import Clean, Start
from holdfast.parts.transforms import Transform


@dataclass(frozen=True)
class AscendState(Rows):
    """`p` the perturbation to be asked about next; `memory` what the transforms remember."""

    p: Tensor
    memory: Named


@dataclass(frozen=True)
class Ascend(Sourced):
    """p ← Π( p + α r · d ), d the steepest direction of the (transformed) gradient, α r the share α of the row's radius r.

    `start`: where rows begin.
    """

    objective: ClassObjective
    schedule: Schedule
    start: Start = Clean()
    transforms: tuple[Transform, ...] = ()
    source: Source = White()
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = AscendState
    requires: ClassVar[tuple[type, ...]] = (Normed,)

    def init(self, probe: Probe) -> AscendState:
        p = self.start(probe, torch.ones_like(probe.step, dtype=torch.bool))
        return AscendState(p, Named({f"{i}": transform.memory(p) for i, transform in enumerate(self.transforms)}))

    def step(self, state: Rows, probe: Probe) -> AscendState:
        assert isinstance(state, AscendState) and isinstance(probe.threat, Normed)
        _, _, g = self.source(probe, state.p, self.objective)
        memory = dict(state.memory.tensors)
        for i, transform in enumerate(self.transforms):
            g, memory[f"{i}"] = transform(g, memory[f"{i}"], probe)
        length = self.schedule(probe.step, probe.steps) * probe.batch.radius
        move = per_row(length.to(g.dtype), g) * probe.threat.steepest(g)
        return AscendState(probe.threat.project(probe.batch.x, state.p + move, probe.batch.radius), Named(memory))

    def pending(self, state: Rows) -> Tensor:
        assert isinstance(state, AscendState)
        return state.p

    def price(self) -> int:
        return self.start.asks() + self.source.asks()

    def fitted(self, classes: int) -> Ascend:
        return replace(self, objective=self.objective.fitted(classes))
