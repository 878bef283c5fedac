"""The smallest change that fools a linear model, in closed form; and what happens when a class's weights are mixed into an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError, InputError
from holdfast.core.expect import typed
from holdfast.core.rows import Rows, per_row
from holdfast.core.types import Threat
from holdfast.exact.linear_model import LinearModel, linear_model
from holdfast.parts.threats import L1, L2, Linf

# How often a point that rounding keeps on the wrong side of the boundary is moved a little farther.
_TRIES = 6


@dataclass(frozen=True)
class Exact(Rows):
    """What is known of each input; every tensor is on the host with the input as axis 0.

    `distance` `[n]` the exact distance to the nearest other class, float64: 0 for what is wrong already, infinite where no valid input is
    of another class; `rival` `[n]` that class (−1 where there is none); `perturbation` `[n, ...]` the smallest change, which ends on the
    boundary; `adversarial` `[n, ...]` a hair beyond it, in the model's precision; `success` `[n]` whether the model itself was fooled by
    that, within the threat's radius; `size` `[n]` how far it really is; `forwards` `[n]` what verification asked.
    """

    distance: Tensor
    rival: Tensor
    perturbation: Tensor
    adversarial: Tensor
    success: Tensor
    size: Tensor
    forwards: Tensor

    def robust_accuracy(self, radius: float) -> float:
        """The share of inputs that are right and that no change of size `radius` or less can bring to a boundary: exact, both ways."""
        return float((self.distance > radius).double().mean())


@typed
def linear_exact(model: Any, x: Tensor, y: Tensor, threat: Threat = L2(math.inf), bounds: tuple[float, float] | None = None) -> Exact:
    """The smallest change of each input that a linear model takes for another class: logistic, softmax, ridge, a linear SVM.

    min_k ‖d_k‖_p,  d_k = the smallest d with ⟨w_k − w_y, d⟩ = s_y − s_k and x + d valid;
    without a range ‖d_k‖_p = (s_y − s_k) / ‖w_k − w_y‖_q.

    Inputs `x` `[n, ...]` in the model's range (uint8 as everywhere), `y` `[n]` their classes, numbered as the scores are (for scikit-learn
    the places in `classes_`); `model`: a `Classifier` around linear layers, such layers, or a linear estimator of scikit-learn; `threat`:
    L2, L∞ or L1 and the largest change that counts (∞: any); `bounds`: (low, high) of inputs where the model is no `Classifier`.

    Raises ConfigError for another norm, InputError for inputs outside the range, ModelError for a model that is not linear.
    Source: the dual norm, as in Moosavi-Dezfooli et al. 2016, eq. 3–10; inside a box Croce & Hein 2020 (FAB), section 3.1.
    Differs from the sources: exact with the valid range too, for every rival; a hair is added until the model itself is fooled.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(net.weight, 1.0)
    >>> linear_exact(net, torch.tensor([[-1.0, -1.0]]), torch.tensor([0]), Linf(1.5)).distance.tolist()
    [1.0]
    """
    if not isinstance(threat, L1 | L2 | Linf):
        raise ConfigError(f"linear_exact knows L2, L∞ and L1, not {threat!r}")
    if x.ndim < 2 or not len(x) or y.shape != (len(x),):
        raise InputError(f"inputs of shape {list(x.shape)} with labels {list(y.shape)}: expected [n, ...] and [n], at least one")
    linear = linear_model(model, tuple(x.shape[1:]), bounds)
    x, y = linear.bounds.intake(x.detach(), torch.float64, torch.device("cpu")), y.cpu().long()
    if not bool(linear.bounds.contain(x).all()):
        raise InputError(f"x holds values outside the range {linear.bounds.low} to {linear.bounds.high}: rescale, or give other bounds")
    if int(y.min()) < 0 or int(y.max()) >= linear.classes:
        raise InputError(f"labels from {int(y.min())} to {int(y.max())}: expected 0..{linear.classes - 1}")
    inside = threat.within(linear.bounds)
    right = linear.answer(x) == y
    distance, rival, perturbation = _nearest(linear, inside, x, y)
    distance, rival = torch.where(right, distance, 0.0), torch.where(right, rival, -1)
    perturbation = torch.where(per_row(right, x), perturbation, 0.0)
    adversarial, fooled, forwards = x.to(linear.dtype), ~right, torch.ones_like(y)
    for attempt in range(_TRIES):
        left = (~fooled & (rival >= 0)).nonzero().squeeze(1)
        if not len(left):
            break
        beyond = _beyond(linear, inside, x[left], y[left], rival[left], torch.finfo(linear.dtype).eps * 4 * 8**attempt)
        point = linear.bounds.clamp((x[left] + beyond).to(linear.dtype))
        adversarial = adversarial.index_copy(0, left, point)
        fooled = fooled.index_copy(0, left, linear.answer(point) != y[left])
        forwards = forwards.index_add(0, left, torch.ones_like(left))
    size = inside.size(x, adversarial.double() - x)
    success = fooled & (size <= threat.radius * (1 + 1e-5) + 1e-6)
    adversarial = torch.where(per_row(success, adversarial), adversarial, x.to(linear.dtype))
    return Exact(distance, rival, perturbation, adversarial, success, size, forwards)


def _nearest(linear: LinearModel, threat: L1 | L2 | Linf, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance `[n]`, class `[n]` and change `[n, ...]` of the nearest boundary of all."""
    scores = linear.scores(x)
    distance, rival, change = x.new_full((len(x),), torch.inf), torch.full_like(y, -1), torch.zeros_like(x)
    for other in range(linear.classes):
        w = linear.weight[other] - linear.weight[y]
        gap = (scores.gather(1, y.unsqueeze(1)).squeeze(1) - scores[:, other]).clamp_min(0)
        d = threat.reach(x, torch.zeros_like(x), gap, w)
        # Where the whole valid range lies on this side, the nearest corner falls short.
        gained = (w * d).flatten(1).sum(dim=1)
        short = gap - gained > 1e-9 * (gap + (w * x).abs().flatten(1).sum(dim=1))
        far = torch.where(short | (y == other), torch.inf, threat.size(x, d))
        better = far < distance
        distance, rival = torch.where(better, far, distance), rival.masked_fill(better, other)
        change = torch.where(per_row(better, x), d, change)
    return distance, rival, change


def _beyond(linear: LinearModel, threat: L1 | L2 | Linf, x: Tensor, y: Tensor, rival: Tensor, share: float) -> Tensor:
    """The smallest change that crosses the boundary by `share` of what the scores are summed from, which is what rounding blurs."""
    w = linear.weight[rival] - linear.weight[y]
    scores = linear.scores(x)
    gap = scores.gather(1, y.unsqueeze(1)) - scores.gather(1, rival.unsqueeze(1))
    summed = ((linear.weight[rival].abs() + linear.weight[y].abs()) * x.abs()).flatten(1).sum(dim=1)
    blur = summed + linear.bias[rival].abs() + linear.bias[y].abs() + gap.squeeze(1).abs()
    return threat.reach(x, torch.zeros_like(x), gap.squeeze(1).clamp_min(0) + share * blur, w)


@typed
def mix_weights(model: Any, x: Tensor, target: Tensor, amount: float, bounds: tuple[float, float] | None = None) -> Tensor:
    """`x` with a little of the weights of class `target` mixed in: an image of another class that looks the same.

    x' = clip( x + amount · w_t / max|w_t| ),  `x` and x' `[n, ...]` in the model's range, `target` `[n]`, `amount` in the units of x.

    Raises ModelError for a model that is not linear, InputError for classes that it has not.
    Source: Karpathy 2015, "Breaking linear classifiers on ImageNet".

    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    >>> mix_weights(net, torch.zeros(1, 2), torch.tensor([1]), 0.5).tolist()
    [[0.0, -0.5]]
    """
    linear = linear_model(model, tuple(x.shape[1:]), bounds)
    if target.shape != (len(x),) or bool(((target < 0) | (target >= linear.classes)).any()):
        raise InputError(f"targets {target.tolist()[:5]}…: expected one of 0..{linear.classes - 1} for each input")
    w = linear.weight[target.cpu()]
    w = w / per_row(w.abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(torch.float64).tiny), w)
    return linear.bounds.clamp(x.cpu().double() + amount * w).to(device=x.device, dtype=x.dtype)
