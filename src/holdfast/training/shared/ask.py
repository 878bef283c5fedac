"""`Ask`: the door through which a shared perturbation is fitted: it shows inputs, answers, and counts what the model is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw, row_key
from holdfast.core.expect import expect_fields
from holdfast.core.rows import per_row
from holdfast.core.types import Batch, Bounds, Goal, Model, Objective, Out
from holdfast.engine import Samples, Setting, run
from holdfast.engine.noise import drawn, model_noise
from holdfast.parts.views import Chain, View
from holdfast.training.shared.placements import Placement


@final
class Counted:
    """A model, and how many rows it was asked forwards and backwards: whoever asks, nothing goes uncounted."""

    def __init__(self, model: Model) -> None:
        self._model, self.forwards, self.backwards = model, 0, 0
        self.access, self.bounds, self.stochastic = model.access, model.bounds, model.stochastic
        self.dtype, self.device = model.dtype, model.device

    @property
    def independent(self) -> bool:
        return self._model.independent

    @property
    def classes(self) -> int:
        return self._model.classes

    def __call__(self, x: Tensor) -> Out:
        return self._told(self._model(x))

    def drawn(self, x: Tensor, draw: Draw) -> Out:
        """The same under the noise of `draw`, where the model takes it."""
        return self._told(drawn(self._model, x, draw.key, draw.step))

    def _told(self, out: Out) -> Out:
        self.forwards += len(out)
        if out.logits.requires_grad:
            out.logits.register_hook(self._back)
        return out

    def _back(self, g: Tensor) -> None:
        self.backwards += len(g)


@dataclass(frozen=True)
class Scene:
    """What p is put on and seen through: the `goal`, the `placement`, the `views` in order, and how many `draws` of them a row gets."""

    goal: Goal
    placement: Placement
    views: tuple[View, ...] = ()
    draws: int = 1

    def __post_init__(self) -> None:
        expect_fields(self)

    def show(self, x: Tensor, p: Tensor | None, bounds: Bounds, draw: Draw) -> Tensor:
        """The inputs with p on them (as they are for None), as the views show them, in the valid range."""
        seen = x if p is None else self.placement.apply(x, p, bounds, draw)
        return bounds.clamp(Chain(self.views)(seen, draw, bounds)) if self.views else seen


@dataclass(frozen=True)
class Ask:
    """A batch of inputs `x` `[n, ...]` with the classes `y` that the model gives them, or `target`s; `seed` and `time` key all noise."""

    scene: Scene
    model: Model
    x: Tensor
    y: Tensor
    target: Tensor
    clean: Out
    ids: Tensor
    seed: int
    time: int
    piece: int = field(default=128, repr=False)

    def wrong(self, p: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Which of the rows from `start` p fools in its first draw: `[m]`."""
        parts = []
        with torch.no_grad():
            for rows in torch.arange(len(self.x))[start:stop].split(self.piece):
                shown, batch = self._shown(p, rows, 0)
                parts.append(self.scene.goal.wrong(self._answer(shown, rows[0], batch.key), batch))
        return torch.cat(parts)

    def slope(self, p: Tensor, f: Objective) -> Tensor:
        """The gradient in p of the mean of the objective `f` over rows and draws; what is no number moves nothing."""
        total, draws = torch.zeros_like(p), self.scene.draws
        for number in range(draws):
            for rows in torch.arange(len(self.x)).split(self.piece):
                q = p.detach().requires_grad_()
                with torch.enable_grad():
                    shown, batch = self._shown(q, rows, number)
                    value = f(self._answer(shown, rows[0] + number * len(self.x), batch.key), batch).sum()
                (g,) = torch.autograd.grad(value, q)
                total = total + g.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return total / (draws * len(self.x))

    def beyond(self, p: Tensor, rows: Tensor, attack: Attack) -> Tensor:
        """How an attack on single inputs goes on from where p has brought these rows: its change `[m, ...]`, nothing where it fails."""
        draw = self._draw(rows, 0)
        begin = self.scene.placement.apply(self.x[rows], p, self.model.bounds, draw)
        target = self.target[rows] if self.scene.goal.targeted else None
        found = run(attack, self.model, Samples.of(begin, self.y[rows], self.ids[rows], target), Setting(self.seed, slots=len(rows)))
        return torch.where(per_row(found.success.to(begin.device), begin), found.adversarial.to(begin) - begin, 0.0)

    def _shown(self, p: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Batch]:
        x, draw = self.x[rows], self._draw(rows, number)
        group, radius = torch.full_like(self.y[rows], number), x.new_full((len(x),), torch.inf)
        batch = Batch(x, self.y[rows], self.target[rows], self.clean[rows], draw.key, group, radius)
        return self.scene.show(x, p, self.model.bounds, draw), batch

    def _answer(self, shown: Tensor, ask: Tensor, key: Tensor) -> Out:
        with model_noise(self.model, self.seed, self.time * (1 << 20) + int(ask)):
            return drawn(self.model, shown, key, torch.full_like(key, self.time))

    def _draw(self, rows: Tensor, number: int) -> Draw:
        ids = self.ids[rows]
        key = row_key(self.seed, ids, torch.full_like(ids, number)).to(self.x.device)
        return Draw(key, torch.full_like(key, self.time))
