"""Starts: where a row's ascent begins; siblings may take turns over several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.rows import per_row
from holdfast.core.types import Batch, Mask, Normed, Out, PerRow, Probe


class Start(ABC):
    """`where` `[n]`: the rows that begin so; others may be given anything."""

    @abstractmethod
    def __call__(self, probe: Probe, where: Mask) -> Tensor: ...

    def asks(self) -> int:
        """How often the model is asked on the way there."""
        return 0


@dataclass(frozen=True)
class Clean(Start):
    """At the clean input."""

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        return probe.threat.zero(probe.batch.x)


@dataclass(frozen=True)
class Uniform(Start):
    """At a random point of the ball."""

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        return probe.threat.random(probe.batch.x, probe.draw, probe.batch.radius)


@dataclass(frozen=True)
class Either(Start):
    """At the clean input in this `share` of the rows, drawn by their keys; at a random point of the ball in the others."""

    share: float

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        p, still = Uniform()(probe, where), probe.draw.uniform("still", (1,)).squeeze(1) < self.share
        return torch.where(per_row(still, p), probe.threat.zero(probe.batch.x), p)


@dataclass(frozen=True)
class Jitter(Start):
    """A hair beside the clean input: a normal number of this `deviation` for each value, so that an objective with its least there has a
    slope."""

    deviation: float = 1e-3

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        zero = probe.threat.zero(probe.batch.x)
        noise = self.deviation * probe.draw.normal("jitter", tuple(zero.shape[1:]), zero.dtype)
        return probe.threat.project(probe.batch.x, zero + noise, probe.batch.radius)


@dataclass(frozen=True)
class Corner(Start):
    """As far as the ball goes the way of a random sign for each value: a corner of the L∞ ball."""

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        x, threat = probe.batch.x, probe.threat
        assert isinstance(threat, Normed)
        way = threat.steepest(probe.draw.sign("corner", tuple(x.shape[1:]), x.dtype))
        return threat.project(x, per_row(probe.batch.radius.to(x.dtype), x) * way, probe.batch.radius)


@dataclass(frozen=True)
class Diversified(Start):
    """Output-diversified (Tashiro, Song & Ermon 2020, eq. 2): from a random point, `steps` steps of the whole radius up ⟨w, z⟩, w a
    random vector over the logits: random in what the model answers, not only in its input."""

    steps: int = 2

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        batch, threat = probe.batch, probe.threat
        assert isinstance(threat, Normed)
        p = threat.random(batch.x, probe.draw, batch.radius)

        def along(out: Out, some: Batch) -> PerRow:
            draw = Draw(some.key, torch.zeros_like(some.key))
            weight = draw.uniform("direction", tuple(out.logits.shape[1:]), out.logits.dtype) * 2 - 1
            return (out.logits * weight).flatten(1).sum(dim=1)

        for _ in range(self.steps):
            _, _, g = probe.grad(p, along, where)
            p = threat.project(batch.x, p + per_row(batch.radius.to(g.dtype), g) * threat.steepest(g.nan_to_num(nan=0.0)), batch.radius)
        return p

    def asks(self) -> int:
        return self.steps


@dataclass(frozen=True)
class Turns(Start):
    """The siblings of a sample take turns over several starts, in order."""

    starts: tuple[Start, ...]

    def __call__(self, probe: Probe, where: Mask) -> Tensor:
        p = probe.threat.zero(probe.batch.x)
        for place, start in enumerate(self.starts):
            mine = where & (probe.batch.group % len(self.starts) == place)
            p = torch.where(per_row(mine, p), start(probe, mine), p)
        return p

    def asks(self) -> int:
        return max(start.asks() for start in self.starts)
