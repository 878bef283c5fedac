"""`Objective`: what a net is trained to lower, as a function of the model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.attack import Attack
from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.expect import typed
from holdfast.core.types import Out
from holdfast.engine.perturb import perturb
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson, calm
from holdfast.training.search import Search, searched


@dataclass(frozen=True)
class Objective(ABC):
    """objective(model, lesson) → scalar, whose gradient in the weights is descended.

    It has two halves, so that what is found by a search is held fixed while the loss is differentiated: `look` finds the inputs to learn
    from (the adversarial examples), `loss` is the scalar. `model` is asked in the mode its net is in; `look` sees the net in eval mode.
    """

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        """The inputs found by a search, detached: `[n, ...]`; the lesson's own where there is none."""
        return lesson.x

    @abstractmethod
    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        """The scalar to be lowered, `found` held fixed."""

    @property
    def chain(self) -> tuple[Objective, ...]:
        """This objective, and those that it wraps, from the outside in."""
        return (self,)

    def __call__(self, model: Classifier, lesson: Lesson, search: Search = "own") -> Tensor:
        assert isinstance(model.net, nn.Module)
        with calm(model.net):
            found = self.look(searched(model, search), lesson).detach()
        # Weights that were cast where no gradient was asked for have none.
        torch.clear_autocast_cache()
        return self.loss(model, lesson, found)


@dataclass(frozen=True)
class Wrapping(Objective):
    """An objective around another, whose inputs it learns from."""

    inner: Objective

    @property
    def chain(self) -> tuple[Objective, ...]:
        return (self, *self.inner.chain)

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        return self.inner.look(model, lesson)


@dataclass(frozen=True)
class Searched(Objective):
    """An objective whose inputs are found by an attack against the label, with all its steps."""

    attack: Attack

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        lesson.expect_labels(self.attack.name)
        return found_by(self.attack, model, lesson, unseen(model, lesson))


def found_by(attack: Attack, model: Classifier, lesson: Lesson, clean: Out | None = None) -> Tensor:
    """Where the attack's steps lead from the lesson's inputs, under noise of the lesson's own: `[n, ...]`.

    `clean`: the model's answers to the lesson, asked of it when not given.
    """
    # What climbs from labels has refused rows without one; the rest never looks at them.
    return perturb(attack, model, lesson.x, lesson.y.clamp_min(0), ids=row_key(0, lesson.key, lesson.step), clean=clean)


def unseen(model: Classifier, lesson: Lesson) -> Out:
    """Clean answers for an attack that never looks at them, so that nobody need ask: were it to, it would find no numbers."""
    return Out(lesson.x.new_full((len(lesson), model.classes), torch.nan))


def taught(model: Classifier, x: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy over the rows that have a label, of the model's answers to `x` `[n, ...]`; 0 where none has."""
    return entropy(model(x).logits, y, smoothing)


def entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean of −log softmax(z)_y over the rows that have a label."""
    total = cross_entropy(logits, y, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
    return total / (y != -1).sum().clamp_min(1)


@dataclass(frozen=True)
class Entry:
    """An objective of the catalogue: its maker, its paper."""

    make: Callable[..., Objective]
    paper: str


OBJECTIVES: dict[str, Entry] = {}
"""The training objectives by name."""


def objective(paper: str) -> Callable[[Callable[..., Objective]], Callable[..., Objective]]:
    """Register a maker of objectives under its own name."""

    def register(make: Callable[..., Objective]) -> Callable[..., Objective]:
        name = make.__name__.rstrip("_")
        if name in OBJECTIVES:
            raise ConfigError(f"objective {name!r} is registered twice")
        made = typed(make)
        OBJECTIVES[name] = Entry(made, paper)
        return made

    return register
