"""Stability training: answers, or features, that stay the same when the input is disturbed a little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_within
from holdfast.models import Classifier, load_views
from holdfast.parts.objectives import divergence
from holdfast.parts.views import View
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective, entropy, objective
from holdfast.training.objectives.noise import noisy
from holdfast.training.taps import tapped

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": divergence,
    "entropy": lambda before, after: -(before.softmax(dim=1) * after.log_softmax(dim=1)).sum(dim=1),
    "l2": lambda before, after: (before - after).square().sum(dim=1),
}
"""How far two rows of logits `[n, classes]` are apart: `[n]`."""


@dataclass(frozen=True)
class Disturbed(Objective):
    """An objective that looks at the input as `views` show it, or under Gaussian noise of deviation `sigma`."""

    alpha: float
    sigma: float
    views: View | None

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        return noisy(model, lesson, self.sigma) if self.views is None else self.views(lesson.x, lesson.draw, model.bounds)


@dataclass(frozen=True)
class Stability(Disturbed):
    distance: str

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        before, after = model(lesson.x).logits, model(found).logits
        return entropy(before, lesson.y) + self.alpha * DISTANCES[self.distance](before, after).mean()


@objective("Zheng, Song, Leung & Goodfellow 2016, arXiv:1604.04326")
def stability(
    alpha: float = 0.01, sigma: float = 0.05, distance: Literal["kl", "entropy", "l2"] = "kl", views: View | str | None = None
) -> Stability:
    """Stability training of a classifier: the loss of the inputs as they are, and α times how far a disturbance moves the answer.

    CE(f(x), y) + α D(f(x), f(x')),  x' = x + σ n, or the input seen through `views`;  D = KL(p ‖ p') (`kl`), −Σ_j p_j log p'_j (`entropy`)
    with p = softmax(f(x)), or ‖f(x) − f(x')‖₂² of the logits (`l2`).

    Inputs `[n, ...]` in the model's range; `sigma` in its units; `views` a view or its name, as `jpeg((50, 90))`, `cropped((0.8, 1))`,
    `rescaled(0.75)`. Rows without a label count in the second term alone.

    Raises ConfigError for a negative α, a σ that is not positive, or another distance.
    Source: Zheng et al. 2016, "Improving the robustness of deep neural networks via stability training".
    Differs from the paper: D is KL where not said otherwise, the paper's sum is `entropy`; x' is clipped to the valid range; α and σ are
    not tuned by a search; `views` are its distortions themselves.

    >>> stability(views="jpeg((50, 90))").views.quality
    (50, 90)
    """
    if distance not in DISTANCES:
        raise ConfigError(f"stability(distance={distance!r}): expected one of {', '.join(DISTANCES)}")
    return Stability(*_disturbed("stability", alpha, sigma, views), distance)


@dataclass(frozen=True)
class Ranking(Disturbed):
    margin: float
    layer: str
    unit: bool

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        before, after = self._features(model, lesson.x), self._features(model, found)
        y, known = lesson.y, lesson.labelled
        alike, both = y.unsqueeze(1) == y, known.unsqueeze(1) & known
        near, far = alike & both & ~torch.eye(len(y), dtype=torch.bool, device=y.device), ~alike & both
        positive, negative = (before[_one_of(lesson.draw, *named)] for named in (("near", near), ("far", far)))
        hinge = (self.margin + _apart(before, positive) - _apart(before, negative)).clamp_min(0)
        able = near.any(dim=1) & far.any(dim=1)
        ranked = torch.where(able, hinge, 0.0).sum() / able.sum().clamp_min(1)
        return ranked + self.alpha * _apart(before, after).mean()

    def _features(self, model: Classifier, x: Tensor) -> Tensor:
        return features(model, x, self.layer, self.unit)


def features(model: Classifier, x: Tensor, layer: str = "", unit: bool = True) -> Tensor:
    """What the layer of that name answers to `x` `[n, ...]`, the logits without one, as a vector `[n, d]`, where `unit` of length 1."""
    if not layer:
        vectors = model(x).logits
    else:
        with tapped(cast(nn.Module, model.net), (layer,)) as told:
            model(x)
        vectors = told[layer][0].flatten(1)
    return normalize(vectors, dim=1) if unit else vectors


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).norm(dim=1)


def _one_of(draw: Draw, name: str, among: Tensor) -> Tensor:
    """A column for each row of the mask `[n, n]`, drawn from those where it holds: `[n]`."""
    return (draw.uniform(name, (len(among),)) * among).argmax(dim=1)


@objective("Zheng, Song, Leung & Goodfellow 2016, arXiv:1604.04326")
def stability_ranking(
    alpha: float = 0.01,
    margin: float = 0.1,
    layer: str = "",
    sigma: float = 0.05,
    views: View | str | None = None,
    unit: bool = True,
) -> Ranking:
    """Stability training of features by which near-duplicates are found: a triplet hinge, and features that a disturbance moves little.

    max(0, g + ‖f(q) − f(p)‖₂ − ‖f(q) − f(n)‖₂) + α ‖f(x) − f(x')‖₂,  x' = x + σ n, or the input seen through `views`;  g = `margin`.

    f is what the `layer` of that name answers, flattened, or the logits without one; over its length, where it is to be of `unit` length,
    for the hinge rests at g as well where all features have shrunk to one point, such as the 0 of a ReLU. Each row is a query q; p is
    drawn from the rows of its label, n from those of others; a row without a label, or without either, counts in the second term alone.
    Inputs `[n, ...]` in the model's range.

    Raises ConfigError for a negative α or margin, a σ that is not positive, or a layer that there is not.
    Source: Zheng et al. 2016, "Improving the robustness of deep neural networks via stability training".
    Differs from the paper: triplets come from the batch and its labels, not from a ranked data set; features are of unit length where
    not said otherwise.

    >>> stability_ranking(margin=0.2).margin
    0.2
    """
    expect_within("stability_ranking", 0, margin=margin)
    return Ranking(*_disturbed("stability_ranking", alpha, sigma, views), margin, layer, unit)


def _disturbed(name: str, alpha: float, sigma: float, views: View | str | None) -> tuple[float, float, View | None]:
    expect_within(name, 0, alpha=alpha)
    if not sigma > 0:
        raise ConfigError(f"{name}(sigma={sigma:g}): expected a positive deviation, in the units of the input")
    return alpha, sigma, load_views(views) if isinstance(views, str) else views
