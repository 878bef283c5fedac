"""`Attempts`: a trust check's attacks within the plan's own threat, stored like the plan's, so that what they find counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import polars as pl
import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.types import Out
from holdfast.engine import Outcome, Progress, Samples, Setting, run
from holdfast.evaluation.evidence import another_seed, subset
from holdfast.evaluation.plan import Plan
from holdfast.evaluation.records import attack_facts, frame
from holdfast.evaluation.search import Search
from holdfast.evaluation.store import Part, trust_label, write_json
from holdfast.models import Classifier


@final
class Attempts:
    """Makes each attack once a part: verified, snapshotted, recorded under `trust-NAME`; a finished one is read back.

    `clean`, `table`: the clean answers and their table; `queries` `[n]`: forwards that each sample may still cost.
    """

    def __init__(
        self, model: Classifier, search: Search, samples: Samples, clean: Out, table: pl.DataFrame, plan: Plan, setting: Setting,
        part: Part, queries: Tensor | None, halt: Callable[[], bool], watch: Callable[[str, Attack, Progress], None],
    ) -> None:  # fmt: skip
        self.model, self.search, self.samples, self.clean, self.table = model, search, samples, clean, table
        self.plan, self.setting, self.part, self.queries, self.halt, self.watch = plan, setting, part, queries, halt, watch

    def __call__(self, name: str, attack: Attack, where: Tensor) -> tuple[int, int] | None:
        """How many of the samples at positions `where` were tried and broken; None where the run was halted, to go on later."""
        label = trust_label(name)
        facts = self.part.facts(label)
        records = self.part.read(label) if facts is not None and facts["complete"] else None
        if records is None:
            records = self._run(label, attack, where)
        if records is None:
            return None
        return int((records["status"] != "unfinished").sum()), int(records["broken"].sum())

    def _run(self, label: str, attack: Attack, where: Tensor) -> pl.DataFrame | None:
        few, snapshot = subset(self.samples, where), self.part.file(label, "snapshot")
        outcome = run(
            attack, self.model, few, another_seed(self.setting), search=self.search(attack), clean=self.clean[where],
            queries=None if self.queries is None else self.queries[where], snapshot=snapshot, halt=self.halt,
            watch=lambda progress: self.watch(label, attack, progress),
        )  # fmt: skip
        if outcome.halted:
            return None
        table = self.table[where.tolist()]
        records = frame(label, outcome, few, self.model, self.plan.threat, table, torch.ones(len(where), dtype=torch.bool))
        self._adopt(records, outcome, where)
        self.part.write(label, records)
        write_json(self.part.file(label, "json"), attack_facts(outcome))
        snapshot.unlink(missing_ok=True)
        return records

    def _adopt(self, records: pl.DataFrame, outcome: Outcome, where: Tensor) -> None:
        """Examples of samples that nothing broke before become the run's."""
        array = self.part.array("adversarial", tuple(self.samples.x.shape), self.model.dtype)
        for place in records["broken"].arg_true().to_list():
            i = int(where[place])
            clean = self.model.bounds.intake(self.samples.x[i : i + 1], self.model.dtype, torch.device("cpu"))
            if bool((array[i : i + 1] == clean).all()):
                array[i] = outcome.adversarial[place]
