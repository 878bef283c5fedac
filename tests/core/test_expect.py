"""What is of another kind than a signature states is refused in one line that names the value, the expectation and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from holdfast import (
    Attack,
    Budget,
    Classifier,
    ConfigError,
    HoldfastError,
    InputError,
    Linf,
    ModelError,
    attack,
    attacks,
    evaluate,
    load_data,
    merge,
    spectra,
    synthesis,
)
from holdfast.core.attack import Group, Stop
from holdfast.core.expect import fits
from holdfast.engine import Setting
from holdfast.evaluation.binarisation import binarisation_test
from holdfast.models import load_views
from holdfast.parts.views import Jpeg, View
from holdfast.training.shared import fit, judge, keep, parse_shared, patch, rp2, universal

NET = nn.Sequential(nn.Flatten(), nn.Linear(192, 3, bias=False)).eval().requires_grad_(False)
NET[1].weight.copy_(torch.randn(3, 192, generator=torch.Generator().manual_seed(2)))
MODEL = Classifier(NET, 3)
X, Y = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
SHARED, ROWS = universal(0.1, passes=1), attacks.pgd(0.1, steps=2)
FITTED, PASTED = fit(SHARED, MODEL, X), fit(patch(1, passes=1), MODEL, X)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ConfigError, "attack is of type Shared: expected an attack on rows", lambda: attack(SHARED, MODEL, X, Y)),
        (ConfigError, r"attack='pgd\(0.1\)': expected an attack", lambda: attack("pgd(0.1)", MODEL, X, Y)),
        (ConfigError, "method is of type Attack: expected a shared", lambda: fit(ROWS, MODEL, X)),
        (ModelError, "expected a Classifier around the network", lambda: attack(ROWS, NET, X, Y)),
        (ModelError, "model is of type Sequential", lambda: fit(SHARED, NET, X)),
        (ModelError, "model is of type Sequential", lambda: judge(FITTED, NET, X, Y)),
        (ModelError, "model is of type Sequential", lambda: synthesis.fooling_ascent(NET, (3, 8, 8))),
        (ModelError, "model is of type Sequential", lambda: synthesis.fooling_evolution(NET, (3, 8, 8))),
        (ModelError, "model is of type Sequential", lambda: evaluate(NET, (X, Y), Linf(0.1))),
        (ModelError, "model is of type Sequential", lambda: spectra(NET, X, X)),
        (ModelError, "model is of type Sequential", lambda: binarisation_test(NET, X, [ROWS], Linf(0.1))),
        (InputError, "x is of type ndarray: expected a tensor; torch.as_tensor", lambda: attack(ROWS, MODEL, X.numpy(), Y)),
        (InputError, "y is of type list: expected a tensor", lambda: attack(ROWS, MODEL, X, Y.tolist())),
        (InputError, "target=1: expected a tensor", lambda: attack(ROWS, MODEL, X, Y, target=1)),
        (InputError, r"labels of shape \[\]", lambda: attack(ROWS, MODEL, X[0], Y[0])),
        (InputError, "ids is of type ndarray", lambda: fit(SHARED, MODEL, X, ids=np.arange(6))),
        (InputError, "x is of type ndarray", lambda: FITTED.apply(X.numpy())),
        (InputError, "start is of type ndarray", lambda: synthesis.fooling_ascent(MODEL, (3, 8, 8), start=np.zeros((3, 8, 8)))),
        (ConfigError, r"views='jpeg\(50\)': expected a view", lambda: MODEL.viewed("jpeg(50)")),
        (ConfigError, "steps='5': expected a whole number", lambda: attacks.pgd(0.1, steps="5")),
        (ConfigError, "eot=1.5: expected a whole number", lambda: attacks.pgd(0.1, eot=1.5)),
        (ConfigError, "threat='linf:0.1': expected a threat, as Linf", lambda: attacks.pgd("linf:0.1")),
        (ConfigError, "threat=0.1: expected a threat", lambda: attacks.ddn(0.1)),
        (ConfigError, "target='stop'", lambda: patch(target="stop")),
        (ConfigError, "mask=3: expected a Mask or a string", lambda: rp2(mask=3)),
        (ConfigError, "radius='0.1': expected a number", lambda: Linf("0.1")),
        (ConfigError, "shape=192", lambda: synthesis.fooling_ascent(MODEL, 192)),
        (ConfigError, "classes=1: expected a sequence of a whole number", lambda: synthesis.fooling_ascent(MODEL, (3, 8, 8), classes=1)),
        (ConfigError, "budget=100", lambda: evaluate(MODEL, (X, Y), Linf(0.1), budget=100)),
        (ConfigError, "attacks is of type list", lambda: evaluate(MODEL, (X, Y), Linf(0.1), attacks=[SHARED])),
        (ConfigError, "seed='a'", lambda: fit(SHARED, MODEL, X, seed="a")),
        (ConfigError, "64 bits", lambda: fit(SHARED, MODEL, X, seed=2**80)),
        (ConfigError, "draws=0", lambda: judge(FITTED, MODEL, X, Y, draws=0)),
        (ConfigError, "fitted is of type Shared", lambda: keep(SHARED, "place")),
        (ConfigError, "classes='3'", lambda: Classifier(NET, "3")),
        (ConfigError, "device='gpu'", lambda: Classifier(NET, 3, device="gpu")),
        (ConfigError, "for 3 and for 2 channels", lambda: Classifier(NET, 3, bounds=([0, 0, 0], [1, 1]))),
        (ConfigError, "rule=3: expected a Rule", lambda: Attack(ROWS.goal, ROWS.threat, 3, Stop(2))),
        (ConfigError, "restarts='3'", lambda: Group("3")),
        (ConfigError, "queries='a'", lambda: Budget("a")),
        (ConfigError, "slots='8'", lambda: Setting(slots="8")),
        (ConfigError, "spec=3", lambda: load_data(3)),
        (ConfigError, "spec=3", lambda: load_views(3)),
        (ConfigError, "text=3", lambda: parse_shared(3)),
        (ConfigError, "name the folders", lambda: merge("joined")),
    ],
)  # fmt: skip
def test_one_line(error: type[HoldfastError], words: str, call: Callable[[], object]) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fitted", "x"), [
    (FITTED, X[:, :1]), (FITTED, X[:, :, :4]), (FITTED, X[:, :, :1, :1]), (FITTED, X.flatten(1)), (PASTED, X[:, :1]), (PASTED, X[..., :2]),
])  # fmt: skip
def test_a_perturbation_goes_onto_inputs_like_those_it_was_fitted_to(fitted, x) -> None:
    with pytest.raises(InputError, match="the perturbation has the shape"):
        judge(fitted, MODEL, x, Y)
    with pytest.raises(InputError, match="the perturbation has the shape"):
        fitted.apply(x)
    assert fitted.apply(X).shape == X.shape


def test_what_fits() -> None:
    for value, hint in (
        (3, float),
        (np.float32(1), float),
        (np.int64(3), int),
        (Jpeg(50), View | None),
        (None, View | None),
        ((1, 2), tuple[int, ...]),
        ((0, 1), tuple[float, float]),
        ([1], Sequence[int]),
        ("any", Literal["best"]),
        (MODEL, Classifier),
        (X, torch.Tensor),
    ):
        assert fits(value, hint), (value, hint)
    for value, hint in (
        ("3", float),
        (1.5, int),
        ("a", tuple[str, ...]),
        ((1, "2"), tuple[int, ...]),
        ((0,), tuple[float, float]),
        ("12", Sequence[int]),
        (None, int),
        (NET, Classifier),
        (X.numpy(), torch.Tensor),
    ):
        assert not fits(value, hint), (value, hint)
