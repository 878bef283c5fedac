"""Planting: a sample's own binary readout, and the adversarial example that it makes sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.expect import typed
from holdfast.core.rows import Rows
from holdfast.core.types import Batch, Verdict
from holdfast.engine import Asker, Samples
from holdfast.engine.noise import kept_generators, model_noise
from holdfast.engine.setting import Setting, fitted
from holdfast.engine.verify import Verifier
from holdfast.evaluation.features import Features, Seen
from holdfast.evaluation.readout import ReadGoal, Readout, height, two
from holdfast.evaluation.separation import outward, readout
from holdfast.models import Classifier
from holdfast.parts.goals import Untargeted
from holdfast.parts.threats import L0, Additive

# How far inner points stay from ε, as a share of it (the authors' code).
GAP = 0.05
# The numbers of these points, beyond any group's members: an attack must not start on the noise that made a plant.
FIRST = 2**31


@dataclass(frozen=True)
class Plants(Rows):
    """Binary classifiers, one a row, on the host: `sample` its place in the data, `x` the clean input (class 0), `point` a planted
    adversarial example (class 1), `clean` the answer to `x` with the readout; `lucky`: a random point fools it as well."""

    sample: Tensor
    x: Tensor
    point: Tensor
    clean: Readout
    lucky: Tensor


@dataclass(frozen=True)
class Binarised:
    """`plants`, each with its own readout over the features of one `model`; `tried` counts the samples that were looked at for them."""

    model: Features
    threat: Additive
    plants: Plants
    tried: int


@final
@dataclass(frozen=True)
class Planter:
    """Plants one sample at a time; `threat` is already within the model's bounds."""

    model: Features
    threat: Additive
    asker: Asker
    seed: int
    inner: int
    boundary: int
    random: int

    def __call__(self, x: Tensor, place: int) -> Plants | None:
        """The plant of `x` `[1, ...]`, the sample at `place`; None where the points cannot be told apart or the plant does not hold."""
        epsilon = self.threat.radius
        radius = x.new_tensor([0.0] + [(1 - GAP) * epsilon] * self.inner)
        edge, ball = x.new_full((self.boundary + self.random - self.random // 2,), epsilon), x.new_full((self.random // 2,), epsilon)
        nearer = self._seen(x, place, 0, radius, False)
        others = self._seen(x, place, len(radius), edge, True)
        outer, trial = others[: self.boundary], others[self.boundary :]
        fit = readout(nearer, outer)
        if fit is None:
            return None
        weight, bias = fit
        if bool((height(nearer.features, weight, bias) >= 0).any()):
            return None
        clean = Readout(two(height(nearer.features[:1], weight, bias)), nearer.features[:1], weight, bias)
        point = self._holds(x, self._noise(x, place, torch.arange(1) + len(radius), edge[:1], True), clean, place)
        if point is None:
            return None
        drawn = trial.cat(self._seen(x, place, len(radius) + len(edge), ball, False))
        lucky = (height(drawn.features, weight, bias) > 0).any().reshape(1)
        return Plants(torch.tensor([place], device=x.device), x, point, clean, lucky).map(lambda t: t.cpu())

    def _key(self, place: int, number: Tensor) -> Tensor:
        """The keys `[m]` of a sample's points: of their own noise, and of the model's noise when it is asked about them."""
        return row_key(self.seed, torch.full_like(number, place), number + FIRST)

    def _noise(self, x: Tensor, place: int, number: Tensor, radius: Tensor, edge: bool) -> Tensor:
        """Random changes within `radius` `[m]`, or at that very distance; each follows from the seed, the sample and its `number`."""
        key = self._key(place, number).to(x.device)
        here = x.expand(len(number), *x.shape[1:])
        p = self.threat.random(here, Draw(key, torch.zeros_like(key)), radius)
        return outward(self.threat, here, p, radius) if edge else p

    def _seen(self, x: Tensor, place: int, first: int, radius: Tensor, edge: bool) -> Seen:
        """The model's answers to random points, numbered from `first`."""
        number = torch.arange(first, first + len(radius))

        def ask(rows: slice | Tensor) -> Seen:
            p = self._noise(x, place, number[rows], radius[rows], edge)
            key = self._key(place, number[rows]).to(x.device)
            point = self.asker.pieces.arrange(self.threat.bounds.clamp(self.threat.apply(x, p)))
            return self.model.drawn(point, Draw(key, torch.zeros_like(key)))

        with model_noise(self.model, self.seed, place, purpose=3):
            return self.asker.each(len(number), ask)

    def _holds(self, x: Tensor, p: Tensor, clean: Readout, place: int) -> Tensor | None:
        """The planted point as it is stored, if it passes the verification that every claim must."""
        verify = Verifier(self.model, ReadGoal(Untargeted()), self.threat, Verdict.of(self.model), self.asker, self.seed)
        zero = torch.zeros(1, dtype=torch.int64, device=x.device)
        claim = verify(
            Batch(x, zero, zero - 1, clean, self._key(place, zero.cpu()).to(x.device), zero, x.new_full((1,), self.threat.radius)),
            p,
            place,
            zero,
        )
        return claim.point if bool(claim.holds) else None


@typed
def binarised(
    model: Classifier,
    x: Tensor,
    threat: Additive,
    plants: int = 200,
    inner: int = 999,
    boundary: int = 1,
    random: int = 200,
    setting: Setting = Setting(),
) -> Binarised:
    """Binary classifiers over the features of `model`, one a sample, each with an adversarial example planted at distance ε.

    z = ⟨w, h(x)⟩ + b, h the input of the last linear layer: logistic regression of `boundary` points at distance ε (label 1) against
    x and `inner` points within 0.95 ε (label 0); then b ← b − 0.999 min z(boundary), and the scale of the model's own logits.

    `x` `[n, ...]` in the model's range, taken in order until `plants` are made: a sample is left out where the regression does not
    separate the points or the planted one does not hold. `threat` L∞, L2 or L1; `random` points, half of them anywhere in the ball,
    half at distance ε, are the baseline. Labels are not needed. The same seed in `setting` makes the same plants.

    Raises ConfigError for other threats and counts too small; InputError for unusable samples; ModelError where the net does not end in
    a linear layer or no sample could be planted.
    Source: Zimmermann, Brendel, Tramèr & Carlini 2022 (arXiv:2206.13991), and the settings of the authors' code.
    Differs from the authors' code: both logits are not shifted to the range of the model's, only scaled; with several boundary points the
    nearest, not the farthest, is 0.001 of its height above the boundary, so that all stay planted; L1 is ours.

    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)).eval(), classes=3)
    >>> from holdfast import Linf
    >>> binarised(model, torch.full((2, 1, 4, 4), 0.5), Linf(0.1), inner=9).plants.point.shape
    torch.Size([2, 1, 4, 4])
    """
    for name, count, least in (("plants", plants, 1), ("inner", inner, 1), ("boundary", boundary, 1), ("random", random, 2)):
        if count < least:
            raise ConfigError(f"{name}={count}: the binarisation test needs at least {least}")
    if not isinstance(threat, Additive) or isinstance(threat, L0) or not 0 < threat.radius < float("inf"):
        raise ConfigError(f"{threat!r}: the binarisation test plants at a finite distance in L∞, L2 or L1")
    Samples.of(x, torch.zeros(len(x))).check(model)
    features = Features(model, model.bounds.intake(x[:2], model.dtype, model.device))
    threat = threat.within(model.bounds)
    planter = Planter(features, threat, Asker(fitted(setting, features).pieces), setting.seed, inner, boundary, random)
    made: list[Plants] = []
    tried = 0
    with kept_generators(model.device), torch.no_grad():
        while tried < len(x) and len(made) < plants:
            one = planter(model.bounds.intake(x[tried : tried + 1], model.dtype, model.device), tried)
            made += [] if one is None else [one]
            tried += 1
    if not made:
        raise ModelError(
            f"none of {tried} samples could be planted: no linear readout tells a point at distance {threat.radius:g} from "
            f"{inner} nearer ones (constant or too few features?); try fewer inner points"
        )
    return Binarised(features, threat, made[0].cat(*made[1:]), tried)
