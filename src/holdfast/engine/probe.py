"""The probe: the only door to the model. It answers in pieces, counts, and remembers each row's best point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw
from holdfast.core.errors import ModelError
from holdfast.core.rows import Named, Rows, per_row
from holdfast.core.types import Answer, Batch, Mask, Model, Objective, Out, PerRow
from holdfast.engine.noise import drawn, model_noise
from holdfast.engine.pieces import Asker


@dataclass(frozen=True)
class Ledger(Rows):
    """What is known of each row: `hit` a claim stands; its `point`, `size`, `margin`, the row's `step` then; what it has asked so far.

    `nan_forwards`: queries whose margin was NaN or −∞ (NaN or infinite logits), so that they told nothing; `nan_backwards`: gradients of
    which most values were not finite.
    """

    hit: Tensor
    point: Tensor
    size: Tensor
    margin: Tensor
    step: Tensor
    forwards: Tensor
    backwards: Tensor
    nan_forwards: Tensor
    nan_backwards: Tensor

    @classmethod
    def fresh(cls, zero: Tensor) -> Ledger:
        """An empty ledger for rows whose perturbations look like `zero` `[n, ...]`."""
        n = len(zero)
        count = torch.zeros(n, dtype=torch.int64, device=zero.device)
        floats = zero.new_full((n,), torch.inf)
        return cls(torch.zeros_like(count, dtype=torch.bool), zero, floats, -floats, count, count, count, count, count)


@dataclass(frozen=True)
class _Reply(Rows):
    out: Out
    extra: Named


@dataclass(frozen=True)
class Costs:
    """What one query of every row costs it, and how much of that told nothing: counts, each `[n]` but the first."""

    forwards: int
    backwards: Tensor
    nan_forwards: Tensor
    nan_backwards: Tensor


@dataclass(frozen=True)
class _Told(Rows):
    """One draw's reply, and what the goal says of it."""

    reply: _Reply
    wrong: Tensor
    margin: Tensor


class EngineProbe:
    """Answers a rule about the rows of `batch`, each at its own `step`; `ledger` is brought up to date with every ask.

    A point counts as a claim when the goal holds there, in at least `share` of the draws, and its size is within the row's radius.
    """

    def __init__(self, model: Model, attack: Attack, asker: Asker, seed: int, share: float = 1.0) -> None:
        self.model, self.attack, self.asker, self.seed, self.share = model, attack, asker, seed, share
        self.threat = attack.threat.within(model.bounds)
        self.bounds = model.bounds
        self.steps = attack.stop.steps
        self.asks = 0
        self.batch: Batch
        self.step: Tensor
        self.ledger: Ledger
        self.ended: Tensor | None = None

    @property
    def draw(self) -> Draw:
        return Draw(self.batch.key, self.step)

    def attend(self, batch: Batch, step: Tensor, ledger: Ledger) -> None:
        """Speak of these rows from now on."""
        self.batch, self.step, self.ledger, self.ended = batch, step, ledger, None

    def decide(self, p: Tensor, where: Tensor | None = None) -> Mask:
        return self.score(p, where).wrong

    def score(self, p: Tensor, where: Tensor | None = None, draws: int = 1) -> Answer:
        return self._ask(p, where, draws, self._forward)[0]

    def grad(self, p: Tensor, f: Objective, where: Tensor | None = None, draws: int = 1) -> tuple[Answer, PerRow, Tensor]:
        def one(batch: Batch, number: Tensor, q: Tensor) -> _Reply:
            q, out = self._traced(batch, number, q)
            with torch.enable_grad():
                value = f(out, batch)
                total = value.sum()
            g = _gradient(total, q)
            self.asker.backwards += len(q)
            return _Reply(out.map(Tensor.detach), Named({"value": value.detach(), "g": _finite(g), "lost": self._lost(g.unsqueeze(1))}))

        answer, extra = self._ask(p, where, draws, one, backwards=1)
        return answer, extra["value"], extra["g"]

    def jacobian(
        self,
        p: Tensor,
        classes: Tensor,
        where: Tensor | None = None,
        draws: int = 1,
        base: Tensor | None = None,
        standing: bool = False,
    ) -> tuple[Answer, Tensor]:
        k = classes.shape[1]
        over = self.ledger.hit & (standing and self.attack.keep == "first" and self.attack.stop.early)
        if standing:
            where = ~over if where is None else where & ~over

        def one(batch: Batch, number: Tensor, q: Tensor, wanted: Tensor, *less: Tensor) -> _Reply:
            q, out = self._traced(batch, number, q)
            if standing and bool(self.attack.goal.wrong(out, batch).all(dim=0)):
                nothing = {"jacobian": q.new_zeros(len(q), k, *q.shape[1:]), "lost": torch.zeros(len(q), device=q.device)}
                return _Reply(out.map(Tensor.detach), Named(nothing))
            with torch.enable_grad():
                every = torch.cat([out.logits, out.logits.sum(dim=1, keepdim=True)], dim=1)
                columns = every.gather(1, wanted % every.shape[1])
                columns = columns - every.gather(1, less[0].unsqueeze(1)) if less else columns
                totals = columns.sum(dim=0).unbind()
            rows = [_gradient(totals[i], q, keep=i < k - 1) for i in range(k)]
            self.asker.backwards += k * len(q)
            jacobian = torch.stack(rows, dim=1)
            return _Reply(out.map(Tensor.detach), Named({"jacobian": _finite(jacobian), "lost": self._lost(jacobian)}))

        more = (classes,) if base is None else (classes, base)
        answer, extra = self._ask(p, where, draws, one, *more, backwards=k, standing=standing)
        if not standing:
            return answer, extra["jacobian"]
        # A row that fell before is not asked again, and stays wrong.
        answer = replace(answer, wrong=answer.wrong | over)
        return answer, torch.where(per_row(answer.wrong, extra["jacobian"]), 0.0, extra["jacobian"])

    def _forward(self, batch: Batch, number: Tensor, q: Tensor) -> _Reply:
        with torch.no_grad():
            return _Reply(self._answer(batch, number, q), Named({}))

    def _traced(self, batch: Batch, number: Tensor, q: Tensor) -> tuple[Tensor, Out]:
        q = q.detach().requires_grad_()
        with torch.enable_grad():
            return q, self._answer(batch, number, q)

    def _answer(self, batch: Batch, number: Tensor, q: Tensor) -> Out:
        return drawn(self.model, self.asker.pieces.arrange(self.threat.apply(batch.x, q)), batch.key, number)

    def _asked(self) -> Tensor:
        """How often each row has been asked before: the number of its next draw, whatever its company was asked."""
        return self.ledger.forwards

    def _ask(
        self,
        p: Tensor,
        where: Tensor | None,
        draws: int,
        one: Callable[..., _Reply],
        *more: Tensor,
        backwards: int = 0,
        standing: bool = False,
    ) -> tuple[Answer, Mapping[str, Tensor]]:
        """Ask `one` of all rows, or of those at `where`, `draws` times; rows not asked come back as NaN."""
        index = None if where is None else _some(where)
        batch, number, given = self.batch, self._asked(), (p, *more)
        if index is not None:
            batch, number, given = batch[index], number[index], tuple(t[index] for t in given)

        def draw(again: int) -> _Told:
            with model_noise(self.model, self.seed, self.asks):
                reply = self.asker.each(len(batch), lambda rows: one(batch[rows], number[rows] + again, *(t[rows] for t in given)))
            self.asks += 1
            if index is not None and where is not None:
                reply = reply.map(lambda t: _spread(t, index, where))
            goal = self.attack.goal
            return _Told(reply, goal.wrong(reply.out, self.batch), goal.margin(reply.out, self.batch))

        told, fooled = draw(0), None
        nan = unusable(told.margin)
        if draws > 1:
            fooled = told.wrong.int()
            for place in range(1, draws):
                again = draw(place)
                told, fooled, nan = told.merge([again], _add), fooled + again.wrong, nan + unusable(again.margin)
            told = told.map(lambda t: t / draws if t.is_floating_point() else t)
        wrong = told.wrong if fooled is None else (fooled > 0) & (fooled >= self.share * draws)
        answer = Answer(told.reply.out, wrong, told.margin, self.threat.size(self.batch.x, p))
        extra = told.reply.extra.tensors
        # A mean over the draws, like every number of a reply.
        lost = (extra["lost"] * draws).nan_to_num().round().long() if backwards else torch.zeros_like(nan)
        costs = Costs(draws, draws * (backwards * ~wrong if standing else torch.full_like(self.step, backwards)), nan, lost)
        self._note(answer, p, where, costs)
        return answer, extra

    def _lost(self, g: Tensor) -> Tensor:
        """How many of each row's gradients `[n, k, ...]` have mostly values that are not finite: `[n]`, a real number."""
        finite = g.isfinite().flatten(2)
        return (finite.sum(dim=2) * 2 < finite.shape[2]).float().sum(dim=1)

    def _note(self, answer: Answer, p: Tensor, where: Tensor | None, costs: Costs) -> None:
        book, keep = self.ledger, self.attack.keep
        # After the first success a row that stops there asks nothing more: what the batch still computes for it is waste.
        asked = ~book.hit if keep == "first" and self.attack.stop.early else torch.ones_like(book.hit)
        if where is not None:
            asked = asked & where
        if self.ended is not None:
            asked = asked & ~self.ended
        inside = asked & (answer.size <= self.batch.radius * (1 + 1e-6) + 1e-7)
        claim = inside & answer.wrong
        closer = inside & (answer.margin > book.margin)
        better = {
            "first": claim & ~book.hit,
            "smallest": claim & (answer.size < book.size),
            "strongest": claim & closer,
            "last": claim,
        }[keep]
        self.ledger = Ledger(
            book.hit | claim,
            torch.where(per_row(better, p), p, book.point),
            torch.where(better, answer.size, book.size),
            torch.where(closer, answer.margin, book.margin),
            torch.where(better, self.step, book.step),
            book.forwards + costs.forwards * asked,
            book.backwards + costs.backwards * asked,
            book.nan_forwards + costs.nan_forwards * asked,
            book.nan_backwards + costs.nan_backwards * asked,
        )


def _add(pair: list[Tensor]) -> Tensor:
    """The sum of two draws; what is no real number has none."""
    return pair[0] + pair[1] if pair[0].is_floating_point() else pair[0]


def _gradient(value: Tensor, q: Tensor, keep: bool = False) -> Tensor:
    """The gradient of `value` in `q`; ModelError where there is none to be had."""
    if value.requires_grad:
        (g,) = torch.autograd.grad(value, q, retain_graph=keep, allow_unused=True)
        if g is not None:
            return g
    raise ModelError(
        "the model's answer has no gradient in its input (a detach, an argmax, a no_grad inside?): "
        "choose an attack that needs none, or say Classifier(access=Access.SCORE)"
    )


def _some(where: Tensor) -> Tensor:
    """The positions that hold, or the first where none does: only an ask tells what an answer looks like, and that one is waste."""
    index = where.nonzero().squeeze(1)
    return index if len(index) else torch.zeros_like(where[:1], dtype=torch.int64)


def _spread(answer: Tensor, index: Tensor, where: Tensor) -> Tensor:
    """The answers for the rows at `index` among all rows; those that `where` leaves out get NaN (whole numbers 0)."""
    empty = torch.nan if answer.is_floating_point() else 0
    full = answer.new_full((len(where), *answer.shape[1:]), empty).index_copy(0, index, answer)
    return torch.where(per_row(where, full), full, torch.full_like(full, empty))


def _finite(g: Tensor) -> Tensor:
    """A gradient that is not a number moves nothing."""
    return g.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def unusable(margin: PerRow) -> Tensor:
    """1 for each row whose margin is NaN or −∞, so that its answer tells an attack nothing; 0 elsewhere."""
    return (~(margin > -torch.inf)).long()
