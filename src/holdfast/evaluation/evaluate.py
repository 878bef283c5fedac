"""`evaluate`: a plan carried out on a model and data, stored as it goes, resumable at any moment."""

from __future__ import annotations

import hashlib
import math
import platform
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from holdfast import version
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.expect import typed
from holdfast.core.types import Access, Out, Threat
from holdfast.data import Dataset, from_tensors
from holdfast.engine import Asker, Choice, Outcome, Pieces, Progress, Samples, Setting, admit, choose, clean_answers, run
from holdfast.engine.noise import kept_generators
from holdfast.engine.snapshot import Snapshots
from holdfast.evaluation.attempts import Attempts
from holdfast.evaluation.depth import ENOUGH, Depth, calibration_set, depth
from holdfast.evaluation.diagnosis import Diagnosis, calibration, diagnose
from holdfast.evaluation.entry import Entry, History
from holdfast.evaluation.evidence import Halt, gather
from holdfast.evaluation.plan import CONVERGE, Budget, Plan, plan
from holdfast.evaluation.reaction import Reaction
from holdfast.evaluation.records import attack_facts, clean_table, frame
from holdfast.evaluation.result import Result
from holdfast.evaluation.search import Search
from holdfast.evaluation.store import TRUST, Part, Store, trust_label, write_json
from holdfast.models import Classifier

Data = Dataset | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Event:
    """What a watcher hears: which attack, how far it is."""

    label: str
    attack: str
    progress: Progress
    standing: int
    samples: int


@typed
def evaluate(
    model: Classifier,
    data: Data,
    threat: Threat | str,
    suite: str | None = None,
    attacks: Sequence[Attack | str] | Attack = (),
    radii: Sequence[float] = (),
    effort: float = 1.0,
    converge: float = CONVERGE,
    out: str | Path | None = None,
    seed: int = 0,
    slots: int | None = None,
    harvest: int | None = None,
    pieces: Pieces | None = None,
    replica: bool = True,
    budget: Budget = Budget(),
    shard: tuple[int, int] = (0, 1),
    trust: bool = True,
    watch: Callable[[Event], None] = lambda event: None,
    halt: Callable[[], bool] = lambda: False,
) -> Result:
    """Measure how many samples a model classifies right, and how many of them no attack of a plan can break.

    `data`: a `Dataset`, or `(x, y)` with `x` `[n, ...]` in the model's range (or uint8) and `y` `[n]`; `threat`: what an attacker may do
    (`Linf(8 / 255)`, or "linf:8/255");
    `suite`: a named plan (`standard-2` when None, `autoattack`, `quick-1`), or `attacks` of your own; `effort`: multiplies the restarts,
    rivals and queries of `standard-2`, from a fraction to tens; `converge`: the share of the samples that may still be estimated to fall
    when its search ends (0: all levels are made wherever a sample is left); `radii`: a grid for the accuracy against radius; `out`: the
    run's folder (a temporary one when None): the same call goes on where it stopped, and a finished run asks the model nothing; `pieces`:
    how the model is asked, where it should not be timed; `replica`: False searches on the model itself, not on a faster copy of it (claims
    are always put to the model itself); what was chosen is stored, and obeyed when the run goes on; `shard`: (i, k) takes every k-th
    sample from the i-th; `trust`: False leaves out the trust checks that ask the model (of a suite alone: attacks of your own are
    not judged so); `halt` is asked between steps; a halted run is resumable.

    Raises ConfigError, InputError, ModelError or StoreError, each with what to do.

    >>> from holdfast.data import load_data
    >>> from holdfast.parts.threats import Linf
    >>> data = load_data("digits", limit=8)
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    >>> result = evaluate(Classifier(net, 10), data, Linf(0.1))
    >>> 0 <= result.robust_accuracy <= result.clean_accuracy
    True
    """
    dataset = data if isinstance(data, Dataset) else from_tensors(*data)
    Setting(seed, slots, harvest)
    todo = plan(threat, suite, attacks, radii, effort, converge)
    index, count = shard
    if not 0 <= index < count:
        raise ConfigError(f"shard {index}/{count}: expected 0 ≤ i < k, as in 0/4")
    with kept_generators(model.device):
        model.fit_classes(dataset.x)
    whole = Samples.of(dataset.x, dataset.y, dataset.ids)
    whole.check(model)
    whole.check_labels(model.classes)
    store = Store(Path(tempfile.mkdtemp(prefix="holdfast-") if out is None else out))
    known = store.known()
    begin = time.monotonic()
    diagnosis = Diagnosis.read(known["diagnosis"]) if known else diagnose(model, whole, todo.threat, todo.reacts, seed)
    model, todo = model.declared(diagnosis.reaction.stochastic), diagnosis.reaction.plan(todo)
    looked = time.monotonic() - begin
    for entry in todo.entries:
        admit(entry.attack, model, tuple(whole.x.shape[1:]))
    identity = describe(model, dataset, todo, seed, count, budget) | {"diagnosis": asdict(diagnosis), "reacts": todo.reacts}
    chosen = Choice(pieces=pieces or Pieces(), why="the model itself, in the pieces that the caller gave")
    few = whole.x[calibration(whole.ids, seed).to(whole.x.device)]
    few = model.bounds.intake(few, model.dtype, model.device)
    if not known and pieces is None:
        gradient = any(entry.attack.rule.needs is Access.GRADIENT for entry in todo.entries)
        chosen = choose(model, few, gradient, copies=replica and not (todo.reacts and diagnosis.reaction.doubtful))
    manifest = store.open(identity, {"choice": asdict(chosen), "made": environment(), "diagnosis_seconds": looked})
    choice = Choice.read(manifest["once"]["choice"])
    setting = Setting(seed, slots, harvest, choice.pieces)
    if len(dataset) <= index:
        raise InputError(f"shard {index}/{count} of {len(dataset)} samples is empty: use fewer shards")
    reaction = diagnosis.reaction if todo.reacts else Reaction(diagnosis.reaction.stochastic)
    search = Search(model, choice, reaction, few)
    end = None if budget.deadline is None else time.monotonic() + budget.deadline

    def halted() -> bool:
        return halt() or (end is not None and time.monotonic() >= end)

    def measure(part: Part, places: Tensor, trust: bool, deep: Depth | None = None) -> Depth | None:
        return _Run(model, whole.at(places), places, todo, search, setting, part, budget, watch, halted, trust, deep).go()

    mine = torch.arange(index, len(dataset), count)
    if not todo.levels:
        part = store.shard(index, count)
        with part.lock():
            measure(part, mine, trust)
    else:
        drawn = calibration_set(whole.ids, seed)
        part = store.calibration()
        with part.lock_in_turn(halted):
            deep = measure(part, drawn, trust)
        rest = mine[~torch.isin(mine, drawn)]
        if deep is not None and len(rest):
            part = store.shard(index, count)
            with part.lock():
                # The trust checks look at calibration samples alone: these are as good a sample of all as any.
                measure(part, rest, False, deep)
    result = Result(store.path)
    if out is None:
        weakref.finalize(result, shutil.rmtree, store.path, ignore_errors=True)
    return result


class _Run:
    """A plan carried out on the samples of one part; `deep`: how deep to search, None where this part is to find that out."""

    def __init__(
        self, model: Classifier, samples: Samples, places: Tensor, todo: Plan, search: Search, setting: Setting, part: Part, budget: Budget,
        watch: Callable[[Event], None], halt: Callable[[], bool], trust: bool, deep: Depth | None,
    ) -> None:  # fmt: skip
        self.model, self.samples, self.plan, self.setting, self.part, self.watch = model, samples, todo, setting, part, watch
        self.places, self.search, self.trust, self.halt, self.deep = places, search, trust, halt, deep
        n = len(samples)
        self.left = None if budget.queries is None else torch.full((n,), budget.queries)

    def go(self) -> Depth | None:
        """How deep the search went, or None where it did not end."""
        try:
            standing = self._attacks()
            if standing is not None and self.trust and self.plan.suite:
                self._evidence(standing)
            return None if standing is None else self.deep
        finally:
            self._pictures()

    def _attacks(self) -> Tensor | None:
        """Which samples no entry broke, or None where not every entry has ended."""
        out, clean = self._clean()
        correct = torch.from_numpy(clean["correct"].to_numpy().copy())
        standing = surviving = correct.clone()
        position = {int(sample): i for i, sample in enumerate(self.samples.ids.tolist())}
        history = screened = History.begin(torch.from_numpy(clean["margin"].to_numpy().copy()))
        calibrates, level = self.deep is None and bool(self.plan.levels), 0
        tables: list[pl.DataFrame] = []
        hits = torch.zeros(len(correct), dtype=torch.int64)
        for place, entry in enumerate(self.plan.entries):
            if entry.level > level:
                if level == 0:
                    surviving, screened = standing.clone(), history
                if calibrates:
                    self.deep = self._depth(tables, surviving, screened)
                level = entry.level
            label = entry.label(place)
            facts = self.part.facts(label)
            records = self.part.read(label) if facts is not None and facts["complete"] else None
            if records is None:
                if self.halt():
                    return None
                if not entry.level:
                    todo = entry.chosen(correct, standing, history, self.samples.ids, self.setting.seed)
                else:
                    todo = self._chosen(entry, (standing | (surviving & (hits < ENOUGH))) if calibrates else standing, screened, calibrates)
                    if entry.near is not None:
                        todo = todo & (history.best > -entry.near * history.clean)
                records = self._attack(place, out, clean, todo, standing, calibrates and level > 0)
            tables.append(records)
            if entry.level:
                hits += self._hits(records, position)
            tried = torch.tensor([position[sample] for sample in records["sample"].to_list()], dtype=torch.int64)
            margins = (torch.from_numpy(records[name].to_numpy().copy()) for name in ("margin", "weakest"))
            history = history.after(entry, tried, *margins)
            fallen = [position[sample] for sample in records.filter("broken")["sample"].to_list()]
            standing[torch.tensor(fallen, dtype=torch.int64)] = False
            if self.left is not None:
                self.left[tried] -= torch.tensor(records["forwards"].to_list(), dtype=torch.int64)
            facts = self.part.facts(label)
            if facts is None or not facts["complete"]:
                return None
        if calibrates:
            self.deep = self._depth(tables, surviving, screened)
            self.part.write_depth(self.deep)
        return standing

    def _hits(self, records: pl.DataFrame, position: dict[int, int]) -> Tensor:
        """How often one entry broke each sample `[n]`."""
        hits = torch.zeros(len(self.samples), dtype=torch.int64)
        for sample, count in records.filter("broken").select("sample", "hits").iter_rows():
            hits[position[sample]] = count
        return hits

    def _depth(self, tables: Sequence[pl.DataFrame], surviving: Tensor, screened: History) -> Depth:
        gated = not self.search.reaction.doubtful
        return depth(self.plan.entries, tables, surviving, screened, self.samples.ids, self.plan.converge, gated)

    def _chosen(self, entry: Entry, surviving: Tensor, screened: History, calibrates: bool) -> Tensor:
        """The samples that an entry of a deeper level is made on.

        Calibration samples that level 0 left are attacked until they have been hit twice: how many are hit but once says how far search is.
        """
        assert self.deep is not None
        goes_on = self.deep.deeper if calibrates else entry.level <= self.deep.level
        if not goes_on or not self.deep.made(entry):
            return torch.zeros_like(surviving)
        far = screened.far(self.deep.near) if not calibrates and self.deep.near is not None else torch.zeros_like(surviving)
        return surviving & ~far

    def _evidence(self, standing: Tensor) -> None:
        """What the trust checks judge, gathered once a part, its time told apart."""
        file = self.part.path / "trust.json"
        if file.exists() or self.halt():
            return
        begin, n = time.monotonic(), len(self.samples)
        out, clean = self._clean()
        left = int(standing.sum())
        attempts = Attempts(
            self.model, self.search, self.samples, out, clean, self.plan, self.setting, self.part, self.left, self.halt,
            lambda label, attack, progress: self.watch(Event(label, str(attack), progress, left, n)),
        )  # fmt: skip
        try:
            found = gather(
                self.model, self.search, self.samples, out, standing, self.plan, self.setting, attempts, self._spent(), self.halt
            )
        except Halt:
            return
        write_json(file, found | {"seconds": time.monotonic() - begin})

    def _spent(self) -> int:
        """The forwards that the plan's attacks have cost, a backward counted as two."""
        records = [self.part.read(entry.label(i)) for i, entry in enumerate(self.plan.entries)]
        return sum(int(table["forwards"].sum()) + 2 * int(table["backwards"].sum()) for table in records if table is not None)

    def _clean(self) -> tuple[Out, pl.DataFrame]:
        """The clean answers, asked once and kept beside the records."""
        kept, stored = Snapshots(self.part.path / "clean.safetensors"), self.part.read("clean")
        found = kept.read()
        if stored is not None and found is not None:
            return Out.unflatten(found[0]), stored
        asker = Asker(self.setting.pieces or Pieces())
        out = clean_answers(self.model, self.samples, asker, self.setting.seed)
        table = clean_table(self.samples, out)
        self._copy_clean()
        self.part.write_samples(self.samples.ids, self.samples.y, self.places)
        kept.write(out.flatten(), {"forwards": asker.forwards})
        self.part.write("clean", table)
        return out, table

    def _array(self, name: str) -> Tensor:
        return self.part.array(name, tuple(self.samples.x.shape), self.model.dtype)

    def _copy_clean(self, chunk: int = 512) -> None:
        array = self._array("adversarial")
        for start in range(0, len(self.samples), chunk):
            rows = slice(start, start + chunk)
            array[rows] = self.model.bounds.intake(self.samples.x[rows], self.model.dtype, torch.device("cpu"))

    def _attack(self, place: int, out: Out, clean: pl.DataFrame, todo: Tensor, standing: Tensor, exhaustive: bool) -> pl.DataFrame:
        entry = self.plan.entries[place]
        label, left = entry.label(place), int(standing.sum())
        # What an entry finds goes straight into the run's examples when the samples it is made on have none yet; else
        # beside them first.
        scratch = not entry.survivors or exhaustive
        array = self._array(f"{label}.scratch" if scratch else "adversarial")
        n = len(self.samples)

        def told(progress: Progress) -> None:
            self.watch(Event(label, str(entry.attack), progress, left, n))

        setting = replace(self.setting, seed=entry.seed(self.setting.seed, place))
        outcome = run(
            entry.attack, self.model, self.samples, setting, search=self.search(entry.attack, entry.gradient), clean=out,
            todo=todo.nonzero().squeeze(1), queries=self.left, adversarial=array, snapshot=self.part.file(label, "snapshot"),
            exhaustive=exhaustive, halt=self.halt, watch=told,
        )  # fmt: skip
        records = frame(label, outcome, self.samples, self.model, self.plan.threat, clean, todo)
        if scratch:
            self._adopt(records, outcome)
        self.part.write(label, records)
        write_json(self.part.file(label, "json"), attack_facts(outcome))
        if not outcome.halted:
            self.part.file(label, "snapshot").unlink(missing_ok=True)
            (self.part.path / f"{label}.scratch.npy").unlink(missing_ok=True)
        return records

    def _pictures(self, broken: int = 18, kept: int = 6) -> None:
        """Keep the clean inputs of a few broken samples, spread over the labels, and of a few that withstood."""
        clean = self.part.read("clean")
        if clean is None:
            return
        labels = [*(entry.label(i) for i, entry in enumerate(self.plan.entries)), *map(trust_label, TRUST)]
        found = [records for label in labels if (records := self.part.read(label)) is not None]
        fallen = {sample for records in found for sample in records.filter("broken")["sample"].to_list()}
        turn = pl.col("sample").cum_count().over("label")
        correct = clean.filter("correct").with_columns(fell=pl.col("sample").is_in(list(fallen)))
        some = [correct.filter(fell).with_columns(turn=turn).sort("turn", "label") for fell in (pl.col("fell"), ~pl.col("fell"))]
        chosen = [*some[0]["sample"].to_list()[:broken], *some[1]["sample"].to_list()[:kept]]
        position = {int(sample): i for i, sample in enumerate(self.samples.ids.tolist())}
        rows = torch.tensor([position[sample] for sample in chosen], dtype=torch.int64)
        inputs = self.model.bounds.intake(self.samples.x[rows], torch.float32, torch.device("cpu"))
        self.part.write_gallery(self.samples.ids[rows], inputs)

    def _adopt(self, records: pl.DataFrame, outcome: Outcome) -> None:
        """Examples of samples that no earlier entry broke become the run's."""
        array = self._array("adversarial")
        position = {int(sample): i for i, sample in enumerate(self.samples.ids.tolist())}
        for sample in records.filter("broken")["sample"].to_list():
            i = position[sample]
            clean = self.model.bounds.intake(self.samples.x[i : i + 1], self.model.dtype, torch.device("cpu"))
            if bool((array[i : i + 1] == clean).all()):
                array[i] = outcome.adversarial[i]


def describe(model: Classifier, data: Dataset, todo: Plan, seed: int, shards: int, budget: Budget) -> dict[str, Any]:
    """What makes a run this run: equal for every shard and every resumption of it."""
    return {
        "model": {
            "fingerprint": model.fingerprint(), "classes": model.classes, "low": model.bounds.low, "high": model.bounds.high,
            "mean": model.mean, "std": model.std, "dtype": str(model.dtype), "stochastic": model.stochastic,
            **({} if model.views is None else {"views": repr(model.views)}),
        },
        "data": {"name": data.name, "fingerprint": data.fingerprint(), "samples": len(data), "classes": data.classes},
        "threat": {"norm": todo.threat.kind, "radius": todo.threat.radius if math.isfinite(todo.threat.radius) else None},
        "suite": todo.suite,
        "effort": todo.effort,
        "converge": todo.converge if todo.levels else None,
        "attacks": [
            {
                "label": entry.label(i), "attack": str(entry.attack), "expanded": repr(entry.attack.fitted(model.classes)),
                "digest": entry.attack.fitted(model.classes).digest, "survivors": entry.survivors, "curve": entry.curve,
                "radii": list(entry.attack.group.radii), "steps": entry.attack.stop.steps,
                "near": entry.near, "hope": entry.hope, "spot": entry.spot, "level": entry.level,
            }
            for i, entry in enumerate(todo.entries)
        ],
        "seed": seed,
        "shards": shards,
        "queries": budget.queries,
    }  # fmt: skip


def environment() -> dict[str, str]:
    """Versions and machine, for provenance; `code` is a hash of every source file of the package."""
    root = Path(version.__file__).parent
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(root.rglob("*.py")))).hexdigest()[:16]
    return {
        "holdfast": version.__version__, "code": code, "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(), "machine": platform.machine(), "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }  # fmt: skip
