"""`fit`: the one trainer of all shared perturbations; the perturbation is the model that is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError, InputError, StoreError
from holdfast.core.expect import typed
from holdfast.core.types import Access, Bounds, Marked, Model
from holdfast.data.dataset import content
from holdfast.engine import Asker, Pieces, Samples, Setting, admit_model, clean_answers
from holdfast.engine.noise import kept_generators
from holdfast.engine.snapshot import Snapshots, identity
from holdfast.training.shared.ask import Ask, Counted
from holdfast.training.shared.placements import Added
from holdfast.training.shared.sentence import Shared

_ORDER, _JUDGE = 1 << 40, 1 << 41


@dataclass(frozen=True)
class Fitted:
    """A fitted `perturbation` `[...]` and what it cost: `history` the rate of fooled inputs of the fit after each pass, `best` the pass
    (from 0) whose perturbation this is; `forwards` and `backwards` in rows asked of the model; `complete`: it was not halted."""

    method: Shared
    perturbation: Tensor
    bounds: Bounds
    history: tuple[float, ...]
    best: int
    forwards: int
    backwards: int
    complete: bool

    @property
    def size(self) -> float:
        """How large it is, in the units of its radius."""
        return self.method.scene.placement.size(self.perturbation.unsqueeze(0))

    def check(self, x: Tensor) -> None:
        """Raise InputError unless it goes onto inputs like `x` `[n, ...]`: what is added has their shape, a picture is no larger."""
        own, shape = self.perturbation.shape, x.shape[1:]
        smaller = len(own) == len(shape) and own[:1] == shape[:1] and all(a <= b for a, b in zip(own, shape, strict=True))
        if not (own == shape if isinstance(self.method.scene.placement, Added) else smaller):
            raise InputError(
                f"inputs of shape {['n', *shape]}: the perturbation has the shape {list(own)}: give inputs like those it was fitted to"
            )

    @typed
    def apply(self, x: Tensor, seed: int = 0) -> Tensor:
        """The inputs `x` `[n, ...]` (of the model's range, or uint8) with the perturbation on them; `seed` draws the places of a patch.

        Raises InputError for inputs that it does not fit.
        """
        self.check(x)
        p = self.perturbation.unsqueeze(0)
        x = self.bounds.intake(x, p.dtype, p.device)
        ids = torch.arange(len(x), device=p.device)
        draw = Draw(row_key(seed, ids, torch.zeros_like(ids)), torch.zeros_like(ids))
        return self.method.scene.placement.apply(x, p, self.bounds, draw)


@typed
def fit(
    method: Shared,
    model: Model,
    x: Tensor,
    seed: int = 0,
    ids: Tensor | None = None,
    snapshot: str | Path | None = None,
    halt: Callable[[], bool] = lambda: False,
    watch: Callable[[int, float], None] = lambda passed, rate: None,
) -> Fitted:
    """Fit one perturbation to the inputs `x` `[n, ...]` (uint8, or in the model's range): many passes, each in an order of its own.

    Fooled is an input whose class the perturbation changes from what the model says of it clean, whatever its label, or, with a
    target, turns into the target. `ids` `[n]` name the inputs (their
    noise follows from them); `snapshot`: a file by which the same call goes on after a kill; `halt` is asked between passes;
    `watch` is told the number of passes and the rate.

    Raises ConfigError for a target that is no class or a model without gradients, InputError for unusable data.

    >>> from holdfast import Classifier
    >>> from holdfast.training.shared import universal_gradient
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), classes=3)
    >>> fitted = fit(universal_gradient(0.1, passes=2), model, torch.rand(8, 1, 2, 2))
    >>> fitted.perturbation.shape, bool(fitted.perturbation.abs().max() <= 0.1)
    (torch.Size([1, 2, 2]), True)
    """
    Setting(seed)
    admit_model(model, method.name, Access.GRADIENT)
    with kept_generators(model.device), torch.inference_mode(False), torch.no_grad():
        return _Fit(method, model, x, seed, ids, snapshot).go(halt, watch)


class _Fit:
    def __init__(self, method: Shared, model: Model, x: Tensor, seed: int, ids: Tensor | None, snapshot: str | Path | None) -> None:
        samples = Samples.of(x, torch.zeros(len(x), dtype=torch.int64), ids)
        samples.check(model)
        self.method, self.seed = method, seed
        self.model = Counted(model)
        self.x = model.bounds.intake(samples.x, model.dtype, model.device)
        self.ids = samples.ids.to(model.device)
        self.clean = clean_answers(self.model, samples, Asker(Pieces()), seed).map(lambda t: t.to(model.device))
        self.y = self.clean.logits.argmax(dim=1)
        if method.target is not None and method.target >= model.classes:
            raise ConfigError(f"target={method.target}: the model has the classes 0..{model.classes - 1}")
        self.target = torch.full_like(self.y, -1 if method.target is None else method.target)
        if bool((self.y == self.target).all()):
            raise InputError(f"the model takes every input for class {method.target} already: choose another target or other inputs")
        scene = method.scene
        none = torch.zeros(1, dtype=torch.int64, device=model.device)
        self.p = scene.placement.project(scene.placement.fresh(self.x, model.bounds, Draw(row_key(seed, none, none), none)), model.bounds)
        self.kept, self.best = self.p, -1
        self.memory = method.move.memory(self.p)
        self.history: list[float] = []
        self.snapshots = Snapshots(snapshot)
        # Nothing that the model says: another device or number of threads says it in other last bits, and the fit is the same.
        mark = model.fingerprint() if isinstance(model, Marked) else type(model).__qualname__
        what = f"{method.digest} model {mark[:16]} inputs {content(samples.x)[:16]}"
        self.identity = identity(what, seed, samples.ids, torch.arange(len(x)))
        self._resume()

    def go(self, halt: Callable[[], bool], watch: Callable[[int, float], None]) -> Fitted:
        method = self.method
        complete = True
        while not self._enough():
            if halt():
                self._store()
                complete = False
                break
            self._pass(len(self.history))
            rate = self._rate()
            self.history.append(rate)
            if method.keep == "last" or self.best < 0 or rate >= self.history[self.best]:
                self.kept, self.best = self.p, len(self.history) - 1
            watch(len(self.history), rate)
            if self.snapshots.is_due():
                self._store()
        return Fitted(
            method, self.kept[0], self.model.bounds, tuple(self.history), self.best, self.model.forwards, self.model.backwards, complete
        )

    def _enough(self) -> bool:
        reached = self.method.until is not None and bool(self.history) and max(self.history) >= self.method.until
        return reached or len(self.history) >= self.method.passes

    def _pass(self, number: int) -> None:
        """Every input once, in batches, in the order that this pass's noise gives them."""
        method = self.method
        chance = Draw(row_key(self.seed, self.ids, torch.zeros_like(self.ids)), torch.full_like(self.ids, _ORDER + number))
        order = chance.bits("order", 1).squeeze(1).argsort(stable=True)
        batches = order.split(method.batch)
        for place, rows in enumerate(batches):
            time = number * len(batches) + place
            ask = self._ask(rows, time)
            p, self.memory = method.move.step(self.p, self.memory, ask, time / (method.passes * len(batches)))
            self.p = method.scene.placement.project(p, self.model.bounds)

    def _rate(self) -> float:
        """The share of inputs that p fools, of those that are not of the target class anyway."""
        rows = (self.y != self.target).nonzero().squeeze(1)
        return self._ask(rows, _JUDGE).wrong(self.p).double().mean().item()

    def _ask(self, rows: Tensor, time: int) -> Ask:
        scene, model = self.method.scene, self.model
        return Ask(scene, model, self.x[rows], self.y[rows], self.target[rows], self.clean[rows], self.ids[rows], self.seed, time)

    def _store(self) -> None:
        tensors = {"p": self.p, "kept": self.kept, "history": torch.tensor(self.history, dtype=torch.float64)}
        counts = {"best": self.best, "forwards": self.model.forwards, "backwards": self.model.backwards}
        self.snapshots.write(tensors | self.memory.flatten("memory."), {"identity": self.identity, **counts})

    def _resume(self) -> None:
        found = self.snapshots.read()
        if found is None:
            return
        tensors, facts = found
        if facts["identity"] != self.identity:
            raise StoreError(f"{self.snapshots.path} holds another fit ({facts['identity']}): delete it, or repeat the call it is from")
        tensors = {name: tensor.to(self.model.device) for name, tensor in tensors.items()}
        self.p, self.kept, self.history = tensors["p"], tensors["kept"], tensors["history"].tolist()
        if len(self.memory.leaves()):
            self.memory = type(self.memory).unflatten(tensors, "memory.")
        self.best, self.model.forwards, self.model.backwards = (int(facts[name]) for name in ("best", "forwards", "backwards"))
