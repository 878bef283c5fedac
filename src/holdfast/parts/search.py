"""`RandomSearch`: propose a change to the best point so far, keep it if it is better; asks for scores alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Rule, Source
from holdfast.parts.objectives import ClassObjective
from holdfast.parts.starts import Corner


class Proposal(ABC):
    """Where a search begins, and what it tries next; `requires` lists what the threat must be."""

    requires: ClassVar[tuple[type, ...]] = ()

    @abstractmethod
    def first(self, probe: Probe) -> Tensor:
        """The first point of each row."""

    @abstractmethod
    def next(self, best: Tensor, probe: Probe) -> Tensor:
        """A point to try, near the `best` so far."""


@dataclass(frozen=True)
class SearchState(Rows):
    """`best` the point kept, `value` its objective."""

    best: Tensor
    value: Tensor


@dataclass(frozen=True)
class RandomSearch(Rule):
    """p ← p' if f(p') > f(p), p' proposed from p: one forward a step (`draws`, where the model is random), no gradient."""

    objective: ClassObjective
    proposal: Proposal
    draws: int = 1
    needs: ClassVar[Access] = Access.SCORE
    State: ClassVar[type[Rows]] = SearchState

    def init(self, probe: Probe) -> SearchState:
        return SearchState(self.proposal.first(probe), torch.full_like(probe.batch.radius, -torch.inf))

    def step(self, state: Rows, probe: Probe) -> SearchState:
        assert isinstance(state, SearchState)
        begun = per_row(probe.step > 0, state.best)
        trial = torch.where(begun, self.proposal.next(state.best, probe), state.best)
        answer = probe.score(trial, draws=self.draws)
        value = self.objective(answer.out, probe.batch)
        better = (value > state.value) | answer.wrong
        return SearchState(torch.where(per_row(better, trial), trial, state.best), torch.where(better, value, state.value))

    def price(self) -> int:
        return self.draws

    def sourced(self, source: Source) -> RandomSearch:
        return replace(self, draws=source.asks())

    def fitted(self, classes: int) -> RandomSearch:
        return replace(self, objective=self.objective.fitted(classes))


@dataclass(frozen=True)
class Scatter(Proposal):
    """Anywhere in the ball, and at one of its corners, in turn: what was found before is not looked at."""

    def first(self, probe: Probe) -> Tensor:
        return probe.threat.random(probe.batch.x, probe.draw, probe.batch.radius)

    def next(self, best: Tensor, probe: Probe) -> Tensor:
        here = torch.ones_like(probe.step, dtype=torch.bool)
        corner = per_row(probe.step % 2 == 1, best)
        return torch.where(corner, Corner()(probe, here), self.first(probe))
