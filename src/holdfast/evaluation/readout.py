"""A readout of one's own for every row: what lets one run of any attack face as many binary classifiers as there are rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw
from holdfast.core.rows import Rows
from holdfast.core.types import Access, Answer, Batch, Goal, Mask, Objective, Out, PerRow, Probe, Rule
from holdfast.evaluation.features import Seen


@dataclass(frozen=True)
class Readout(Seen):
    """The answer to a clean row, with the row's own readout: `weight` `[n, f]`, `bias` `[n]`; `logits` `[n, 2]` are those it gives.

    It travels as `batch.clean`, so that whoever holds a row holds its readout.
    """

    weight: Tensor
    bias: Tensor


def read(out: Out, batch: Batch) -> Out:
    """The two logits (−z, z) of each row's own readout z = ⟨w, features⟩ + b."""
    assert isinstance(out, Seen) and isinstance(batch.clean, Readout)
    return Out(two(height(out.features, batch.clean.weight, batch.clean.bias)))


def height(features: Tensor, weight: Tensor, bias: Tensor) -> PerRow:
    """z `[n]`, row by row, so that it does not depend on a row's company."""
    return (features * weight).sum(dim=1) + bias


def two(z: Tensor) -> Tensor:
    return torch.stack([-z, z], dim=1)


def planted(attack: Attack) -> Attack:
    """The same attack on rows that each have a readout of their own."""
    return replace(attack, goal=ReadGoal(attack.goal), rule=ReadRule(attack.rule))


@dataclass(frozen=True)
class ReadGoal(Goal):
    """`goal`, judged by each row's own readout."""

    goal: Goal

    def wrong(self, out: Out, batch: Batch) -> Mask:
        return self.goal.wrong(read(out, batch), batch)

    def margin(self, out: Out, batch: Batch) -> PerRow:
        return self.goal.margin(read(out, batch), batch)

    def aim(self, clean: Out, y: Tensor, target: Tensor | None, draw: Draw) -> Tensor:
        return self.goal.aim(clean, y, target, draw)


@dataclass(frozen=True)
class ReadRule(Rule):
    """`rule`, shown each row's two logits in place of the model's; what it needs is held against the model before (`admit`)."""

    rule: Rule
    needs: ClassVar[Access] = Access.DECISION
    State: ClassVar[type[Rows]] = Rows

    def init(self, probe: Probe) -> Rows:
        return self.rule.init(ReadProbe(probe))

    def step(self, state: Rows, probe: Probe) -> Rows:
        return self.rule.step(state, ReadProbe(probe))

    def pending(self, state: Rows) -> Tensor | None:
        return self.rule.pending(state)

    def finished(self, state: Rows) -> Mask | None:
        return self.rule.finished(state)

    def price(self) -> int:
        return self.rule.price()

    def fitted(self, classes: int) -> ReadRule:
        return ReadRule(self.rule.fitted(classes))


@final
class ReadProbe:
    """A probe whose answers are each row's two logits."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.batch, self.threat, self.bounds = probe.batch, probe.threat, probe.bounds
        self.step, self.steps = probe.step, probe.steps

    @property
    def draw(self) -> Draw:
        return self.probe.draw

    def decide(self, p: Tensor, where: Tensor | None = None) -> Mask:
        return self.probe.decide(p, where)

    def score(self, p: Tensor, where: Tensor | None = None, draws: int = 1) -> Answer:
        return self._read(self.probe.score(p, where, draws))

    def grad(self, p: Tensor, f: Objective, where: Tensor | None = None, draws: int = 1) -> tuple[Answer, PerRow, Tensor]:
        answer, value, g = self.probe.grad(p, lambda out, batch: f(read(out, batch), batch), where, draws)
        return self._read(answer), value, g

    def jacobian(
        self, p: Tensor, classes: Tensor, where: Tensor | None = None, draws: int = 1, base: Tensor | None = None, standing: bool = False
    ) -> tuple[Answer, Tensor]:  # fmt: skip
        # The two logits are −z and z, so one gradient tells both, and their sum is 0.
        answer, _, g = self.grad(p, lambda out, batch: out.logits[:, 1], where, draws)
        side = torch.where(classes < 0, 0, 2 * classes - 1)
        side = (side if base is None else side - (2 * base - 1).unsqueeze(1)).to(g.dtype)
        return answer, side.reshape(*side.shape, *[1] * (g.ndim - 1)) * g.unsqueeze(1)

    def _read(self, answer: Answer) -> Answer:
        return replace(answer, out=read(answer.out, self.batch))
