"""Virtual adversarial training: answers that stay the same the way they change fastest; no label is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.rows import per_row
from holdfast.models import Classifier
from holdfast.parts.objectives import divergence
from holdfast.parts.threats import L2
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy, objective


@dataclass(frozen=True)
class Vat(Objective):
    radius: float
    xi: float
    steps: int
    weight: float
    entmin: float

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        x = lesson.x
        with torch.no_grad():
            clean = model(x).logits
        way = unit(lesson.draw.normal("vat", tuple(x.shape[1:]), x.dtype))
        for _ in range(self.steps):
            with torch.enable_grad():
                r = (self.xi * way).requires_grad_()
                (g,) = torch.autograd.grad(divergence(clean, model(x + r).logits).sum(dim=0), r)
            way = unit(g)
        return model.bounds.clamp(x + self.radius * way)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        clean = model(lesson.x).logits
        total = entropy(clean, lesson.y) + self.weight * divergence(clean.detach(), model(found).logits).mean(dim=0)
        return total + self.entmin * unsure(clean).mean(dim=0) if self.entmin else total


def unit(g: Tensor) -> Tensor:
    """Each row at length 1 in L2, 0 where it is 0: scaled by its largest value first, for the squares of a sure answer's slope are 0."""
    return L2().steepest(g / per_row(g.abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(g.dtype).tiny), g))


def unsure(logits: Tensor) -> Tensor:
    """The entropy of each row's answer, −Σ p log p: `[n]`."""
    answer = logits.log_softmax(dim=1)
    return -(answer.exp() * answer).sum(dim=1)


@objective("Miyato, Maeda, Koyama & Ishii 2018, arXiv:1704.03976")
def vat(radius: float, xi: float = 0.1, steps: int = 1, weight: float = 1.0, entmin: float = 0.0) -> Vat:
    """Virtual adversarial training: the loss, and how far the answer moves within the L2 ball along the way that moves it most.

    min_θ E[ CE(f(x), y) ] + α E[ KL( p(x) ‖ p(x + r) ) ] + β E[ H(p(x)) ],  r = ε d,  p(x) in KL held fixed;
    d from a random unit vector by `steps` of power iteration:  d ← g / ‖g‖₂,  g = ∇_r KL( p(x) ‖ p(x + r) ) at r = ξ d.

    Inputs `[n, ...]` in the model's range, `radius` ε and `xi` ξ L2 lengths in it; α = `weight`, β = `entmin` (the conditional entropy).
    Rows without a label count in all terms but the first.

    Raises ConfigError for a radius or ξ that is not positive and finite, a weight that is negative, or no steps.
    Source: Miyato et al. 2018; without the entropy Miyato et al. 2015, arXiv:1507.00677. Code: takerum/vat_tf.
    Differs from the code: ξ is 0.1 (there 1e-6, which float32 mostly rounds away); x + r is clipped to the range; the search sees
    the net in eval mode, one batch holds both kinds of rows, and where the net has batch norm its statistics follow x + r too.

    >>> vat(2.0).steps
    1
    """
    if not (0 < radius < math.inf and 0 < xi < math.inf and steps >= 1 and 0 <= weight < math.inf and 0 <= entmin < math.inf):
        raise ConfigError(
            f"vat({radius}, xi={xi}, steps={steps}, weight={weight}, entmin={entmin}): "
            f"radius and xi must be positive and finite, steps at least 1, the weights not negative; try vat(2)"
        )
    return Vat(radius, xi, steps, weight, entmin)
