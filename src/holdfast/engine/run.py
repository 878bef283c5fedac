"""The one loop: rows enter slots, every slot takes steps, finished rows are verified and their slots refilled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, InputError, StoreError
from holdfast.core.rows import Rows
from holdfast.core.types import Batch, Model, Out
from holdfast.engine.noise import kept_generators
from holdfast.engine.outcome import NONE, Board, Outcome
from holdfast.engine.pieces import Asker
from holdfast.engine.probe import EngineProbe, Ledger
from holdfast.engine.samples import Samples, clean_answers
from holdfast.engine.setting import Progress, Setting, admit, fitted
from holdfast.engine.snapshot import Snapshots, identity, to_device
from holdfast.engine.verify import Verifier


@dataclass(frozen=True)
class Slots(Rows):
    """The rows in flight; `sample` is the position of each row's sample."""

    batch: Batch
    ledger: Ledger
    step: Tensor
    sample: Tensor


def run(
    attack: Attack,
    model: Model,
    samples: Samples,
    setting: Setting = Setting(),
    *,
    search: Model | None = None,
    clean: Out | None = None,
    todo: Tensor | None = None,
    queries: Tensor | None = None,
    adversarial: Tensor | None = None,
    snapshot: Path | None = None,
    exhaustive: bool = False,
    halt: Callable[[], bool] = lambda: False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Attack every sample, or those at positions `todo`, and say what was found.

    `search`: what is asked in the search, the model itself when None: a faster stand-in may look for claims, only the model confirms
    them; `clean`: the model's answers to the clean samples, asked here when None; `queries` `[n]`: forwards that each sample may still
    cost; `adversarial` `[n, ...]`: where verified examples are written (it holds the clean inputs elsewhere); `snapshot`: a file that lets
    the same call go on after a kill; `exhaustive`: every restart is made, whatever the others found, so that
    hits can be counted; `halt` is asked between steps, and a halted run is not `complete`.

    Raises ConfigError when the model gives less than the rule needs, InputError for unusable data, ModelError for NaN answers.
    """
    # Only the probe asks for gradients: inputs that require one must not drag a graph from step to step.
    with kept_generators(model.device), torch.inference_mode(False), torch.no_grad():
        return _Run(attack, model, search or model, samples, setting, clean, todo, queries, adversarial, snapshot, exhaustive).go(
            halt, watch
        )


class _Run:
    def __init__(
        self,
        attack: Attack,
        model: Model,
        search: Model,
        samples: Samples,
        given: Setting,
        clean: Out | None,
        todo: Tensor | None,
        queries: Tensor | None,
        adversarial: Tensor | None,
        snapshot: Path | None,
        exhaustive: bool = False,
    ) -> None:
        admit(attack, model, tuple(samples.x.shape[1:]))
        samples.check(model)
        self.model, self.samples, self.queries = model, samples, queries
        self.setting = setting = fitted(given, model)
        self.asker = Asker(setting.pieces)
        self.clean = clean_answers(model, samples, self.asker, setting.seed) if clean is None else clean
        self.clean_cost = 1 if clean is None else 0
        samples.check_labels(model.classes)
        self.stated = attack = attack.fitted(model.classes)
        if exhaustive:
            attack = replace(attack, group=replace(attack.group, cancel="none"))
        self.attack = attack
        self.probe = EngineProbe(search, attack, self.asker, setting.seed, setting.verdict.share)
        self.verify = Verifier(model, attack.goal, self.probe.threat, setting.verdict, self.asker, setting.seed)
        everything = torch.arange(len(samples)) if todo is None else todo.cpu()
        self.wrong = torch.zeros(len(samples), dtype=torch.bool)
        self.wrong[everything] = self._wrong(everything)
        self.todo = everything[~self.wrong[everything]]
        # What every row keeps back, so that its claim can be verified as found and as rounded to 8 bits.
        self.reserve = 2 * setting.verdict.asks
        least = attack.rule.price() + self.reserve
        if attack.stop.queries is not None and attack.stop.queries < least:
            raise ConfigError(f"queries={attack.stop.queries}: a row needs {least} at least, {self.reserve} to verify a claim")
        if queries is not None:
            self.queries = queries.cpu() - self.clean_cost
            self.todo = self.todo[self.queries[self.todo] >= attack.group.members * least]
        self.skipped = everything[~self.wrong[everything] & ~torch.isin(everything, self.todo)]
        self.holds_examples = adversarial is None
        if adversarial is None:
            adversarial = model.bounds.intake(samples.x, model.dtype, torch.device("cpu")).clone()
        self.board = Board(len(samples), attack.group, attack.keep == "smallest", attack.keep == "strongest", adversarial)
        # Where claims may be refused often, what a row does after one must not depend on when the engine looks.
        eager = attack.stop.queries is not None or queries is not None or model.stochastic
        self.harvest = 1 if eager else setting.harvest
        self.snapshots = Snapshots(snapshot)
        self.identity = identity(self.stated.digest, setting.seed, samples.ids, self.todo)
        self.position = 0
        self.seconds = 0.0
        self.slots: Slots | None = None
        self.state: Rows
        self.age = torch.zeros(0, dtype=torch.int64)
        self.cost: Tensor
        self._resume()

    def _wrong(self, which: Tensor) -> Tensor:
        """Which clean inputs meet the goal already."""
        if not len(which):
            return torch.zeros(0, dtype=torch.bool)
        found = []
        for part in which.split(512):
            member = torch.zeros_like(part)
            batch = self.samples.batch(self.attack, self.model, self.clean, self.setting.seed, part, member)
            host = replace(batch, x=batch.x.flatten(1)[:, :1]).map(lambda t: t.cpu())
            shapes = f"labels {list(self.samples.y.shape)}, answers {list(self.clean.logits.shape)}"
            unfit = f"{type(self.attack.goal).__name__} cannot judge {shapes}: for classes give labels and targets [n]"
            try:
                found.append(self.attack.goal.wrong(host.clean, host))
            except (RuntimeError, IndexError, TypeError) as error:
                raise InputError(unfit) from error
            if found[-1].shape != part.shape:
                raise InputError(unfit)
        return torch.cat(found)

    def go(self, halt: Callable[[], bool], watch: Callable[[Progress], None]) -> Outcome:
        begin, before = time.monotonic(), self.seconds
        total = len(self.todo) * self.attack.group.members
        halted = False
        while not halted:
            self._refill()
            if self.slots is None:
                break
            self._harvest(self._advance(self.slots))
            self.seconds = before + time.monotonic() - begin
            watch(Progress(self.position - (0 if self.slots is None else len(self.slots)), total, self._broken()))
            halted = halt()
            if halted or self.snapshots.is_due():
                self._save()
        watch(Progress(self.position - (0 if self.slots is None else len(self.slots)), total, self._broken()))
        return self._outcome(halted)

    def _broken(self) -> int:
        return int((self.board.found.member != NONE).sum())

    def _next(self, held: int) -> tuple[Tensor, Tensor]:
        """The rows to fill the free slots with: every sample's first member, then every sample's second, …

        A sibling waits for those before it, whose success would make it pointless, unless the model would see less than a full piece.
        """
        n = len(self.todo)
        total, enough = n * self.attack.group.members, min(self.asker.pieces.rows, self.setting.slots)
        busy = torch.zeros(len(self.samples), dtype=torch.bool)
        if self.slots is not None:
            busy[self.slots.sample.cpu()] = True
        samples, members = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
        while held < self.setting.slots and self.position < total:
            row = self.position // n * n
            place = torch.arange(self.position, min(self.position + self.setting.slots - held, total, row + n))
            sample, member = self.todo[place % n], place // n
            worth = ~self.board.cancelled(sample, member)
            waits = worth & busy[sample] & (self.attack.group.cancel != "none")
            if bool(waits.any()):
                cut = int(waits.nonzero()[0]) if held >= enough else min(len(place), enough - held)
                place, sample, member, worth = place[:cut], sample[:cut], member[:cut], worth[:cut]
                if not cut:
                    break
            self.position += len(place)
            busy[sample] |= worth
            samples.append(sample[worth])
            members.append(member[worth])
            held += len(samples[-1])
        return torch.cat(samples), torch.cat(members)

    def _refill(self) -> None:
        sample, member = self._next(0 if self.slots is None else len(self.slots))
        if not len(sample):
            return
        batch = self.samples.batch(self.attack, self.model, self.clean, self.setting.seed, sample, member)
        step = torch.zeros_like(batch.key)
        self.probe.attend(batch, step, Ledger.fresh(self.probe.threat.zero(batch.x)))
        state = self.attack.rule.init(self.probe)
        fresh = Slots(batch, self.probe.ledger, step, sample.to(batch.key.device))
        self.state = state if self.slots is None else self.state.cat(state)
        self.slots = fresh if self.slots is None else self.slots.cat(fresh)
        self.age = torch.cat([self.age, torch.zeros(len(sample), dtype=torch.int64)])

    def _advance(self, slots: Slots) -> Slots:
        """Steps until the next harvest, or until the oldest row has had its last."""
        step = slots.step
        window = min(self.harvest, self.attack.stop.steps - int(self.age.max()))
        self.probe.attend(slots.batch, step, slots.ledger)
        for past in range(window):
            # A row that has ended since the last harvest stays as it is, so that it does not matter when the engine looks.
            self.probe.ended = ended = self.attack.rule.finished(self.state) if past else None
            state = self.attack.rule.step(self.state, self.probe)
            self.state = state if ended is None else self.state.where(ended, state)
            step = step + 1 if ended is None else step + ~ended
            self.probe.step = step
        self.age = self.age + window
        self.cost = self.probe.ledger.forwards - slots.ledger.forwards
        self.slots = replace(slots, ledger=self.probe.ledger, step=step)
        return self.slots

    def _harvest(self, slots: Slots) -> None:
        """Verify and record the rows that are done, and free their slots and those of cancelled siblings."""
        stop, group = self.attack.stop, slots.batch.group
        ended = self.attack.rule.finished(self.state)
        over = slots.step >= stop.steps if ended is None else (slots.step >= stop.steps) | ended
        room = self._room(slots)
        if self.queries is not None:
            cut = ((room < 0) & ~over).cpu()
            self.board.cut[slots.sample.cpu()[cut], group.cpu()[cut]] = True
        over = over | (room < 0)
        claimed = slots.ledger.hit if self.attack.keep == "first" and stop.early else torch.zeros_like(over)
        done = (over | claimed).cpu()
        if bool(done.any()):
            index = done.nonzero().squeeze(1).to(group.device)
            refused = self._settle(slots[index], self.state[index], over[index], room[index])
            done[index.cpu()[refused[0]]] = False
            slots = self._reopened(slots, index[refused[0].to(index.device)], self.setting.verdict.asks, refused[1])
            self.slots = slots
        keep = ~(done | self.board.cancelled(slots.sample.cpu(), slots.batch.group.cpu()))
        if bool(keep.all()):
            return
        if not bool(keep.any()):
            self.slots, self.age = None, self.age[:0]
            return
        index = keep.nonzero().squeeze(1).to(group.device)
        self.slots, self.state, self.age = slots[index], self.state[index], self.age[keep]

    def _room(self, slots: Slots) -> Tensor:
        """What each row could still ask after one more step like its last, its verification kept back: of its and its sample's budget."""
        own = self.attack.stop.queries
        room = torch.full_like(slots.ledger.forwards, NONE if own is None else own)
        if self.queries is not None:
            share = self.queries[slots.sample.cpu()] // self.attack.group.members
            room = torch.minimum(room, share.to(room.device))
        return room - slots.ledger.forwards - self.cost - self.reserve

    def _settle(self, rows: Slots, state: Rows, over: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
        """Verify and record finished rows; the positions (on the host) of refused claims whose rows have steps left, and how many of the
        forwards that refused each answered no number."""
        pending = self.attack.rule.pending(state)
        hit = rows.ledger.hit
        point, at = rows.ledger.point, rows.ledger.step
        if pending is not None:
            latest = torch.ones_like(hit) if self.attack.keep == "last" else ~hit
            mask = latest.reshape(-1, *[1] * (pending.ndim - 1))
            point, at = torch.where(mask, pending, point), torch.where(latest, rows.step, at)
            hit = torch.ones_like(hit)
        index = hit.nonzero().squeeze(1)
        host = [t.cpu() for t in (rows.sample, rows.batch.group, at, rows.batch.target, rows.batch.radius)]
        ledger = rows.ledger.map(lambda t: t.cpu())
        claimless = (~hit).nonzero().squeeze(1).cpu()
        if len(claimless):
            sample, member, at, target, radius = (t[claimless] for t in host)
            self.board.record(sample, member, ledger[claimless], None, at, target, radius)
        if not len(index):
            return index.cpu(), index.cpu()
        claim = self.verify(rows.batch[index], point[index], self.probe.asks, rows.ledger.forwards[index]).map(lambda t: t.cpu())
        self.probe.asks += 1
        where = index.cpu()
        again = rows.ledger.hit.cpu()[where] & ~claim.holds & ~over.cpu()[where] & (claim.forwards <= room.cpu()[where])
        self.board.refused += int((rows.ledger.hit.cpu()[where] & ~claim.holds).sum())
        final = (~again).nonzero().squeeze(1)
        chosen = where[final]
        sample, member, at, target, radius = (t[chosen] for t in host)
        self.board.record(sample, member, ledger[chosen], claim[final], at, target, radius)
        return where[again], claim.nan_forwards[again]

    @staticmethod
    def _reopened(slots: Slots, index: Tensor, asks: int, nan: Tensor) -> Slots:
        """Rows whose claim was refused, at the price of `asks`, search on."""
        book = slots.ledger
        forwards = book.forwards.index_add(0, index, torch.full_like(index, asks))
        nan_forwards = book.nan_forwards.index_add(0, index, nan.to(index.device))
        hit = book.hit.index_fill(0, index, False)
        return replace(slots, ledger=replace(book, hit=hit, forwards=forwards, nan_forwards=nan_forwards))

    def _save(self) -> None:
        tensors = self.board.flatten() | {"age": self.age}
        if self.holds_examples:
            tensors["examples"] = self.board.adversarial[self.board.found.member != NONE]
        if self.slots is not None:
            tensors |= self.slots.flatten("slots.") | self.state.flatten("state.")
        asker = self.asker
        counts: dict[str, str | int | float] = {"forwards": asker.forwards, "backwards": asker.backwards}
        position = {"position": self.position, "asks": self.probe.asks, "refused": self.board.refused}
        facts = counts | position | {"seconds": self.seconds, "rows": asker.pieces.rows, "run": self.identity}
        self.snapshots.write(tensors, facts)

    def _resume(self) -> None:
        stored = self.snapshots.read()
        if stored is None:
            return
        flat, facts = stored
        if facts.get("run") != self.identity:
            raise StoreError(f"snapshot {self.snapshots.path} belongs to another attack, seed or samples: choose another folder")
        self.board.restore(flat)
        if self.holds_examples:
            self.board.adversarial[self.board.found.member != NONE] = flat["examples"]
        self.age = flat["age"]
        if len(self.age):
            device = to_device(flat, self.model.device)
            out = type(self.clean)
            self.slots = _slots(device, out)
            self.state = self.attack.rule.State.unflatten(device, "state.")
        self.position, self.probe.asks = int(facts["position"]), int(facts["asks"])
        self.board.refused, self.seconds = int(facts["refused"]), float(facts["seconds"])
        # On top of the clean answers, which this call has asked again.
        self.asker.forwards += int(facts["forwards"])
        self.asker.backwards += int(facts["backwards"])
        self.asker.pieces = replace(self.asker.pieces, rows=int(facts["rows"]))

    def _outcome(self, halted: bool) -> Outcome:
        board = self.board
        counted = board.counted() & (board.forwards >= 0)
        forwards = (board.forwards * counted).sum(dim=1) + self.clean_cost
        backwards, nan_forwards, nan_backwards = (
            (t * counted).sum(dim=1) for t in (board.backwards, board.nan_forwards, board.nan_backwards)
        )
        done = board.done()
        # Not asked for, or wrong already: nothing to do; too small a budget: unfinished business.
        attempted = torch.zeros_like(done)
        attempted[self.todo] = True
        done = done | ~attempted
        done[self.skipped] = False
        margin = torch.where(counted, board.margins, -torch.inf).amax(dim=1)
        weakest = torch.where(counted, board.margins, torch.inf).amin(dim=1)
        return Outcome(
            self.stated, board.adversarial, self.wrong | (board.found.member != NONE), self.wrong, done, board.found, margin, weakest,
            board.hits(), forwards, backwards, nan_forwards, nan_backwards, self.asker.forwards - int(forwards.sum()),
            self.asker.backwards - int(backwards.sum()), board.refused, self.seconds, halted and not bool(board.done()[self.todo].all()),
        )  # fmt: skip


def _slots(flat: dict[str, Tensor], out: type[Out]) -> Slots:
    """The stored slots; `out` is the kind of answer that this model gives."""
    names = {name.removeprefix("slots.batch.clean."): t for name, t in flat.items() if name.startswith("slots.batch.clean.")}
    rest = {part: flat[f"slots.batch.{part}"] for part in Batch.__dataclass_fields__ if part != "clean"}
    batch = Batch(clean=out.unflatten(names), **rest)
    return Slots(batch, Ledger.unflatten(flat, "slots.ledger."), flat["slots.step"], flat["slots.sample"])
