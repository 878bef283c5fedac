"""Objectives: what a rule climbs, one value per row, always maximised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy

from holdfast.core.errors import ConfigError
from holdfast.core.types import Batch, Logits, Out, PerRow
from holdfast.parts.goals import at, best_other


@dataclass(frozen=True)
class ClassObjective(ABC):
    """An objective over logits; `targeted` climbs toward `batch.target` instead of away from `batch.y`."""

    targeted: bool = False
    least_classes: ClassVar[int] = 2

    @abstractmethod
    def __call__(self, out: Out, batch: Batch) -> PerRow: ...

    def fitted(self, classes: int) -> ClassObjective:
        """Itself, or the plain margin where the model has too few classes for it."""
        return self if classes >= self.least_classes else Margin(self.targeted)


@dataclass(frozen=True)
class CrossEntropy(ClassObjective):
    """−log softmax(z)_y, or log softmax(z)_t when targeted."""

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        if self.targeted:
            return -cross_entropy(out.logits, batch.target, reduction="none")
        return cross_entropy(out.logits, batch.y, reduction="none")


@dataclass(frozen=True)
class Margin(ClassObjective):
    """max_{j≠y} z_j − z_y; when targeted z_t − z_y, or z_t − max_{j≠t} z_j where the target is all that counts (`strict`)."""

    strict: bool = False

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        if not self.targeted:
            return best_other(out.logits, batch.y) - at(out.logits, batch.y)
        rival = best_other(out.logits, batch.target) if self.strict else at(out.logits, batch.y)
        return at(out.logits, batch.target) - rival


@dataclass(frozen=True)
class Dlr(ClassObjective):
    """The difference of logits ratio (Croce & Hein 2020, eq. 6): −(z_y − max_{j≠y} z_j) / (z_π1 − z_π3).

    π orders the logits from largest to smallest. Needs three classes; with two it is the margin.
    """

    least_classes: ClassVar[int] = 3

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        top = out.logits.topk(3, dim=1).values
        scale = top[:, 0] - top[:, 2] + 1e-12
        return (best_other(out.logits, batch.y) - at(out.logits, batch.y)) / scale


@dataclass(frozen=True)
class TargetedDlr(ClassObjective):
    """The targeted DLR (Croce & Hein 2020, eq. 7): −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2).

    Needs four classes; with fewer it is z_t − z_y.
    """

    targeted: bool = True
    least_classes: ClassVar[int] = 4

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        top = out.logits.topk(4, dim=1).values
        scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
        return (at(out.logits, batch.target) - at(out.logits, batch.y)) / scale


@dataclass(frozen=True)
class ProbabilityMargin(ClassObjective):
    """max_{j≠y} q_j − q_y with q = softmax(z) (Xie et al. 2024, PMA); when targeted q_t − q_y."""

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        return Margin(self.targeted)(Out(out.logits.softmax(dim=1)), batch)


@dataclass(frozen=True)
class Divergence(ClassObjective):
    """KL(q(x) ‖ q(x')) = Σ_j q_j(x) (log q_j(x) − log q_j(x')), q = softmax(z): how far the answer has moved, whatever the label.

    Source: Zhang et al. 2019 (TRADES), equation 3; Miyato et al. 2015, equation 1.
    """

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        return divergence(batch.clean.logits, out.logits)


def divergence(clean: Logits, other: Logits) -> PerRow:
    """KL(softmax(clean) ‖ softmax(other)) of each row."""
    before, after = clean.log_softmax(dim=1), other.log_softmax(dim=1)
    return (before.exp() * (before - after)).sum(dim=1)


@dataclass(frozen=True)
class Alternating(ClassObjective):
    """The siblings of a sample take turns over several objectives, in order."""

    members: tuple[ClassObjective, ...] = ()

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        values = torch.stack([member(out, batch) for member in self.members], dim=1)
        return values.gather(1, (batch.group % len(self.members)).unsqueeze(1)).squeeze(1)

    def fitted(self, classes: int) -> Alternating:
        return replace(self, members=tuple(member.fitted(classes) for member in self.members))


@dataclass(frozen=True)
class Hinge(ClassObjective):
    """min(margin, κ): climbs until the goal holds by `confidence` κ, then is flat (Carlini & Wagner 2017, f6, negated)."""

    confidence: float = 0.0

    def __call__(self, out: Out, batch: Batch) -> PerRow:
        return torch.clamp(Margin(self.targeted, strict=True)(out, batch), max=self.confidence)


OBJECTIVES: dict[str, type[ClassObjective]] = {
    "ce": CrossEntropy,
    "margin": Margin,
    "dlr": Dlr,
    "targeted_dlr": TargetedDlr,
    "probability": ProbabilityMargin,
}


def objective(name: str, targeted: bool = False) -> ClassObjective:
    """The objective of that name; the targeted form of `dlr` is `targeted_dlr`.

    Raises ConfigError for an unknown name.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective {name!r} is unknown: choose one of {', '.join(OBJECTIVES)}")
    if name == "targeted_dlr" and not targeted:
        raise ConfigError("objective 'targeted_dlr' climbs toward a target: give targeted=True, or choose 'dlr'")
    if targeted and name in ("dlr", "targeted_dlr"):
        return TargetedDlr()
    if name == "margin":
        return Margin(targeted, strict=True)
    return OBJECTIVES[name](targeted)
