"""A model whose answers are known by heart, and a rule that does what its script says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from holdfast.core.attack import Attack, Group, Keep, Stop
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Probe, Rule
from holdfast.engine import Outcome, Pieces, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.goals import Untargeted
from holdfast.parts.threats import Linf


class Line(nn.Module):
    """Class 1 above a half, class 0 below; the margin is twice the distance from a half."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1).mean(dim=1)
        return torch.stack([0.5 - value, value - 0.5], dim=1)


@dataclass(frozen=True)
class Script(Rows):
    p: Tensor


@dataclass(frozen=True)
class Scripted(Rule):
    """Member m of a group asks about a change of `sizes[m][t]` at step t (the last one again and again), `asks` times a step."""

    sizes: tuple[tuple[float, ...], ...]
    asks: int = 1
    needs: ClassVar[Access] = Access.DECISION
    State: ClassVar[type[Rows]] = Script

    def init(self, probe: Probe) -> Script:
        return Script(probe.threat.zero(probe.batch.x))

    def step(self, state: Rows, probe: Probe) -> Script:
        longest = max(map(len, self.sizes))
        table = torch.tensor([size + size[-1:] * (longest - len(size)) for size in self.sizes], dtype=probe.batch.x.dtype)
        size = table[probe.batch.group % len(table), probe.step.clamp(max=longest - 1)]
        p = per_row(size, probe.batch.x).expand_as(probe.batch.x)
        for _ in range(self.asks):
            probe.decide(p)
        return Script(p)


def script(
    *sizes: tuple[float, ...], steps: int = 8, radius: float = 1.0, group: Group | None = None, keep: Keep = "first",
    early: bool = True, queries: int | None = None, asks: int = 1,
) -> Attack:  # fmt: skip
    """An attack by script on `Line`; by default as many restarts as there are scripts."""
    group = Group(len(sizes)) if group is None else group
    return Attack(Untargeted(), Linf(radius), Scripted(sizes, asks), Stop(steps, early, queries), group, keep)


def line(attack: Attack, values: tuple[float, ...] = (0.2, 0.3, 0.4), slots: int = 64, harvest: int = 1, **more: object) -> Outcome:
    """The attack on `Line` at these inputs `[n, 2]`, all of class 0."""
    x = torch.tensor(values).unsqueeze(1).expand(-1, 2).contiguous()
    samples = Samples.of(x, torch.zeros(len(x), dtype=torch.int64))
    return run(attack, Classifier(Line().eval(), 2), samples, Setting(0, slots, harvest, Pieces(32)), **more)  # type: ignore[arg-type]


def after(windows: int) -> Callable[[], bool]:
    """A halt that says so once that many windows have passed."""
    count = iter(range(1, 10**9))
    return lambda: next(count) >= windows
