"""Adversarial vertex mixup: between an input and a point beyond its adversarial example, labels softened on the way."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import one_hot

from holdfast import attacks
from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Searched, objective


@dataclass(frozen=True)
class VertexMixup(Searched):
    gamma: float
    near: float
    far: float

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        x = lesson.x
        vertex = model.bounds.clamp(x + self.gamma * (found - x))
        share = lesson.draw.uniform("vertex", (1,), x.dtype).squeeze(1)
        logits = model(per_row(share, x) * x + per_row(1 - share, x) * vertex).logits
        label = one_hot(lesson.y, logits.shape[1]).to(logits)
        kept = (share * self.near + (1 - share) * self.far).unsqueeze(1)
        soft = kept * label + (1 - kept) / (logits.shape[1] - 1) * (1 - label)
        return -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()


@objective("Lee, Lee & Yoon 2020, arXiv:2003.02484")
def avmixup(
    threat: Threat | float, gamma: float = 2.0, near: float = 1.0, far: float = 0.1, steps: int = 10, step: float | None = None
) -> VertexMixup:
    """Adversarial vertex mixup: a random point between the input and its adversarial vertex, with labels interpolated alike.

    x_v = x + γ (x' − x),  x̂ = a x + (1 − a) x_v,  ŷ = a φ(y, λ₁) + (1 − a) φ(y, λ₂),  a uniform in (0, 1) for each row,
    φ(y, λ) = λ y + (1 − λ) (1 − y) / (k − 1) over k classes;  the loss is −Σ_j ŷ_j log softmax(f(x̂))_j.

    x' by `steps` of PGD; λ₁ = `near`, λ₂ = `far`: the label's share at either end. Inputs `[n, ...]` in the model's range, all labelled.

    Raises ConfigError for a radius or step that is not positive and finite, a γ that is not positive, or shares outside [0, 1].
    Source: Lee et al. 2020, "Adversarial vertex mixup", and their code, Saehyung-Lee/cifar10_challenge, whose constants for CIFAR-10
    are the defaults.
    Differs from their code: the attack sees the net in eval mode. As there, the vertex is clipped to the valid range.

    >>> avmixup(8 / 255).gamma
    2.0
    """
    if not gamma > 0 or not 0 <= min(near, far) <= max(near, far) <= 1:
        raise ConfigError(f"avmixup(gamma={gamma:g}, near={near:g}, far={far:g}): expected γ above 0, and labels' shares from 0 to 1")
    return VertexMixup(attacks.pgd(threat, steps, step, early=False), gamma, near, far)
