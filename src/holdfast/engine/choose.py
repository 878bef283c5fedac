"""`choose`: which replica, layout and piece size answer the most rows a second, and answer as the user's model does."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from holdfast.core.types import Access, Model
from holdfast.engine.agree import agree, ask, close
from holdfast.engine.noise import by_place, kept_generators
from holdfast.engine.pieces import GRAIN, Layout, Pieces, out_of_memory
from holdfast.engine.replica import Choice, Form, Low, Wrapper, foldable, replica

COPY, LOW, LAYOUT = 1.05, 1.3, 1.02
"""How many times as fast a copy, low precision and another layout or size must be: what is less may be the noise of the clock."""


def choose(model: Model, x: Tensor, gradient: bool = True, copies: bool = True, seconds: float = 3.0) -> Choice:
    """The fastest way to ask that agrees with the model on real rows `x` `[n, ...]`, timed on this machine.

    `gradient`: whether search asks for gradients; `copies`: False leaves the model's own module and chooses layout and piece size alone;
    `seconds`: no further candidate is begun after so long. A candidate that cannot be made, raises, or disagrees is left out, and
    `why` says so; a stochastic model is asked itself.

    >>> from holdfast import Classifier
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), classes=3)
    >>> choose(model, torch.rand(8, 1, 2, 2), copies=False).form
    'own'
    """
    end = time.perf_counter() + seconds
    with kept_generators(model.device):
        try:
            trial = _Trial.begin(model, x, gradient and model.access >= Access.GRADIENT, end)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return Choice(pieces=Pieces(GRAIN), why=f"the model itself, pieces of {GRAIN}: memory ran out on more")
        return trial.best(copies)


class _Trial:
    """Candidates against the model's own answer to one `batch`; `start` is the piece size where growing begins."""

    def __init__(self, model: Model, batch: Tensor, gradient: bool, end: float, start: int) -> None:
        self.model, self.batch, self.gradient, self.end, self.start = model, batch, gradient, end, start
        self.notes: list[str] = []
        self.reference = ask(model, batch, gradient)
        self.own = len(batch) / min(self.reference.seconds, _fastest(model, batch, gradient))

    @classmethod
    def begin(cls, model: Model, x: Tensor, gradient: bool, end: float) -> _Trial:
        host = model.device.type == "cpu"
        start = 32 if host else 256
        slow = ask(model, _repeated(x, GRAIN), gradient).seconds > 0.3
        return cls(model, _repeated(x, GRAIN if slow else start), gradient, end, start)

    def best(self, copies: bool) -> Choice:
        copies = copies and not self.model.stochastic
        last = self._takes_channels_last()
        choice, rate = Choice(pieces=Pieces(self.start)), self.own
        if copies:
            choice, rate = self._copy(choice, rate, last)
        if choice.form == "own" and last:
            other = replace(choice, pieces=Pieces(self.start, "channels_last"))
            choice, rate = _better((choice, rate), (other, self._rate(other)), LAYOUT)
        if copies and self.model.dtype == torch.float32:
            choice, rate = self._low(choice, rate)
        choice, rate = self._grown(choice, rate)
        form = "the model itself" if choice.form == "own" else f"a {choice.form} copy"
        precision = choice.dtype or str(self.model.dtype).removeprefix("torch.")
        words = f"{form}, {precision}, {choice.pieces.layout.replace('_', ' ')}, pieces of {choice.pieces.rows}"
        gain = f"{rate / self.own:.2f} × the rows a second of the model itself in contiguous pieces of {len(self.batch)}"
        return replace(choice, why="; ".join([f"{words}: {gain}", *self.notes]))

    def _takes_channels_last(self) -> bool:
        """Whether the model itself, which verifies in the same layout, answers it alike."""
        if self.batch.ndim != 4:
            return False
        try:
            with torch.no_grad():
                found = by_place(self.model, Pieces(1, "channels_last").arrange(self.batch[:GRAIN].clone())).logits
        except RuntimeError:
            return False
        return close(found, self.reference.logits[:GRAIN])

    def _copy(self, choice: Choice, rate: float, last: bool) -> tuple[Choice, float]:
        """A folded copy, or else a frozen one, which pays in channels last alone: its weights are turned once, not at every ask."""
        net = self.model.net if isinstance(self.model, Wrapper) else None
        layouts: tuple[Layout, ...] = ("channels_last",) if last else ()
        if isinstance(net, nn.Module) and foldable(net):
            tried = [Choice("folded", None, Pieces(self.start, layout)) for layout in (*layouts, "contiguous")]
            rates = [self._rate(other) for other in tried]
            if any(rates):
                return _better((choice, rate), max(zip(tried, rates, strict=True), key=lambda pair: pair[1]), COPY)
        if isinstance(net, nn.Module) and last:
            other = Choice("frozen", None, Pieces(self.start, "channels_last"))
            return _better((choice, rate), (other, self._rate(other)), COPY)
        return choice, rate

    def _low(self, choice: Choice, rate: float) -> tuple[Choice, float]:
        """Low precision, where this machine is quick at it."""
        dtypes: tuple[Low, ...] = ("bfloat16",) if self.model.device.type == "cpu" else ("float16", "bfloat16")
        for dtype in dtypes:
            if not _quick(dtype, self.model.device):
                self.notes.append(f"{dtype} is slow on this machine")
                continue
            form: Form = "frozen" if choice.form == "own" else choice.form
            other = replace(choice, form=form, dtype=dtype)
            found = self._rate(other)
            if found > rate * LOW:
                return other, found
            self.notes += [f"{dtype} {found / rate:.2f} × as fast"] if found else []
        return choice, rate

    def _grown(self, choice: Choice, rate: float) -> tuple[Choice, float]:
        """Larger pieces, until they stop paying."""
        model, factor, most = replica(self.model, choice), *((2, 512) if self.model.device.type == "cpu" else (4, 16384))
        rows = self.start * factor
        while rows <= most and time.perf_counter() + 2 * rows / rate < self.end:
            pieces = replace(choice.pieces, rows=rows)
            batch = pieces.arrange(_repeated(self.batch, rows))
            try:
                found = rows / _fastest(model, batch, self.gradient)
            except RuntimeError:
                break
            if found < rate * LAYOUT:
                break
            choice, rate, rows = replace(choice, pieces=pieces), found, rows * factor
        return choice, rate

    def _rate(self, other: Choice) -> float:
        """Rows a second of another choice; 0 where it cannot be made or disagrees, which is noted, or where there is no time."""
        if time.perf_counter() > self.end:
            return 0.0
        name = {"own": "channels last"}.get(other.form, f"{other.form} copy") if other.dtype is None else other.dtype
        try:
            model, batch = replica(self.model, other), other.pieces.arrange(self.batch)
            first = ask(model, batch, self.gradient, self.reference.pair)
            again = _fastest(model, batch, self.gradient)
        except Exception as error:  # a copy of the user's own code: it can raise anything
            self._note(f"no {name} ({(str(error).splitlines() or [''])[0][:160]})")
            return 0.0
        if not agree(self.reference, first, other.dtype is not None):
            self._note(f"no {name} (it answers otherwise)")
            return 0.0
        return len(batch) / min(first.seconds, again)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _fastest(model: Model, batch: Tensor, gradient: bool, times: int = 5) -> float:
    """The least of a few timings, seconds: what else the machine does only ever adds."""
    return min(ask(model, batch, gradient).seconds for _ in range(times))


def _better(now: tuple[Choice, float], other: tuple[Choice, float], factor: float) -> tuple[Choice, float]:
    return other if other[1] > now[1] * factor else now


def _quick(dtype: Low, device: torch.device) -> bool:
    """Whether a small convolution, there and back, is faster in `dtype` (processors without such instructions are many times slower)."""
    if device.type == "cuda":
        return True
    seconds = {}
    for kind in (torch.float32, getattr(torch, dtype)):
        x = torch.ones(2, 32, 16, 16, dtype=kind, device=device, requires_grad=True)
        weight = torch.ones(32, 32, 3, 3, dtype=kind, device=device)
        for _ in range(2):
            begin = time.perf_counter()
            try:
                with torch.enable_grad():
                    torch.autograd.grad(conv2d(x, weight, padding=1).sum(), x)
            except RuntimeError:
                return False
            seconds[kind] = time.perf_counter() - begin
    return seconds[getattr(torch, dtype)] < seconds[torch.float32]


def _repeated(x: Tensor, rows: int) -> Tensor:
    return x.repeat(-(-rows // len(x)), *[1] * (x.ndim - 1))[:rows]
