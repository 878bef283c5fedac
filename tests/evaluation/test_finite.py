"""Nets that answer what is no number under attack: counted by sample, kept over a kill, and never taken for robust without a word."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, Linf, Result, StoreError, attacks, evaluate, merge
from holdfast.data import load_data
from holdfast.engine import Choice, Pieces, Samples, Setting, run
from holdfast.evaluation.check import Check
from holdfast.models import mlp
from holdfast.report import verdict

PIECES = Pieces(16)
quick = partial(evaluate, threat=Linf(0.1), attacks=["pgd(steps=6)", "square(steps=20)"], pieces=PIECES)


class Guarded(nn.Module):
    """A net that passes its answer through `after`, where the input is none of the clean ones."""

    def __init__(self, after: Callable[[Tensor, Tensor], Tensor], clean: Tensor) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = mlp(64, 10, (16,))
        self.after, self.clean = after, clean

    def forward(self, x: Tensor) -> Tensor:
        known = (x.detach().flatten(1).unsqueeze(1) == self.clean.flatten(1)).all(dim=2).any(dim=1, keepdim=True)
        z = self.net(x)
        return torch.where(known, z, self.after(z, x))


def guarded(after: Callable[[Tensor, Tensor], Tensor], n: int = 24) -> tuple[Classifier, tuple[Tensor, Tensor]]:
    x = load_data("digits", limit=n).x
    net = Guarded(after, x).eval()
    return Classifier(net, 10), (x, net.net(x).argmax(dim=1))


def nothing(z: Tensor, x: Tensor) -> Tensor:
    return z * torch.nan


def overflow(z: Tensor, x: Tensor) -> Tensor:
    """The likeliest class at +∞, as in a net whose logits pass the largest float."""
    return torch.where(z == z.amax(dim=1, keepdim=True), torch.inf, z)


def check(result: Result, name: str = "finite") -> Check:
    return next(check for check in result.checks if check.name == name)


@pytest.mark.parametrize("after", [nothing, overflow, lambda z, x: torch.full_like(z, torch.inf) + 0 * z, lambda z, x: z - torch.inf])
def test_what_is_no_number_is_counted_and_not_trusted(after: Callable[[Tensor, Tensor], Tensor]) -> None:
    model, data = guarded(after)
    result = quick(model, data)
    assert result.robust_accuracy > 0.5, "as if it were robust"
    records = result.records.filter(attack="01-square", status="withstood")
    assert len(records) and (records["nan_forwards"] == records["forwards"]).all()
    found = check(result)
    assert found.status == "fail" and "%" in found.evidence and "not numbers" in found.evidence and "float32" in found.remedy
    assert "cannot be trusted" in verdict(result) and "not numbers" in verdict(result)


def test_one_answer_in_some_of_the_samples_is_enough() -> None:
    """A net that refuses to answer where it would be wrong is not robust there."""
    _, (_, y) = guarded(nothing)
    common = y.mode().values
    model, data = guarded(lambda z, x: torch.where(z.argmax(dim=1, keepdim=True) == common, z, torch.nan))
    assert check(quick(model, data)).status == "fail"


def test_gradients_that_are_no_numbers_are_counted() -> None:
    """The answer is a number, its derivative is 0/0: the root of a square at zero."""
    model, data = guarded(lambda z, x: z + ((x * 0).square().sum(dim=(1, 2, 3)).sqrt()).unsqueeze(1))
    result = quick(model, data)
    records = result.records.filter(attack="00-pgd")
    assert result.records["nan_forwards"].sum() == 0 and int(records["nan_backwards"].sum()) > 0.5 * int(records["backwards"].sum())
    found = check(result)
    assert found.status == "fail" and "of the gradients were not" in found.evidence and "square" in found.remedy


def test_gradients_of_logits_are_counted_by_class() -> None:
    model, (x, y) = guarded(lambda z, x: z + ((x * 0).square().sum(dim=(1, 2, 3)).sqrt()).unsqueeze(1), 8)
    outcome = run(attacks.deepfool(Linf(), steps=4), model, Samples.of(x, y), Setting(pieces=PIECES))
    # From the second step on, for the first is at the clean input.
    assert (outcome.nan_backwards > 0).all() and (outcome.nan_backwards <= outcome.backwards).all()


def test_an_honest_net_meets_none() -> None:
    model, data = guarded(lambda z, x: z)
    result = quick(model, data)
    assert result.records["nan_forwards"].sum() == result.records["nan_backwards"].sum() == 0
    assert check(result).status == "pass" and "0.00%" in check(result).evidence


def test_a_stray_answer_warns() -> None:
    """One surviving sample of 24 that met NaN in one query of many."""
    seen = [0]

    def stray(z: Tensor, x: Tensor) -> Tensor:
        seen[0] += 1
        return torch.where((torch.arange(len(z)) == 0).unsqueeze(1), torch.nan, z) if seen[0] == 40 else z

    model, data = guarded(stray)
    result = quick(model, data, threat=Linf(0.001), attacks=["square(steps=60)"])
    assert result.records["nan_forwards"].sum() == 1 and check(result).status == "warn"


def test_low_precision_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in a float16 copy that search asks, numbers in the net itself."""
    model, data = guarded(lambda z, x: z if z.dtype == torch.float32 else z * torch.nan)
    low = Choice("frozen", "bfloat16", PIECES)
    monkeypatch.setattr(sys.modules["holdfast.evaluation.evaluate"], "choose", lambda *given, **more: low)
    result = evaluate(model, data, Linf(0.1), attacks=["pgd(steps=6)"])
    found = check(result)
    assert result.manifest["once"]["choice"]["dtype"] == "bfloat16"
    assert found.status == "fail" and "bfloat16" in found.remedy and "--no-replica" in found.remedy


@cache
def partly() -> tuple[Classifier, tuple[Tensor, Tensor]]:
    """NaN where the first pixel has fallen: for some queries of some samples."""
    return guarded(lambda z, x: torch.where(x[:, 0, 0, 1:2] > 0.02, torch.nan, z))


def counts(result: Result) -> list[Any]:
    return result.records.sort("attack", "sample").rows()


def test_counts_are_the_same_after_halts_and_over_shards(tmp_path: Path) -> None:
    model, data = partly()
    whole = quick(model, data, out=tmp_path / "whole")
    assert 0 < whole.records["nan_forwards"].sum() < whole.records["forwards"].sum()
    calls, halts = iter(range(10**9)), 0
    while not (result := quick(model, data, out=tmp_path / "cut", slots=5, harvest=2, halt=lambda: next(calls) % 3 == 2)).complete:
        halts += 1
    assert halts > 2 and counts(result) == counts(whole)
    for i in range(2):
        quick(model, data, out=tmp_path / f"part{i}", shard=(i, 2))
    merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")
    joined = Result(tmp_path / "joined")
    assert counts(joined) == counts(whole) and check(joined) == check(whole)


def test_a_store_without_the_counts_is_refused_plainly(tmp_path: Path) -> None:
    model, data = partly()
    quick(model, data, out=tmp_path, attacks=["fgsm"])
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text().replace('"schema": 3', '"schema": 2'))
    with pytest.raises(StoreError, match="schema 2, this version reads 3"):
        Result(tmp_path)
    with pytest.raises(StoreError, match="schema 2"):
        quick(model, data, out=tmp_path, attacks=["fgsm"])


def test_draws_of_a_stochastic_net_are_counted_each() -> None:
    torch.manual_seed(0)
    model, (x, y) = guarded(lambda z, x: torch.where(torch.rand(len(z), 1) < 0.25, torch.nan, z))
    outcome = run(attacks.pgd(0.001, steps=5, eot=8), model.declared(True), Samples.of(x, y), Setting(pieces=PIECES))
    share = outcome.nan_forwards.sum() / outcome.forwards.sum()
    assert 0.1 < float(share) < 0.3 and (outcome.nan_forwards <= outcome.forwards).all()
    assert (outcome.nan_backwards <= outcome.backwards).all()
