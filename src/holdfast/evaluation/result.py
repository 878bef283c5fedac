"""`Result`: a finished or interrupted run, read from its folder; a pure function of the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch

from holdfast.core.errors import StoreError
from holdfast.evaluation import tables
from holdfast.evaluation.audit import Audit, audit
from holdfast.evaluation.check import Check
from holdfast.evaluation.checks import checks
from holdfast.evaluation.depth import Depth
from holdfast.evaluation.store import CLEAN, SCHEMA, TRUST, Store, trust_label
from holdfast.evaluation.tables import Rate


class Result:
    """What a run found.

    `clean_accuracy`, `robust_accuracy` (pointwise worst case over the plan and the trust checks, all-or-nothing) in [0, 1]; `records` a
    dataframe with one row per (sample, attack); `adversarial` `[n, ...]` a verified adversarial example per broken sample, the clean
    input elsewhere.

    Raises StoreError where the folder holds no run.
    """

    reporter: ClassVar[Callable[[Result, Path], Path]]
    """Set by the package: reports are made of results, so this room may not know theirs."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.store = Store(self.path)
        self.manifest = self.store.manifest
        self.parts = self.store.parts()
        if not self.parts:
            raise StoreError(f"{self.path} holds a plan but no results yet: run the same evaluate command again")

    @cached_property
    def labels(self) -> list[str]:
        """The plan's attacks, in order."""
        return [entry["label"] for entry in self.manifest["attacks"]]

    @cached_property
    def clean(self) -> pl.DataFrame:
        """One row per sample of the shards that are there."""
        found = [part.read("clean") for part in self.parts]
        return pl.concat([frame for frame in found if frame is not None] or [pl.DataFrame(schema=CLEAN)])[self._order]

    @cached_property
    def _order(self) -> list[int]:
        """What brings the samples of all parts into the order of the data."""
        places = [part.places() for part in self.parts if part.read("clean") is not None]
        return [] if not places else torch.cat(places).argsort(stable=True).tolist()

    @cached_property
    def depth(self) -> Depth | None:
        """How deep the search went, and why; None for suites without levels, or before it is known."""
        return self.store.calibration().depth()

    @cached_property
    def audit(self) -> Audit | None:
        """What was left out and how far search has converged; None where `depth` is."""
        if self.depth is None:
            return None
        drawn = set(self.store.calibration().samples()[0].tolist())
        return audit(self.depth, self.clean, self.records, self.manifest["attacks"], drawn)

    @cached_property
    def records(self) -> pl.DataFrame:
        """One row per (sample, attack): columns `SCHEMA`. The plan's attacks in order, then those of the trust checks (`trust-NAME`), which
        were made on a few survivors: what they found counts as well."""
        found = [part.read(label) for label in self.labels for part in self.parts]
        trust = [part.read(label) for label in map(trust_label, TRUST) for part in self.parts if (part.facts(label) or {}).get("complete")]
        ended = [frame.filter(pl.col("status") != "unfinished") for frame in trust if frame is not None]
        return pl.concat([*(frame for frame in found if frame is not None), *ended] or [pl.DataFrame(schema=SCHEMA)])

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        """Per attack of the plan, summed over shards: seconds, queries, waste, refused claims; `complete` only where every shard is."""
        return self._summed(self.labels)

    @cached_property
    def trust_facts(self) -> dict[str, dict[str, Any]]:
        """The same of the trust checks' attacks, by label."""
        return self._summed([trust_label(name) for name in TRUST])

    def _summed(self, labels: list[str]) -> dict[str, dict[str, Any]]:
        summed: dict[str, dict[str, Any]] = {}
        for label in labels:
            found = [facts for part in self.parts if (facts := part.facts(label)) is not None]
            if not found:
                continue
            numbers = {k: sum(f[k] for f in found) for k, v in found[0].items() if isinstance(v, int | float) and k != "complete"}
            complete = len(found) == len(self.parts) and all(f["complete"] for f in found)
            summed[label] = found[0] | numbers | {"complete": complete}
        return summed

    @cached_property
    def trust(self) -> dict[str, dict[str, Any]]:
        """What the trust checks judge, counts summed over shards, by the name of the check; empty where it was not gathered."""
        summed: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            for name, facts in part.trust().items():
                old = summed.setdefault(name, dict.fromkeys(facts))
                for key, value in facts.items():
                    known = old.get(key)
                    old[key] = value if known is None or isinstance(value, str) else known + value
        return summed

    @property
    def trust_seconds(self) -> float:
        """Spent on the trust checks and on looking at the model before, which `seconds` leaves out."""
        return self.manifest["once"].get("diagnosis_seconds", 0.0) + sum(part.trust_seconds() for part in self.parts)

    @cached_property
    def standing(self) -> pl.DataFrame:
        """Per sample: `correct` and `robust`."""
        return tables.standing(self.clean, self.records)

    @property
    def n(self) -> int:
        return len(self.clean)

    @property
    def clean_rate(self) -> Rate:
        return Rate(int(self.standing["correct"].sum()), self.n)

    @property
    def robust_rate(self) -> Rate:
        return Rate(int(self.standing["robust"].sum()), self.n)

    @property
    def clean_accuracy(self) -> float:
        return self.clean_rate.value

    @property
    def robust_accuracy(self) -> float:
        return self.robust_rate.value

    @property
    def complete(self) -> bool:
        """Every shard is there, every attack ended, and no sample was left for want of time or queries."""
        attacks = all(self.facts.get(label, {"complete": False})["complete"] for label in self.labels)
        return attacks and self.n == self.manifest["data"]["samples"] and "unfinished" not in set(self.records["status"])

    @cached_property
    def trust_broken(self) -> int:
        """How many samples only the trust checks' attacks broke: they count as broken."""
        broken = self.records.filter("broken").group_by("sample").agg(plan=pl.col("attack").is_in(self.labels).any())
        return int((~broken["plan"]).sum())

    @property
    def forwards(self) -> int:
        """Rows asked for their logits, all attacks and the clean answers, waste included; not what was asked before the run began, to time
        pieces and to see whether the model answers alike twice."""
        return self.n + sum(f["forwards"] + f["wasted_forwards"] for f in self.facts.values())

    @property
    def backwards(self) -> int:
        return sum(f["backwards"] + f["wasted_backwards"] for f in self.facts.values())

    @property
    def seconds(self) -> float:
        """Spent in attacks, summed over shards and resumptions."""
        return sum(f["seconds"] for f in self.facts.values())

    @cached_property
    def adversarial(self) -> np.ndarray[Any, Any]:
        """`[n, ...]`, in the order of `clean`; memory-mapped where there is one shard."""
        arrays = [part.adversarial() for part in self.parts if part.read("clean") is not None]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)[self._order]

    @cached_property
    def attacks(self) -> list[dict[str, Any]]:
        """The per-attack table: `tables.by_attack` with the calls and the costs, without attacks of levels that were not made; the trust
        checks' attacks come last."""
        facts = self.facts | self.trust_facts
        deeper = {entry["label"] for entry in self.manifest["attacks"] if entry["level"]}
        rows = tables.by_attack(self.clean, self.records, list(facts))
        rows = [row for row in rows if row["tried"] or row["attack"] not in deeper]
        return [row | {"call": facts[str(row["attack"])]["attack"], **_costs(facts[str(row["attack"])])} for row in rows]

    @cached_property
    def checks(self) -> list[Check]:
        return checks(self)

    def report(self, path: str | Path) -> Path:
        """Write the run's report, one HTML file that opens offline."""
        return type(self).reporter(self, Path(path))

    def summary(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        clean, robust = self.clean_rate, self.robust_rate
        return {
            "clean_accuracy": clean.value, "clean_interval": [clean.low, clean.high],
            "robust_accuracy": robust.value, "robust_interval": [robust.low, robust.high],
            "trust_broken": self.trust_broken, "n": self.n, "complete": self.complete,
            "threat": self.manifest["threat"], "suite": self.manifest["suite"],
            "audit": None if self.audit is None else self.audit.as_dict(),
            "seconds": self.seconds, "trust_seconds": self.trust_seconds, "forwards": self.forwards, "backwards": self.backwards,
            "attacks": self.attacks, "checks": [check.as_dict() for check in self.checks], "run": str(self.path),
        }  # fmt: skip

    def curve(self) -> tuple[str, pl.DataFrame] | None:
        """Accuracy against radius from the plan's grid, if it has one: the attack's label and the table."""
        for entry in self.manifest["attacks"]:
            if entry["curve"] and entry["label"] in self.facts:
                return entry["label"], tables.by_radius(self.clean, self.records, entry["label"], entry["radii"])
        return None


def _costs(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("seconds", "refused", "wasted_forwards", "wasted_backwards", "digest")}
