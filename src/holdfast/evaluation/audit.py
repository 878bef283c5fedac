"""What a run left out to save time, and the bound on the robust accuracy that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy.special import betaincinv, gammaincinv  # type: ignore[import-untyped]

from holdfast.evaluation.depth import GATES, Depth

ALPHA = 0.05


@dataclass(frozen=True)
class LeftOut:
    """`samples` that were spared some attack, and how the same omission fared on calibration samples: of `audited` `fallen` were broken by
    what it omits; `rate`: the share of samples that falls at most, at 97.5 % confidence."""

    samples: int
    audited: int
    fallen: int
    rate: float

    @property
    def most(self) -> float:
        """The number of samples that would fall, at most."""
        return self.samples * self.rate


@dataclass(frozen=True)
class Audit:
    """Why the number can be believed: what calibration samples, which are attacked without any omission, say of all the others.

    `depth`: how deep the search went; `spared`: samples beyond the gate; `shallower`: samples that the last level was not made on;
    `n`: samples measured in all; `calibration`: how many of them are calibration samples.
    """

    depth: Depth
    spared: LeftOut
    shallower: LeftOut
    n: int
    calibration: int

    @property
    def left_out(self) -> float:
        """The number of samples that what was left out would break, at most (95 %)."""
        return min(float(self.spared.samples + self.shallower.samples), self.spared.most + self.shallower.most)

    @property
    def remaining(self) -> float:
        """The estimated number of all samples that more of the same search would still break."""
        return self.depth.remaining * self.n / max(1, self.calibration)

    @property
    def remaining_most(self) -> float:
        """The upper end of the 95 % interval of `remaining`, the count being Poisson."""
        share = min(float(self.depth.surviving), poisson_upper(self.depth.remaining)) / max(1, self.calibration)
        return share * self.n

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "converged": self.depth.converged, "levels": len(self.depth.levels), "deepest": self.depth.deepest,
            "calibration_samples": self.calibration, "remaining": self.remaining, "remaining_most": self.remaining_most,
            "gate": self.depth.near, "spared": self.spared.samples, "audited": self.spared.audited, "fallen": self.spared.fallen,
            "shallower": self.shallower.samples, "left_out_most": self.left_out,
        }  # fmt: skip


def audit(depth: Depth, clean: pl.DataFrame, records: pl.DataFrame, entries: Sequence[dict[str, Any]], calibration: set[int]) -> Audit:
    """The audit of a run with levels; `entries` are its manifest's, `calibration` the ids of the calibration samples."""
    labels = {level: [entry["label"] for entry in entries if entry["level"] == level and not entry["curve"]] for level in (0, 1)}
    early = records.filter(pl.col("attack").is_in(labels[0]) & pl.col("broken"))["sample"]
    tried = records.filter(pl.col("attack").is_in(labels[1]))["sample"]
    left = set(clean.filter("correct")["sample"]) - set(early) - calibration
    spared, attacked = left - set(tried), left & set(tried)
    gate = next((gate for gate in depth.gates if gate.near == depth.near), None)
    # The gate was chosen among several: each has its share of the error.
    first = LeftOut(len(spared), gate.spared, gate.fallen, upper(gate.fallen, gate.spared, ALPHA / 2 / len(GATES))) if gate else _NOTHING
    second = _NOTHING
    if depth.level < len(depth.levels):
        last = depth.levels[-1]
        tried_last = last.tried - sum(level.broken for level in depth.levels[:-1])
        second = LeftOut(len(attacked), tried_last, last.broken, upper(last.broken, tried_last, ALPHA / 2))
    return Audit(depth, first, second, len(clean), int(clean["sample"].is_in(list(calibration)).sum()))


def upper(count: int, n: int, alpha: float) -> float:
    """The upper end of the one-sided Clopper-Pearson interval of a share: `count` of `n`, wrong with probability `alpha`.

    >>> round(upper(0, 32, 0.05), 3)
    0.089
    """
    return 1.0 if count >= n else float(betaincinv(count + 1, n - count, 1 - alpha))


def poisson_upper(count: int, alpha: float = ALPHA) -> float:
    """The upper end of the one-sided interval of a Poisson mean of which `count` was seen.

    >>> round(poisson_upper(0), 2)
    3.0
    """
    return float(gammaincinv(count + 1, 1 - alpha))


_NOTHING = LeftOut(0, 0, 0, 0.0)
