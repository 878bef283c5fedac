"""Evaluations on a small net: what they store, how they stop and go on, what they refuse."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from holdfast import L2, Budget, Classifier, ConfigError, InputError, Linf, ModelError, Result, StoreError, evaluate, merge
from holdfast.engine import Pieces
from holdfast.evaluation import Event
from holdfast.evaluation.store import Store
from holdfast.models import mlp

PIECES = Pieces(16)
# The machinery is the same whatever the plan; the default one has tests of its own, and so has what the trust checks ask.
quick = partial(evaluate, suite="quick-1", pieces=PIECES, trust=False)


def problem(n: int = 40) -> tuple[Classifier, Tensor, Tensor]:
    """A random net on random points, a tenth of them mislabelled."""
    torch.manual_seed(0)
    net = mlp(12, 4, (24,)).double().eval()
    x = torch.rand(n, 3, 2, 2, dtype=torch.float64)
    y = net(x).argmax(1)
    y[::10] = (y[::10] + 1) % 4
    return Classifier(net, 4), x, y


def stored(result: Result) -> list[Any]:
    """All that a run stored but its seconds."""
    return [result.records.rows(), result.clean.rows(), np.asarray(result.adversarial).tobytes()]


def count_calls(limit: int) -> Callable[[], bool]:
    """Says stop from the `limit`-th time on."""
    seen = [0]

    def halt() -> bool:
        seen[0] += 1
        return seen[0] >= limit

    return halt


def test_the_numbers_agree_with_the_net_itself(tmp_path: Path) -> None:
    model, x, y = problem()
    result = quick(model, (x, y), Linf(0.1), out=tmp_path / "run", radii=[0.02, 0.05, 0.1])
    net = model.net
    adversarial = torch.from_numpy(np.array(result.adversarial))
    right = net(x).argmax(1) == y  # type: ignore[operator]
    still = net(adversarial).argmax(1) == y  # type: ignore[operator]
    assert result.clean_accuracy == right.double().mean().item() == 0.9
    assert result.robust_accuracy == (right & still).double().mean().item()
    assert 0 < result.robust_accuracy < result.clean_accuracy, "the problem is neither trivial nor hopeless"
    assert float((adversarial - x).abs().amax()) <= 0.1 * (1 + 1e-5) + 1e-6
    assert torch.equal(adversarial[still], x[still]), "the clean input elsewhere"
    curve = result.curve()
    assert curve is not None and curve[1]["accuracy"].is_sorted(descending=True)
    assert (result.records["l2"].drop_nulls() > 0).all() and result.complete


def test_interrupted_anywhere_it_ends_the_same(tmp_path: Path) -> None:
    model, x, y = problem(20)
    again = partial(quick, model, (x, y), Linf(0.1), slots=12, harvest=10, radii=[0.05, 0.1])
    whole = again(out=tmp_path / "whole")
    for limit in (6, 11):
        halts = 0
        while not (result := again(out=tmp_path / f"cut{limit}", halt=count_calls(limit))).complete:
            halts += 1
            assert halts < 200
        assert halts >= 2 and stored(result) == stored(whole)


def test_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    model, x, y = problem()
    first = quick(model, (x, y), Linf(0.1), out=tmp_path)
    events: list[Event] = []
    again = quick(model, (x, y), Linf(0.1), out=tmp_path, watch=events.append)
    assert events == [] and stored(again) == stored(first) and again.seconds == first.seconds


def test_a_cascade_and_a_list_find_the_same_worst_case(tmp_path: Path) -> None:
    model, x, y = problem(20)
    suite = quick(model, (x, y), Linf(0.1), slots=16)
    own = evaluate(model, (x, y), Linf(0.1), attacks=["apgd(steps=50)", "apgd_targeted(steps=20)", "fgsm"], pieces=PIECES, slots=7)
    assert own.robust_accuracy == suite.robust_accuracy
    assert [row["tried"] for row in own.attacks] == [18, 18, 18]
    assert own.attacks[0]["accuracy_alone"] == suite.attacks[0]["accuracy_after"]


def test_a_minimum_norm_attack_counts_within_the_threat(tmp_path: Path) -> None:
    model, x, y = problem()
    result = evaluate(model, (x, y), L2(0.1), attacks=["deepfool"], pieces=PIECES)
    inside = result.records.filter(pl.col("size") <= 0.1)
    assert result.records["success"].sum() > result.records["broken"].sum() == len(inside) > 0
    moved = (torch.from_numpy(np.array(result.adversarial)) - x).flatten(1).norm(dim=1)
    assert float(moved.max()) <= 0.1 * (1 + 1e-5) + 1e-6, "examples beyond the radius are not the run's"


def test_shards_are_the_whole(tmp_path: Path) -> None:
    model, x, y = problem(20)
    whole = quick(model, (x, y), Linf(0.1), out=tmp_path / "whole")
    for i in range(3):
        quick(model, (x, y), Linf(0.1), out=tmp_path / f"part{i}", shard=(i, 3))
    merge(tmp_path / "joined", *[tmp_path / f"part{i}" for i in range(3)])
    joined = Result(tmp_path / "joined")
    drop = ["attack", "sample"]
    assert joined.records.sort(drop).rows() == whole.records.sort(drop).rows()
    assert joined.complete and not Result(tmp_path / "part1").complete
    with pytest.raises(StoreError, match="one folder only"):
        merge(tmp_path / "joined", tmp_path / "part0")
    quick(model, (x, y), Linf(0.2), out=tmp_path / "other", shard=(0, 3))
    with pytest.raises(StoreError, match="another run"):
        merge(tmp_path / "mixed", tmp_path / "part0", tmp_path / "other")


def test_budgets(tmp_path: Path) -> None:
    model, x, y = problem()
    plan = ["fgsm", "pgd(steps=5)", "apgd(steps=50)"]
    short = evaluate(model, (x, y), Linf(0.1), attacks=plan, budget=Budget(queries=20), pieces=PIECES)
    spent = short.records.group_by("sample").agg(pl.col("forwards").sum())["forwards"]
    assert 20 - 3 <= spent.max() <= 20, "over all attacks, and to the end"  # type: ignore[operator]
    assert not short.complete and set(short.records.filter(attack="02-apgd")["status"]) == {"broken", "unfinished"}
    late = evaluate(model, (x, y), Linf(0.1), attacks=plan, out=tmp_path, budget=Budget(deadline=1e-9), pieces=PIECES)
    assert not late.complete and late.checks[0].status == "warn"
    assert evaluate(model, (x, y), Linf(0.1), attacks=plan, out=tmp_path, pieces=PIECES).complete
    with pytest.raises(ConfigError, match="queries=0"):
        Budget(queries=0)


def test_the_target_and_the_model_are_checked(tmp_path: Path) -> None:
    model, x, y = problem()
    with pytest.raises(InputError, match="outside the model's range"):
        evaluate(model, (x * 255, y), Linf(0.1))
    with pytest.raises(InputError, match=r"label 9 of sample 0 is outside 0\.\.3"):
        evaluate(model, (x, y.clone().fill_(9)), Linf(0.1))
    with pytest.raises(ConfigError, match="name one or the other"):
        evaluate(model, (x, y), Linf(0.1), suite="quick-1", attacks=["fgsm"])
    with pytest.raises(ConfigError, match="moves in L2"):
        evaluate(model, (x, y), Linf(0.1), attacks=["pgd(L2(0.5))"])
    mixing = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(ModelError, match="depends on the others"):
        evaluate(Classifier(lambda v: mixing(v) - mixing(v).mean(0), 4), (x.float(), y), Linf(0.1))


def test_randomness_that_was_not_declared_is_met_and_told() -> None:
    model, x, y = problem(12)

    def shaken(v: Tensor) -> Tensor:
        return model.net(v.double() + 0.02 * torch.randn(v.shape, dtype=torch.float64)).float()

    result = evaluate(Classifier(shaken, 4), (x.float(), y), Linf(0.1), attacks=["fgsm"], pieces=PIECES)
    check = next(check for check in result.checks if check.name == "deterministic")
    assert check.status == "warn" and "twenty fresh draws" in check.remedy and result.manifest["model"]["stochastic"]
    assert set((result.records.filter("broken")["share"] * 20) % 1) == {0.0} and (result.records["forwards"] > 20).all()
    sure = evaluate(model, (x, y), Linf(0.1), attacks=["fgsm"], pieces=PIECES)
    assert not sure.manifest["model"]["stochastic"] and (sure.records["forwards"] < 20).all()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    model, x, y = problem()
    with pytest.raises(StoreError, match="choose another"):
        evaluate(model, (x, y), Linf(0.1), out="/proc/holdfast", pieces=PIECES)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StoreError, match="not empty"):
        evaluate(model, (x, y), Linf(0.1), out=tmp_path, pieces=PIECES)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    model, x, y = problem()
    whole = quick(model, (x, y), Linf(0.1), out=tmp_path / "whole")
    quick(model, (x, y), Linf(0.1), out=tmp_path / "run", halt=count_calls(4))
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").rglob("*.parquet")}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(StoreError, match="free space"):
            quick(model, (x, y), Linf(0.1), out=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").rglob("*.parquet")} == before
    assert stored(quick(model, (x, y), Linf(0.1), out=tmp_path / "run")) == stored(whole)


def test_shards_may_open_one_new_folder_at_the_same_moment(tmp_path: Path) -> None:
    identity = {"threat": "linf"}

    def opened(pieces: int) -> int:
        return int(Store(tmp_path / "run").open(identity, {"pieces": pieces})["once"]["pieces"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1
