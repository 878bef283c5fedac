"""`RandomSearch`: propose a change to the best point so far, keep it if it is better; asks for scores alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Rule
from holdfast.parts.objectives import ClassObjective


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
    """p ← p' if f(p') > f(p), p' proposed from p: one forward a step, no gradient."""

    objective: ClassObjective
    proposal: Proposal
    needs: ClassVar[Access] = Access.SCORE
    State: ClassVar[type[Rows]] = SearchState

    def init(self, probe: Probe) -> SearchState:
        return SearchState(self.proposal.first(probe), torch.full_like(probe.batch.radius, -torch.inf))

    def step(self, state: Rows, probe: Probe) -> SearchState:
        assert isinstance(state, SearchState)
        begun = per_row(probe.step > 0, state.best)
        trial = torch.where(begun, self.proposal.next(state.best, probe), state.best)
        answer = probe.score(trial)
        value = self.objective(answer.out, probe.batch)
        better = (value > state.value) | answer.wrong
        return SearchState(torch.where(per_row(better, trial), trial, state.best), torch.where(better, value, state.value))

    def fitted(self, classes: int) -> RandomSearch:
        return replace(self, objective=self.objective.fitted(classes))
