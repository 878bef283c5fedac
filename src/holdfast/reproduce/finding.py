"""What a study finds: numbers beside the document's, and trends with a verdict that an interval gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from holdfast.evaluation.tables import Rate

Judged = Literal["confirmed", "refuted", "undecided"]
DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def turned(self) -> Interval:
        """That of the opposite number."""
        return Interval(-self.value, -self.high, -self.low)


@dataclass(frozen=True)
class Finding:
    """One row: `document`'s figure, None where it gives none, and `ours` with its 95 % interval."""

    label: str
    document: float | None
    ours: float
    low: float
    high: float

    @classmethod
    def of(cls, label: str, found: Rate | Interval, document: float | None = None) -> Finding:
        """A share with its Wilson interval, or a mean with its own."""
        return cls(label, document, found.value, found.low, found.high)


@dataclass(frozen=True)
class Table:
    """Findings under one title; all are shares in [0, 1]. `words` say what a row is, and whose the document's figures are."""

    title: str
    words: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Trend:
    """What a document says goes up, down or apart; whether we see it; and on what evidence."""

    statement: str
    verdict: Judged
    evidence: str

    @classmethod
    def of(cls, statement: str, found: Interval, of: str) -> Trend:
        """The verdict on a difference that is positive where the statement holds; `of` names it.

        It is confirmed where the whole interval lies above 0, refuted where all of it lies below, and undecided where it holds 0.

        >>> Trend.of("a is above b", Interval(0.1, 0.02, 0.18), "a less b").verdict
        'confirmed'
        """
        verdict: Judged = "confirmed" if found.low > 0 else "refuted" if found.high < 0 else "undecided"
        return cls(
            statement,
            verdict,
            f"{of}: {100 * found.value:+z.1f} points (95 % interval {100 * found.low:+z.1f} to {100 * found.high:+z.1f})",
        )


def paired(values: Tensor, reach: float = 1.0, seed: int = 0) -> Interval:
    """The mean of a number per test sample, such as the difference of two nets on it, with a bootstrap interval over the samples.

    `values` `[n]`, all in [−reach, reach]. One made-up sample at either end joins the resampled ones, so that a few samples, or
    samples that all agree, never look certain (for values −1, 0, 1 these are the added counts of Bonett & Price 2012).

    The interval speaks of other test samples, not of other runs of training.

    Source: Efron 1979, percentile bootstrap.

    >>> found = paired(torch.tensor([1.0, 0.0, 1.0, 1.0]))
    >>> found.value, found.low < 0 < found.high
    (0.75, True)
    """
    if not len(values):
        return Interval(math.nan, -reach, reach)
    known, counts = np.unique(np.append(values.double().numpy(), [-reach, reach]), return_counts=True)
    n = int(counts.sum())
    means = np.random.default_rng(seed).multinomial(n, counts / n, size=DRAWS) @ known / n
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.double().mean()), float(low), float(high))


def slope(columns: Sequence[Tensor], places: Sequence[float], seed: int = 0) -> Interval:
    """The least-squares slope of the columns' means over the logarithms (base 10) of `places`: per tenfold, with its paired interval.

    `columns`: per place the numbers `[n]` in [−1, 1] of the same samples. The slope of means is the mean of the samples' own slopes.

    >>> round(slope([torch.zeros(50), torch.ones(50)], [1, 100]).value, 3)
    0.5
    """
    x = torch.tensor(places, dtype=torch.float64).log10()
    weight = (x - x.mean()) / (x - x.mean()).square().sum()
    values = (torch.stack([column.double() for column in columns]) * weight[:, None]).sum(dim=0)
    return paired(values, float(weight.abs().sum()), seed)
