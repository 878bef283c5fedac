"""TRADES: accuracy on the inputs as they are, and answers that stay the same around them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holdfast.attacks.short import bounded
from holdfast.core.attack import Attack, Stop
from holdfast.core.expect import expect_within
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.parts.goals import goal
from holdfast.parts.objectives import ClassObjective, Divergence, divergence
from holdfast.parts.rules import Ascend
from holdfast.parts.schedules import Constant
from holdfast.parts.starts import Jitter
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy, found_by, objective


@dataclass(frozen=True)
class Trades(Objective):
    attack: Attack
    beta: float

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        return found_by(self.attack, model, lesson)

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        clean, near = model(lesson.x).logits, model(found).logits
        return entropy(clean, lesson.y) + self.beta * divergence(clean, near).mean()


@objective("Zhang, Yu, Jiao, Xing, El Ghaoui & Jordan 2019, arXiv:1901.08573")
def trades(threat: Threat | float, beta: float = 6.0, steps: int = 10, step: float | None = None) -> Trades:
    """TRADES: the natural loss, and β times how far the answer may be led away within the ball.

    min_θ E[ CE(f(x), y) + β max_{x' ∈ B(x)} KL(f(x) ‖ f(x')) ],  the maximum by `steps` of projected ascent on KL from x + 0.001 n.

    Inputs `[n, ...]` in the model's range; `beta` is the paper's 1/λ; `step` by default 2.5 ε / `steps`. Rows without a label count in
    the second term alone.

    Raises ConfigError for a radius or step that is not positive and finite, or a negative β.
    Source: Zhang et al. 2019, and their code, yaodongyu/TRADES, whose β for CIFAR-10 is 6.
    Differs from the paper's code: its `step` at ε = 0.031 is 0.007, a little less. As there, the attack sees the net in eval mode, and
    both answers carry gradients.

    >>> trades(8 / 255).beta
    6.0
    """
    expect_within("trades", 0, beta=beta)
    return Trades(near(threat, steps, step, "trades"), beta)


def near(threat: Threat | float, steps: int, step: float | None, name: str, climbs: ClassObjective | None = None) -> Attack:
    """The ascent from a hair beside the input: on the divergence from the clean answer, or another objective."""
    ball = bounded(threat, name)
    share = (2.5 * ball.radius / max(steps, 1) if step is None else step) / ball.radius
    return Attack(goal(False), ball, Ascend(climbs or Divergence(), Constant(share), Jitter()), Stop(steps, early=False))
