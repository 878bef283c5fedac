"""Fooling images by gradient ascent: from a dull start toward the model's full confidence in a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.attack import Attack, Stop
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.expect import typed
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Access, Batch, Goal, Mask, Model, Out, PerRow, Probe, Rule
from holdfast.engine import Asker, Samples, run
from holdfast.engine.setting import Setting, fitted
from holdfast.parts.goals import at
from holdfast.parts.threats import Linf
from holdfast.synthesis.synthesised import Synthesised, admitted, judged, middle_of, wanted, width_of

# A hair beyond the wanted log-odds, so that no rounding of another precision falls short of the confidence.
_HAIR = 1e-3


@dataclass(frozen=True)
class Odds(Goal):
    """Any image counts, the surer the better.

    margin: log p_t / (1 − p_t) = z_t − log Σ_{j≠t} exp z_j;  wrong: wherever that is a number.
    """

    targeted: ClassVar[bool] = True

    def wrong(self, out: Out, batch: Batch) -> Mask:
        return ~self.margin(out, batch).isnan()

    def margin(self, out: Out, batch: Batch) -> PerRow:
        others = out.logits.scatter(1, batch.target.unsqueeze(1), -torch.inf).logsumexp(dim=1)
        return at(out.logits, batch.target) - others


@dataclass(frozen=True)
class ClimbState(Rows):
    """`p` what is added to the start image and asked next; `done` `[n]`: sure enough."""

    p: Tensor
    done: Tensor


@dataclass(frozen=True)
class Climb(Rule):
    """p ← (1 − λ) B( p + ρ g / ‖g‖² ), g = ∇ log-odds, inside the range; B mixes in a share of the image blurred by (¼ ½ ¼) each way."""

    bar: float
    rise: float
    decay: float
    blur: float
    noise: float
    goal: Goal = field(default=Odds(), repr=False)
    needs: ClassVar[Access] = Access.GRADIENT
    State: ClassVar[type[Rows]] = ClimbState

    def init(self, probe: Probe) -> ClimbState:
        x = probe.batch.x
        noise = self.noise * width_of(probe.bounds, x) * probe.draw.normal("start", tuple(x.shape[1:]), x.dtype)
        return ClimbState(probe.threat.project(x, noise), torch.zeros_like(probe.step, dtype=torch.bool))

    def step(self, state: Rows, probe: Probe) -> ClimbState:
        assert isinstance(state, ClimbState)
        x = probe.batch.x
        answer, _, g = probe.grad(state.p, self.goal.margin)
        done = state.done | (answer.margin >= self.bar)
        # Were the model linear, the log-odds would rise by `rise`; where it is all but flat, a tenth of the range is far enough.
        square = g.square().flatten(1).sum(dim=1)
        length = self.rise / square.clamp_min(torch.finfo(g.dtype).tiny)
        scaled = g / width_of(probe.bounds, x)
        farthest = 0.1 * math.sqrt(g[0].numel()) / scaled.square().flatten(1).sum(dim=1).sqrt().clamp_min(torch.finfo(g.dtype).tiny)
        p = state.p + per_row(torch.minimum(length, farthest), g) * g
        if self.blur:
            p = p + self.blur * (blurred(p) - p)
        p = probe.threat.project(x, (1 - self.decay) * p)
        return ClimbState(torch.where(per_row(done, p), state.p, p), done)

    def finished(self, state: Rows) -> Mask:
        assert isinstance(state, ClimbState)
        return state.done


def blurred(image: Tensor) -> Tensor:
    """`image` `[n, c, h, w]` with each value averaged with its neighbours, (¼ ½ ¼) along both axes; the edge repeats."""
    for axis in (-2, -1):
        size = image.shape[axis]
        before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, size - 1)], dim=axis)
        after = torch.cat([image.narrow(axis, 1, size - 1), image.narrow(axis, size - 1, 1)], dim=axis)
        image = image / 2 + (before + after) / 4
    return image


@typed
def fooling_ascent(
    model: Model,
    shape: tuple[int, ...],
    classes: Sequence[int] | None = None,
    restarts: int = 1,
    confidence: float = 0.9999,
    steps: int = 300,
    rise: float = 0.5,
    decay: float = 0.01,
    blur: float = 0.0,
    noise: float = 0.01,
    start: Tensor | None = None,
    setting: Setting = Setting(),
) -> Synthesised:
    """Images that the model is sure of and nobody else recognises, by gradient ascent on each class.

    x ← Π( x̄ + (1 − λ) B( x − x̄ + ρ g / ‖g‖² ) ),  g = ∇ log p_t / (1 − p_t)  (ρ = `rise`, λ = `decay`, B = `blur`).

    Inputs: `shape` of one input, `[n, ...]` in the model's range without n; `classes` to make images for, all when None; `restarts`
    images of each; `start` the image x̄, of `shape`, that they depart from and decay toward: the data's mean image, or the middle of the
    range when None; `noise` the standard deviation, as a share of the range, that sets restarts apart; `blur` the share of each step's
    image that is blurred (images `[c, h, w]` only). A row ends at `confidence`. The result is ordered by restart, then class; an image
    depends on (model, class, restart, seed) alone.

    Raises ConfigError for numbers that make no sense, InputError for a start outside the range, ModelError for a model without
    gradient or in training mode.
    Source: Nguyen, Yosinski & Clune 2015, section 3.10 and their code; L2 decay as in Simonyan et al. 2014, eq. 1; blur as in Yosinski
    et al. 2015, section 3.
    Differs from the paper: log-odds are climbed, which have a slope where the probability is flat at 0 or 1; a step aims at a fixed
    rise of them, where the authors' code aims at 3 % of probability; the most confident image counts, not the last.

    >>> from holdfast import Classifier
    >>> model = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval(), classes=3, bounds=(-50, 50))
    >>> made = fooling_ascent(model, (1, 2, 2), confidence=0.99)
    >>> made.images.shape, bool(made.success.all())
    (torch.Size([3, 1, 2, 2]), True)
    """
    admitted(model, "fooling_ascent", Access.GRADIENT, steps, confidence)
    for name, value, good in (("rise", rise, rise > 0), ("decay", decay, 0 <= decay < 1), ("blur", blur, 0 <= blur <= 1)):
        if not good:
            raise ConfigError(f"{name}={value}: expected rise > 0, 0 ≤ decay < 1, 0 ≤ blur ≤ 1")
    if restarts < 1 or not noise >= 0:
        raise ConfigError(f"restarts={restarts}, noise={noise}: expected at least one restart and no negative noise")
    if blur and len(shape) != 3:
        raise ConfigError(f"blur={blur} needs images [c, h, w], not inputs of shape {shape}: leave it out")
    asker = Asker(fitted(setting, model).pieces)
    target = wanted(model, asker, shape, classes)
    like = torch.zeros(1, *shape, dtype=model.dtype)
    if start is None:
        start = middle_of(model.bounds, like)[0]
    if tuple(start.shape) != tuple(shape) or not bool(model.bounds.contain(start.unsqueeze(0)).all()):
        raise InputError(f"start of shape {list(start.shape)}: expected one image of shape {list(shape)} in the range {model.bounds}")
    ids = (torch.arange(restarts) << 32).unsqueeze(1) + target
    target = target.expand(restarts, -1).flatten()
    n = len(target)
    samples = Samples.of(start.to(model.dtype).expand(n, *shape), target, ids.flatten(), target)
    bar = math.log(confidence / (1 - confidence)) + _HAIR
    attack = Attack(Odds(), Linf(math.inf), Climb(bar, rise, decay, blur, noise), Stop(steps), keep="strongest")
    # The start itself is no result, so nobody asks what it is: NaN meets no goal.
    outcome = run(attack, model, samples, setting, clean=Out(torch.full((n, model.classes), torch.nan)))
    asker.forwards += int(outcome.forwards.sum()) + outcome.wasted_forwards
    asker.backwards += int(outcome.backwards.sum()) + outcome.wasted_backwards
    images, place = outcome.adversarial.to(model.device), target.to(model.device)
    return judged(model, asker, images, place, outcome.found.step, outcome.forwards, confidence, setting.seed)
