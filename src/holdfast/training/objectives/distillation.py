"""Defensive distillation: a net that learns another's answers at a high temperature."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy, objective


@dataclass(frozen=True)
class Distilled(Objective):
    """`mark` is the teacher's fingerprint: it is told apart by it, not by where it lies in memory."""

    temperature: float
    mark: str = ""
    teacher: Classifier | None = field(default=None, repr=False, compare=False)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        logits = model(found).logits / self.temperature
        if self.teacher is None:
            return entropy(logits, lesson.y)
        with torch.no_grad():
            soft = (self.teacher(found.to(self.teacher.device, self.teacher.dtype)).logits.to(logits) / self.temperature).softmax(dim=1)
        if soft.shape != logits.shape:
            raise ConfigError(f"the teacher answers {soft.shape[1]} classes, the net {logits.shape[1]}: distil between nets of the same")
        return -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()


@objective("Papernot, McDaniel, Wu, Jha & Swami 2016, arXiv:1511.04508")
def distillation(temperature: float = 20.0, teacher: Classifier | None = None) -> Distilled:
    """Defensive distillation: the teacher's probabilities at temperature T are the labels, and the net learns them at T.

    −(1/n) Σ_i Σ_j p_j log q_j,  p = softmax(teacher(x) / T),  q = softmax(f(x) / T).

    Without a `teacher` the labels are the samples' own: train the teacher so, at the same T, then the net by it. Deployed, the net
    answers at T = 1, its logits as they are. Inputs `[n, ...]` in the model's range; with a teacher no label is asked for.

    Raises ConfigError for a temperature that is not positive, or a teacher of other classes; ModelError for one in training mode.
    Source: Papernot et al. 2016, "Distillation as a defense to adversarial perturbations against deep neural networks".
    Differs from the paper: nothing known. Carlini & Wagner 2017 broke it: at T = 1 the probabilities saturate, and attacks on logits win.

    >>> distillation(40.0).temperature
    40.0
    """
    if not temperature > 0:
        raise ConfigError(f"distillation(temperature={temperature:g}): expected a positive number, as 20; 1 divides by nothing")
    if teacher is not None:
        teacher.check_mode()
    return Distilled(temperature, "" if teacher is None else teacher.fingerprint(), teacher)
