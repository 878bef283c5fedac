"""`Replayed`: an objective that is shown each batch several times, and carries what it found from one step to the next."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective

Memory = dict[str, Tensor]
"""What is carried from step to step, by name: empty before the first; whoever trains keeps it, in the checkpoint too."""


@dataclass(frozen=True)
class Replayed(Objective):
    """Each batch is shown `repeats` times in a row, one step of the weights each time; the gradient at what was shown moves the memory."""

    repeats: int

    @abstractmethod
    def show(self, model: Classifier, lesson: Lesson, memory: Memory) -> Tensor:
        """The inputs to learn from, detached: `[n, ...]`."""

    @abstractmethod
    def remember(self, lesson: Lesson, memory: Memory, g: Tensor) -> Memory:
        """The memory after a step, `g` `[n, ...]` being the loss's gradient at what was shown (any positive multiple of it)."""

    def again(self, model: Classifier, lesson: Lesson, memory: Memory) -> Tensor:
        """The scalar to be lowered; its `backward()` (not a gradient in the weights alone) updates `memory` in place."""
        found = self.show(model, lesson, memory).requires_grad_()
        found.register_hook(lambda g: memory.update(self.remember(lesson, memory, g)))
        return self.loss(model, lesson, found)

    def look(self, model: Classifier, lesson: Lesson) -> NoReturn:
        raise ConfigError(f"{type(self).__name__} carries what it finds from step to step: ask again(model, lesson, memory) in its place")


def looked_for(objective: Objective, name: str) -> Objective:
    """The objective, where `name` can wrap it: it looks for its inputs afresh at each step.

    Raises ConfigError otherwise.
    """
    if isinstance(objective, Replayed):
        raise ConfigError(f"{name} cannot wrap {type(objective).__name__}, which carries what it finds from step to step: wrap pgd, say")
    return objective
