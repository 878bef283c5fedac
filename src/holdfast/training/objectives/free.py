"""Free adversarial training: one gradient moves the weights and the perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.short import bounded
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_within
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.parts.threats import Linf
from holdfast.training.lesson import Lesson
from holdfast.training.objective import objective, taught
from holdfast.training.replayed import Memory, Replayed


@dataclass(frozen=True)
class Free(Replayed):
    threat: Linf
    step: float = 1.0
    smoothing: float = 0.0

    def show(self, model: Classifier, lesson: Lesson, memory: Memory) -> Tensor:
        return model.bounds.clamp(lesson.x + self._change(lesson, memory)[: len(lesson)]).detach()

    def remember(self, lesson: Lesson, memory: Memory, g: Tensor) -> Memory:
        radius, before = self.threat.radius, self._change(lesson, memory)
        here = before[: len(lesson)] + self.step * radius * g.nan_to_num(nan=0.0).sign()
        return {"change": torch.cat([here.clamp(-radius, radius), before[len(lesson) :]])}

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return taught(model, found, lesson.y, self.smoothing)

    def _change(self, lesson: Lesson, memory: Memory) -> Tensor:
        """The perturbation of each place in a batch: zeros where none has been yet."""
        kept = memory.get("change", lesson.x[:0])
        return torch.cat([kept, torch.zeros_like(lesson.x[len(kept) :])])


@objective("Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor & Goldstein 2019, arXiv:1904.12843")
def free(threat: Threat | float, repeats: int = 8, step: float = 1.0, smoothing: float = 0.0) -> Free:
    """Free adversarial training: each batch `repeats` times, the one backward pass moving both weights and perturbation.

    θ ← θ − τ ∇_θ J(x + δ, y),  δ ← clip(δ + α ε sign(∇_x J(x + δ, y)), −ε, ε),  α = `step`, from one batch to the next.

    Inputs `[n, ...]` in the model's range; L∞ only; labels smoothed by `smoothing`; a row without a label leaves its δ. The memory is
    {`change`: `[batch, ...]`}, one δ for each place in a batch. Take 1 / `repeats` of the epochs, and a batch's augmentation once for all.

    Raises ConfigError for another norm, a radius that is not positive and finite, a negative α, a smoothing outside [0, 1), or fewer than
    one repeat.
    Source: Shafahi et al. 2019, and their code, ashafahi/free_adv_train (8 repeats) and mahyarnajibi/FreeAdversarialTraining (4).
    Differs from their code: the gradient is taken at the clipped input, so values beyond the valid range have one, too.

    >>> free(8 / 255, repeats=4).repeats
    4
    """
    ball = bounded(threat, "free")
    if not isinstance(ball, Linf):
        raise ConfigError(f"free({ball!r}): it is an L∞ method; choose linf:RADIUS, or pgd")
    if repeats < 1:
        raise ConfigError(f"free(repeats={repeats}): expected how often each batch is shown, at least once")
    expect_within("free", 0, step=step)
    expect_within("free", 0, 1, smoothing=smoothing)
    return Free(repeats, ball, step, smoothing)
