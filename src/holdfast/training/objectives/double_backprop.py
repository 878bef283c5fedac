"""Double backpropagation: the slope of the loss in the input is kept small."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holdfast.core.expect import expect_within
from holdfast.models import Classifier
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, objective, taught
from holdfast.training.slopes import labelled, slope


@dataclass(frozen=True)
class DoubleBackprop(Objective):
    weight: float

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        _, g = slope(model, found, lesson.y, twice=True)
        return taught(model, found, lesson.y) + self.weight * labelled(g.square().flatten(1).sum(dim=1), lesson.y)


@objective("Drucker & LeCun 1992; Ross & Doshi-Velez 2018, arXiv:1711.09404")
def double_backprop(weight: float = 1.0) -> DoubleBackprop:
    """Double backpropagation (input gradient regularisation): the loss, and the squared length of its gradient in the input.

    min_θ E[ ℓ(x) + λ ‖∇_x ℓ(x)‖₂² ],  ℓ the cross-entropy, λ = `weight`.

    Inputs `[n, ...]` in the model's range, in whose units the gradient is; rows without a label count in neither term.

    Raises ConfigError for a weight that is negative or not finite.
    Source: Drucker & LeCun 1992, "Improving generalization performance using double backpropagation"; Ross & Doshi-Velez 2018.
    Differs from the code of Ross & Doshi-Velez (dtak/adversarial-robustness-public): it takes half the squared gradient of the
    batch's *mean* loss, which falls with the batch's size; here each row has its own, and batch norm its running statistics in the
    second term.

    >>> double_backprop(0.1).weight
    0.1
    """
    expect_within("double_backprop", 0, weight=weight)
    return DoubleBackprop(weight)
