"""Adversarial training: the cross-entropy where an attack on the net of the moment has led."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holdfast import attacks
from holdfast.attacks.short import bounded
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_within
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.parts.goals import Targeted
from holdfast.parts.rules import Ascend
from holdfast.parts.starts import Either
from holdfast.parts.threats import Linf
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Searched, objective, taught


@dataclass(frozen=True)
class Adversarial(Searched):
    smoothing: float = 0.0
    clean: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.clean <= 1 and 0 <= self.smoothing < 1):
            raise ConfigError(f"clean={self.clean}, smoothing={self.smoothing}: expected shares, from 0 to 1 and from 0 to below 1")

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        hard = taught(model, found, lesson.y, self.smoothing)
        return hard if not self.clean else (1 - self.clean) * hard + self.clean * taught(model, lesson.x, lesson.y, self.smoothing)


@objective("Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv:1706.06083")
def pgd(
    threat: Threat | float,
    steps: int = 7,
    step: float | None = None,
    smoothing: float = 0.0,
    clean: float = 0.0,
    targeted: bool = False,
    still: float = 0.0,
) -> Adversarial:
    """PGD adversarial training: the loss where projected gradient ascent leads from a random point of the ball.

    min_θ E max_{x' ∈ B(x)} J(f_θ(x'), y),  the maximum by `steps` of PGD at α = `step` (by default 2.5 ε / `steps`).

    Inputs `[n, ...]` in the model's range; `clean`: the share of the loss that the inputs as they are have; labels smoothed by `smoothing`;
    `targeted`: the ascent is toward a wrong class drawn at random, as for many classes; `still`: the share of rows whose ascent starts at
    the input as it is.

    Raises ConfigError for a radius or step that is not positive and finite, and a share outside [0, 1].
    Source: Madry et al. 2018, equation 2.1; `targeted` and `still` Xie et al. 2019, arXiv:1812.03411, section 5.
    Differs from the papers: the attack sees the net in eval mode; a row starts still, not a batch; the papers name steps of their own
    (Xie et al. 1/255 at ε = 16/255).

    >>> pgd(8 / 255).attack.stop.steps
    7
    """
    return Adversarial(_stilled(ascent(threat, steps, step, targeted), still), smoothing, clean)


def ascent(threat: Threat | float, steps: int, step: float | None, targeted: bool = False) -> Attack:
    """PGD that takes all its steps, `targeted` toward a wrong class drawn at random."""
    attack = attacks.pgd(threat, steps, step, early=False, targeted=targeted)
    return replace(attack, goal=Targeted(choose="random")) if targeted else attack


def _stilled(attack: Attack, still: float) -> Attack:
    """The same, so large a share of its rows starting at the input as it is."""
    if not 0 <= still <= 1:
        raise ConfigError(f"still={still}: expected the share of rows that start at the clean input, from 0 to 1")
    assert isinstance(attack.rule, Ascend)
    return replace(attack, rule=replace(attack.rule, start=Either(still))) if still else attack


@objective("Wong, Rice & Kolter 2020, arXiv:2001.03994")
def fgsm(threat: Threat | float, step: float | None = None, smoothing: float = 0.0, clean: float = 0.0, still: float = 0.0) -> Adversarial:
    """FGSM adversarial training from random starts ("fast"): the loss after one step from a random point of the ball.

    (1 − c) J(f(x'), y) + c J(f(x), y),  x' = Π( x + η + α d(∇ J(x + η)) ),  η uniform in the ball,  α = `step`, by default 1.25 ε,
    c = `clean`.

    Inputs `[n, ...]` in the model's range; labels smoothed by `smoothing`; `still`: the share of rows whose step is from the input as it
    is. `fgsm(clean=0.5, still=1)` is the form of 2015. Robust accuracy under PGD may collapse within an epoch (catastrophic
    overfitting): watch the alarm.

    Raises ConfigError for a radius or step that is not positive and finite, and a share outside [0, 1].
    Source: Wong et al. 2020, and their code, locuslab/fast_adversarial; `clean` and `still` Goodfellow et al. 2015, section 6.
    Differs from their code: the attack sees the net in eval mode.

    >>> fgsm(8 / 255).attack.stop.steps
    1
    """
    ball = bounded(threat, "fgsm")
    attack = attacks.pgd(ball, 1, 1.25 * ball.radius if step is None else step, early=False)
    return Adversarial(_stilled(attack, still), smoothing, clean)


@dataclass(frozen=True)
class Noisy(Adversarial):
    noise: float = 2.0
    step: float = 1.0

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        x, radius = lesson.x, self.attack.threat.radius
        start = x + self.noise * radius * (2 * lesson.draw.uniform("nfgsm", tuple(x.shape[1:]), x.dtype) - 1)
        with torch.enable_grad():
            start = start.requires_grad_()
            (g,) = torch.autograd.grad(taught(model, start, lesson.y), start)
        return model.bounds.clamp(start + self.step * radius * g.sign())


@objective("de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez & Dokania 2022, arXiv:2202.01181")
def nfgsm(threat: Threat | float, noise: float = 2.0, step: float = 1.0, smoothing: float = 0.0) -> Noisy:
    """N-FGSM adversarial training: one step of FGSM from more noise than the ball holds, and no projection.

    x' = x + η + α ε sign(∇ J(x + η)),  η uniform in [−k ε, k ε],  k = `noise`, α = `step`.

    Inputs `[n, ...]` in the model's range; L∞ only; labels smoothed by `smoothing`.

    Raises ConfigError for another norm, a radius that is not positive and finite, a negative k or α, and a share outside [0, 1).
    Source: de Jorge et al. 2022, and their code, pdejorge/N-FGSM, whose k and α are the same.
    Differs from the paper: x' is clipped to the valid range, as in their code, which clips x + η as well; the attack sees the net in eval
    mode.

    >>> nfgsm(8 / 255).noise
    2.0
    """
    ball = bounded(threat, "nfgsm")
    if not isinstance(ball, Linf):
        raise ConfigError(f"nfgsm({ball!r}): it is an L∞ method; choose linf:RADIUS, or pgd")
    expect_within("nfgsm", 0, noise=noise, step=step)
    return Noisy(attacks.fgsm(ball), smoothing, 0.0, noise, step)
