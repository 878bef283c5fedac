"""A radius that grows: any objective, whose inputs are first found near and then ever farther."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, Wrapping, objective
from holdfast.training.replayed import looked_for


@dataclass(frozen=True)
class Ramped(Wrapping):
    steps: int

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        found, x = self.inner.look(model, lesson), lesson.x
        share = ((lesson.step + 1) / self.steps).clamp_max(1).to(x.dtype)
        return x + per_row(share, x) * (found - x)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return self.inner.loss(model, lesson, found)


@objective("Gowal, Dvijotham, Stanforth, Bunel, Qin, Uesato, Arandjelovic, Mann & Kohli 2018, arXiv:1810.12715")
def ramp(objective: Objective, steps: int = 2000) -> Ramped:
    """A growing radius: any objective, its perturbations scaled from 0 to their whole length over the first `steps` of the run.

    x'_t = x + min(1, t / T) (x' − x),  x' what `objective` finds at its own radius, T = `steps`, t counted from 1.

    Inputs `[n, ...]` as `objective` takes them. For large radii (MNIST at 0.3), at which a net with random weights learns nothing for
    a long time, or ever.

    Raises ConfigError for fewer than one step, or an objective that cannot be wrapped.
    Source: Gowal et al. 2018, the schedule of ε, and their code, google-deepmind/interval-bound-propagation.
    Differs from their code: there the bound is taken at the smaller radius; here what was found at the whole radius is brought nearer.
    There the radius stays 0 for 2,000 steps by default and grows over 10,000; here it grows from the first.

    >>> from holdfast.training.objectives import pgd
    >>> ramp(pgd(0.3), 500).inner.attack.threat.radius
    0.3
    """
    if steps < 1:
        raise ConfigError(f"ramp(steps={steps}): expected over how many steps the radius grows, at least 1; without it leave ramp out")
    return Ramped(looked_for(objective, "ramp"), steps)
