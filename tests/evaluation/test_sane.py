"""A wrong set-up is said; an honest net is left in peace, however few its samples or many its classes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from holdfast import Classifier, Linf, Result, evaluate
from holdfast.data import load_data
from holdfast.engine import Pieces
from holdfast.evaluation.check import Check
from holdfast.evaluation.sane import sane
from holdfast.models import mlp


def judged(labels: list[int] | np.ndarray, answers: list[int] | np.ndarray, classes: int = 10) -> Check:
    y, z = np.asarray(labels, dtype=np.int64), np.asarray(answers, dtype=np.int64)
    clean = pl.DataFrame({"label": y, "prediction": z, "correct": y == z})
    return sane(SimpleNamespace(clean=clean, manifest={"model": {"classes": classes}}))  # type: ignore[arg-type]


def simulated(accuracy: float, n: int, classes: int, seed: int) -> Check:
    """A net that is right so often, and elsewhere answers any class."""
    draw = np.random.default_rng(seed)
    y = draw.integers(classes, size=n)
    return judged(y, np.where(draw.random(n) < accuracy, y, draw.integers(classes, size=n)), classes)


@pytest.mark.parametrize("n", [20, 60, 1000])
@pytest.mark.parametrize(("accuracy", "classes"), [(0.45, 10), (0.8, 10), (0.99, 10), (0.5, 43), (0.35, 1000), (0.6, 2), (0.95, 2)])
def test_an_honest_net_is_left_in_peace(accuracy: float, classes: int, n: int) -> None:
    found = [simulated(accuracy, n, classes, seed).status for seed in range(200)]
    assert found.count("fail") == 0 and found.count("warn") <= 2


def test_few_samples_say_nothing() -> None:
    assert judged([0] * 19, [1] * 19).status == "not run"
    assert simulated(0.9, 60, 43, 0).status == "pass", "of 43 classes many are never answered on 60 samples"
    assert judged([0] * 60, [0] * 50 + [1] * 10).status == "pass", "a slice of one class"
    assert judged([0] * 50 + [1] * 10, [0] * 35 + [1] * 15 + [1] * 8 + [0] * 2).status == "pass", "data in the order of its classes"


def test_near_chance_fails() -> None:
    for seed in range(20):
        found = simulated(0.0, 100, 10, seed)
        assert found.status == "fail" and "--mean/--std" in found.remedy and "--weights" in found.remedy and "order" in found.remedy
    assert simulated(0.04, 1000, 10, 0).status == "fail", "weights forgotten: 14 %"
    assert "near the 10.0% of guessing among 10 classes" in simulated(0.0, 1000, 10, 1).evidence
    assert simulated(0.0, 200, 2, 1).status == "fail"


def test_one_answer_for_all_fails() -> None:
    found = judged(list(range(4)) * 10, [2] * 40, 4)
    assert found.status == "fail" and "class 2 for 100.0%" in found.evidence
    assert judged([0] * 92 + [1] * 8, [0] * 100, 2).status == "warn", "a net that says what is commonest"


def test_a_class_that_is_never_answered_warns() -> None:
    y = np.arange(400) % 10
    found = judged(y, np.where(y == 3, 5, y))
    assert found.status == "warn" and "class 3 is never answered, though 40 samples" in found.evidence
    assert judged(y[:100], np.where(y == 3, 5, y)[:100]).status == "pass", "ten samples are too few"


@pytest.mark.parametrize("n", [60, 1000])
def test_another_order_of_the_classes_fails(n: int) -> None:
    y = np.arange(n) % 10
    z = np.where(np.random.default_rng(0).random(n) < 0.8, y, (y + 3) % 10)
    assert judged(y, z).status == "pass"
    shifted = judged((y + 1) % 10, z)
    assert shifted.status == "fail" and "in that order" in shifted.evidence and "classes differently" in shifted.remedy
    swapped = np.where(y == 2, 7, np.where(y == 7, 2, y))
    found = judged(swapped, z)
    assert found.status == "fail" and "2 classes are answered as another one each (2 as 7, 7 as 2)" in found.evidence


def taught() -> nn.Module:
    data = load_data("digits", split="train", limit=600)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(64, 10, (32,))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net((data.x - 0.3) / 0.05), data.y).backward()
        optimizer.step()
    return net.eval()


def test_a_net_whose_normalisation_or_weights_were_forgotten() -> None:
    net, data = taught(), load_data("digits", limit=120)

    def checked(model: Classifier, shift: int = 0) -> Check:
        result: Result = evaluate(model, (data.x, (data.y + shift) % 10), Linf(0.02), attacks=["fgsm"], pieces=Pieces(16))
        return next(check for check in result.checks if check.name == "sane")

    right = checked(Classifier(net, 10, mean=0.3, std=0.05))
    assert right.status == "pass" and "of 10 classes, of which 10 are answered" in right.evidence
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert checked(Classifier(mlp(64, 10, (32,)).eval(), 10, mean=0.3, std=0.05)).status == "fail"
    assert checked(Classifier(net, 10, mean=0.3, std=0.05), shift=1).status == "fail"
    assert checked(Classifier(net, 10, mean=80.0, std=0.05)).status == "fail", "a mean in units of 0..255"
