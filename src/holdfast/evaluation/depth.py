"""How deep the search goes: decided once on calibration samples, which are attacked one level deeper than all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.evaluation.entry import Entry, History

SAMPLES, SMALL = 128, 160
"""How many samples are drawn for calibration; a data set of up to `SMALL` is one as a whole."""
LEAST = 1
"""The level that every sample is attacked at, at least, unless its gate has passed the audit."""
GATES = (0.8, 0.6, 0.45, 0.3)
"""Gates from strict to bold: a sample is spared where its best margin is below −gate × its clean margin."""
CHOSEN = 4
"""From this level on only the attacks are made that have paid at the level before: samples broken a query, at least `PAYS` of the best."""
PAYS = 0.5
LAST = 0.03
"""The deepest level is only made where the one before it leaves so large a share of the calibration samples to fall, by its estimate."""
WEAK = 1 / 3
"""Where deeper levels have broken so large a share of what level 0 left, one silent level is not evidence enough: it takes two."""
ENOUGH = 2
"""How often a fallen calibration sample must be hit to be left alone: more says nothing of what has not been seen."""
AUDITED = 32
"""Of how many spared calibration samples none may fall for a gate to hold."""


@dataclass(frozen=True)
class Level:
    """What one level of attacks did to the calibration samples that had survived the first: `tried`, and `broken` for the first time;
    `once`: how many samples have been broken by a single restart of all levels up to this one."""

    tried: int
    broken: int
    once: int

    @property
    def remaining(self) -> int:
        """The estimated number of samples that more of the same search would still break.

        Good (1953): what has been seen once is about as much as a search as long again would see for the first time; and no less
        than what this level has broken.
        """
        return max(self.broken, self.once)


@dataclass(frozen=True)
class Gate:
    """Of `spared` calibration samples beyond the gate `fallen` were broken all the same."""

    near: float
    spared: int
    fallen: int

    @property
    def holds(self) -> bool:
        return self.spared >= AUDITED and not self.fallen


@dataclass(frozen=True)
class Depth:
    """`levels` and `gates`: what the calibration samples showed, of which `surviving` survived level 0.

    `kept`: by level the names of the attacks that it consists of, and of the next; `samples`: how many there are; `deepest`: the deepest
    level of the plan; `allowed`: the number of calibration samples that may still be estimated to fall when search ends (0: every level is
    made with every attack); `gated`: whether samples may be spared at all; `unfinished`: attempts that a budget of queries cut off, whose
    silence says nothing.
    """

    levels: tuple[Level, ...]
    gates: tuple[Gate, ...]
    kept: tuple[tuple[str, ...], ...]
    surviving: int
    samples: int
    deepest: int
    allowed: float
    gated: bool
    unfinished: int = 0

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Depth:
        """The depth whose `dataclasses.asdict` was stored."""
        levels, gates = (tuple(kind(**one) for one in stored[name]) for kind, name in ((Level, "levels"), (Gate, "gates")))
        return cls(**{**stored, "levels": levels, "gates": gates, "kept": tuple(map(tuple, stored["kept"]))})

    @property
    def converged(self) -> bool:
        """Whether the last level made on the calibration samples (where the first was weak, the last two) found nothing more than is
        allowed, or none was left to attack."""
        if not self.surviving or self.unfinished:
            return not self.surviving
        made = len(self.levels)
        if not self.allowed or made <= LEAST or self.remaining > self.allowed:
            return False
        weak = sum(level.broken for level in self.levels) > WEAK * self.surviving
        return not weak or (made > LEAST + 1 and self.levels[-2].broken <= self.allowed)

    @property
    def remaining(self) -> int:
        """The estimated number of calibration samples that more of the same search would still break."""
        return self.levels[-1].remaining if self.levels else 0

    @property
    def deeper(self) -> bool:
        """Whether another level is to be made on the calibration samples."""
        made = len(self.levels)
        if self.unfinished:
            return False
        if self.allowed > 0 and made == self.deepest - 1 >= CHOSEN and self.remaining < LAST * self.samples:
            return False
        return made < self.deepest and not self.converged

    @property
    def level(self) -> int:
        """The level that every sample is attacked at: one less than the calibration samples, where the last found nothing."""
        return max(LEAST, len(self.levels) - 1) if self.converged else len(self.levels)

    def made(self, entry: Entry) -> bool:
        """Whether an attack is among those of its level that have paid."""
        return entry.level < CHOSEN or not self.allowed or entry.family in self.kept[entry.level - 1]

    @property
    def near(self) -> float | None:
        """The boldest gate that passed the audit, or None where every sample gets every attack."""
        held = [gate.near for gate in self.gates if gate.holds]
        return min(held) if held and self.gated else None


def calibration_set(ids: Tensor, seed: int) -> Tensor:
    """Positions of the calibration samples among all, ascending: drawn by key, so that every shard draws the same."""
    if len(ids) <= SMALL:
        return torch.arange(len(ids))
    draw = Draw(row_key(seed, ids, torch.full_like(ids, -4)), torch.zeros_like(ids))
    return draw.uniform("calibration set", (1,), torch.float64).squeeze(1).argsort(stable=True)[:SAMPLES].sort().values


def depth(
    entries: Sequence[Entry], tables: Sequence[pl.DataFrame], surviving: Tensor, history: History, ids: Tensor, converge: float,
    gated: bool,
) -> Depth:  # fmt: skip
    """What the attacks made so far on the calibration samples `ids` `[n]` say: `tables` holds the records of the first entries, in order.

    `surviving` `[n]`: correct, and not broken by level 0; `history`: what level 0 brought each sample to; `converge`: the share of all
    samples that may still be estimated to fall when search ends.
    """
    position = {int(sample): i for i, sample in enumerate(ids.tolist())}
    hits, fallen = torch.zeros(len(ids), dtype=torch.int64), torch.zeros(len(ids), dtype=torch.bool)
    pairs = list(zip(entries, tables, strict=False))
    everything = tuple(sorted({entry.family for entry in entries if entry.level}))
    levels: list[Level] = []
    unfinished = sum(int((table["status"] == "unfinished").sum()) for _, table in pairs)
    kept = [everything]
    for level in range(1, max((entry.level for entry, _ in pairs), default=0) + 1):
        before, tried, pays = fallen.clone(), 0, dict[str, Pay]()
        for entry, table in pairs:
            if entry.level != level or not len(table):
                continue
            where = torch.tensor([position[sample] for sample in table["sample"].to_list()], dtype=torch.int64)
            broken = torch.from_numpy(table["broken"].to_numpy().copy())
            hits[where] += torch.from_numpy(table["hits"].to_numpy().copy()) * broken
            fallen[where[broken]] = True
            tried = max(tried, len(table))
            pay = pays.get(entry.family, Pay(0, 0))
            pays[entry.family] = pay.more(int(broken.sum()), sum(int(table[name].sum()) for name in ("forwards", "backwards")))
        if not tried:
            break
        levels.append(Level(tried, int((fallen & ~before).sum()), int((hits == 1).sum())))
        best = max(pay.rate for pay in pays.values())
        paid = tuple(sorted(name for name, pay in pays.items() if pay.rate >= PAYS * best))
        kept.append(paid if level + 1 >= CHOSEN else everything)
    gates = []
    for near in GATES:
        spared = surviving & history.far(near)
        gates.append(Gate(near, int(spared.sum()), int((spared & fallen).sum())))
    deepest = max(entry.level for entry in entries)
    return Depth(
        tuple(levels), tuple(gates), tuple(kept), int(surviving.sum()), len(ids), deepest, converge * len(ids), gated, unfinished
    )  # fmt: skip


@dataclass(frozen=True)
class Pay:
    """What an attack has broken for its queries."""

    broken: int
    queries: int

    @property
    def rate(self) -> float:
        return self.broken / max(1, self.queries)

    def more(self, broken: int, queries: int) -> Pay:
        return Pay(self.broken + broken, self.queries + queries)
