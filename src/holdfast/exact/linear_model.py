"""Linear models, whoever made them, as weights and biases in the space of the inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, InputError, ModelError
from holdfast.core.types import Bounds
from holdfast.models import Classifier

_WHAT = (
    "nn.Linear, nn.Sequential of Flatten, Identity and Linear, a Classifier around one, or a fitted LogisticRegression, "
    "LogisticRegressionCV, LinearSVC, SGDClassifier, RidgeClassifier, RidgeClassifierCV or Perceptron of scikit-learn"
)


@dataclass(frozen=True)
class LinearModel:
    """scores = ⟨W, x⟩ + b, and the class is the largest: `weight` `[classes, ...]`, `bias` `[classes]`, in float64 on the host.

    `bounds` is the valid range of inputs; `answer` gives the classes `[n]` that the model itself says of inputs `[n, ...]`. A model with
    one score (above zero is class 1) has the scores (0, s).
    """

    weight: Tensor
    bias: Tensor
    bounds: Bounds
    dtype: torch.dtype
    answer: Callable[[Tensor], Tensor]

    @property
    def classes(self) -> int:
        return len(self.bias)

    def scores(self, x: Tensor) -> Tensor:
        """The scores `[n, classes]` of `x` `[n, ...]`."""
        return x.double().flatten(1) @ self.weight.flatten(1).T + self.bias


def linear_model(model: Any, shape: tuple[int, ...], bounds: tuple[float, float] | None = None) -> LinearModel:
    """The weights of a linear `model` over inputs of `shape`; `bounds` is the range of what is no `Classifier`, by default all numbers.

    Raises ModelError for what is not linear or does not fit the shape, ConfigError for bounds given twice.

    >>> net = nn.Linear(2, 2)
    >>> linear_model(net, (2,)).weight.shape
    torch.Size([2, 2])
    """
    if isinstance(model, Classifier):
        if bounds is not None:
            raise ConfigError(f"bounds={bounds}: the Classifier has its own, {model.bounds}; leave them out")
        return _of_classifier(model, shape)
    span = Bounds(*(bounds or (-torch.inf, torch.inf)))
    if not span.low < span.high:  # type: ignore[operator]
        raise ConfigError(f"bounds={bounds}: low must lie below high")
    return _of_module(model, shape, span) if isinstance(model, nn.Module) else _of_sklearn(model, shape, span)


def _of_classifier(model: Classifier, shape: tuple[int, ...]) -> LinearModel:
    if model.views is not None:
        raise ModelError(f"through {model.views!r} the model is not linear: give it without them, viewed(None)")
    if not isinstance(model.net, nn.Module):
        raise ModelError(f"the Classifier's net is a {type(model.net).__name__}: expected {_WHAT}")
    weight, bias = _layers(model.net)
    # W ((x − μ) / σ) + b: what normalisation does to 0 and to 1 is all there is to it.
    zero = model.normalise(torch.zeros(1, *shape, dtype=torch.float64))
    slope = model.normalise(torch.ones(1, *shape, dtype=torch.float64)) - zero
    if weight.shape[1] != slope.numel():
        raise ModelError(f"the layer takes {weight.shape[1]} values, an input of shape {list(shape)} has {slope.numel()}")

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            return model(x.to(model.device, model.dtype)).logits.argmax(dim=1).cpu()

    return _checked(LinearModel(weight * slope.flatten(), bias + weight @ zero.flatten(), model.bounds, model.dtype, answer), shape)


def _of_module(net: nn.Module, shape: tuple[int, ...], bounds: Bounds) -> LinearModel:
    weight, bias = _layers(net)
    first = next(net.parameters())

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            score = net(x.to(first.device, first.dtype))
        return (score.flatten() > 0).long().cpu() if len(bias) == 1 else score.argmax(dim=1).cpu()

    return _checked(LinearModel(*_scored(weight, bias), bounds, first.dtype, answer), shape)


def _of_sklearn(model: Any, shape: tuple[int, ...], bounds: Bounds) -> LinearModel:
    # Imported here because it takes a second, which nobody with other models should wait for.
    linear, svm = import_module("sklearn.linear_model"), import_module("sklearn.svm")
    known = (
        linear.LogisticRegression, linear.LogisticRegressionCV, linear.SGDClassifier, linear.RidgeClassifier, linear.RidgeClassifierCV,
        linear.Perceptron, svm.LinearSVC,
    )  # fmt: skip
    if not isinstance(model, known):
        raise ModelError(f"{type(model).__name__} is no linear model known here: expected {_WHAT}")
    if "coef_" not in vars(model):
        raise ModelError(f"the {type(model).__name__} has not been fitted: call fit(x, y) first")
    weight, bias = torch.atleast_2d(torch.as_tensor(model.coef_)).double(), torch.as_tensor(model.intercept_).double()
    labels = {label: place for place, label in enumerate(model.classes_.tolist())}

    def answer(x: Tensor) -> Tensor:
        return torch.tensor([labels[label] for label in model.predict(x.flatten(1).numpy()).tolist()])

    weight, bias = _scored(weight, bias.reshape(-1).expand(len(weight)))
    return _checked(LinearModel(weight, bias, bounds, torch.float64, answer), shape)


def _layers(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of all layers in one, in float64 on the host."""
    total: tuple[Tensor, Tensor] | None = None
    for layer in net if isinstance(net, nn.Sequential) else [net]:
        if isinstance(layer, nn.Flatten | nn.Identity):
            continue
        if not isinstance(layer, nn.Linear):
            raise ModelError(f"{type(layer).__name__} is not linear: expected {_WHAT}")
        weight = layer.weight.detach().cpu().double()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu().double()
        total = (weight, bias) if total is None else (weight @ total[0], weight @ total[1] + bias)
    if total is None:
        raise ModelError(f"the net has no linear layer: expected {_WHAT}")
    return total


def _scored(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One score is that of class 1, against 0 for class 0."""
    if len(weight) > 1:
        return weight, bias
    return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])


def _checked(model: LinearModel, shape: tuple[int, ...]) -> LinearModel:
    if model.weight[0].numel() != torch.Size(shape).numel():
        raise InputError(
            f"the model takes {model.weight[0].numel()} values, an input of shape {list(shape)} has {torch.Size(shape).numel()}"
        )
    if not bool(model.weight.isfinite().all() and model.bias.isfinite().all()):
        raise ModelError("the model's weights hold NaN or infinity: a distance needs numbers")
    return LinearModel(model.weight.reshape(-1, *shape), model.bias, model.bounds, model.dtype, model.answer)
