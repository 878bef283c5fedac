"""The feature denoising paper's measure: PGD toward a random class, and the accuracy that is left after each iteration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
import torch
from torch import Tensor

from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.core.types import Batch, Mask, Out, PerRow
from holdfast.evaluation import Result
from holdfast.evaluation.tables import Rate
from holdfast.parts.goals import Targeted, Untargeted
from holdfast.parts.threats import Linf

NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Astray(Targeted):
    """Led toward a class, and fooled by any wrong one: what accuracy under a targeted attack counts."""

    def wrong(self, out: Out, batch: Batch) -> Mask:
        return Untargeted().wrong(out, batch)

    def margin(self, out: Out, batch: Batch) -> PerRow:
        return Untargeted().margin(out, batch)


def toward_random(threat: Linf, steps: int) -> Attack:
    """PGD from a random start toward a class drawn at random, ε / 16 a step, ε / 10 where there are ten (Xie et al. 2019, section 6.1)."""
    step = threat.radius / (10 if steps == 10 else 16)
    return replace(attacks.pgd(threat, steps, step, targeted=True), goal=Astray(choose="random"))


def fell(found: Result, place: int) -> Tensor:
    """After how many iterations of the attack at that place of the plan each sample was lost, in the order of ids.

    −1 where it was never right, `NEVER` where it withstood: the first k steps of a long attack are the attack of k steps, as its steps
    do not depend on how many there are.
    """
    won = found.records.filter("broken", pl.col("attack") == found.labels[place]).select("sample", "step")
    table = (
        found.clean.sort("sample").join(won, on="sample", how="left", maintain_order="left").with_columns(pl.col("step").fill_null(NEVER))
    )
    return torch.from_numpy(table.select(pl.when("correct").then("step").otherwise(-1).cast(pl.Int64)).to_series().to_numpy().copy())


def left(steps: Tensor, iterations: int) -> Tensor:
    """Which samples are still right after so many iterations: bool `[n]`."""
    return steps > iterations


def rate(right: Tensor) -> Rate:
    """The share of samples that are right."""
    return Rate(int(right.sum()), len(right))
