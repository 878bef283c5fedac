"""What the trust checks' attacks break counts: in the number, the records, the examples and the words; and survives a kill."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from holdfast import Budget, Classifier, Linf, Result, attacks, evaluate, merge
from holdfast.core.attack import Attack
from holdfast.engine import Pieces
from holdfast.engine import run as engine_run
from holdfast.evaluation import attempts, evidence
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.store import TRUST, trust_label
from holdfast.evaluation.suites import SUITES
from holdfast.models import mlp
from holdfast.report import verdict
from holdfast.report.html import page

EPS = 0.15


@pytest.fixture(autouse=True, scope="module")
def weak() -> Iterator[None]:
    """A suite that finds next to nothing, short trust attacks, and none of those whose finds do not count."""

    def run(attack: Attack, *given: Any, **more: Any) -> Any:
        return engine_run(replace(attack, stop=replace(attack.stop, steps=min(attack.stop.steps, 6))), *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "quick-1", lambda threat: [Entry(attacks.random_points(threat, steps=2))])
        patch.setattr(attempts, "run", run)
        patch.setattr(evidence, "run", run)
        patch.setattr(evidence, "_binarisation", lambda *given: {"reason": "left out"})
        yield


def problem(n: int = 16) -> tuple[Classifier, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(12, 4, (24,)).double().eval()
    x = torch.rand(n, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return Classifier(net, 4), (x, net(x).argmax(1))


def measure(out: Path, **more: Any) -> Result:
    model, data = problem()
    return evaluate(model, data, Linf(EPS), suite="quick-1", out=out, pieces=Pieces(16), slots=8, harvest=2, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measure(tmp_path_factory.mktemp("whole") / "run")


def stored(result: Result) -> list[Any]:
    return [result.records.sort("attack", "sample").rows(), np.asarray(result.adversarial).tobytes(), result.trust]


def test_what_they_break_counts_and_is_verified(whole: Result) -> None:
    plan = set(whole.records.filter(attack="00-random_points", broken=True)["sample"])
    broken = set(whole.records.filter("broken")["sample"])
    assert whole.trust_broken == len(broken - plan) > 2
    assert whole.robust_accuracy == 1 - len(broken) / 16 < 1 - len(plan) / 16
    model, (x, y) = problem()
    found = torch.from_numpy(np.array(whole.adversarial))
    fooled = model(found).logits.argmax(dim=1) != y
    assert set(fooled.nonzero().squeeze(1).tolist()) == broken, "each on the user's own model"
    assert float((found - x).abs().max()) <= EPS * (1 + 1e-5) + 1e-6 and torch.equal(found[~fooled], x[~fooled])
    assert {label for label in whole.records["attack"].unique() if label.startswith("trust-")} == set(map(trust_label, TRUST))
    for name in TRUST:
        part = whole.records.filter(attack=trust_label(name))
        assert whole.trust[name] == {"tried": len(part), "broken": int(part["broken"].sum())}


def test_they_stand_in_the_table_and_in_the_words(whole: Result) -> None:
    rows = whole.attacks
    assert [row["attack"] for row in rows] == [*whole.labels, *map(trust_label, TRUST)]
    assert rows[-1]["accuracy_after"] == whole.robust_accuracy
    words = f"{whole.trust_broken} samples that these left fell to the attacks of the trust checks, and are counted."
    assert words in verdict(whole) and whole.summary()["trust_broken"] == whole.trust_broken
    assert "trust-minimum_norm" in page(whole)
    assert whole.seconds < whole.seconds + sum(f["seconds"] for f in whole.trust_facts.values()), "told apart"
    assert whole.complete and whole.forwards < 16 * 5


def test_halted_anywhere_it_ends_the_same(whole: Result, tmp_path: Path) -> None:
    halts, finished = 0, False
    while not finished:
        calls = iter(range(10**9))
        result = measure(tmp_path / "cut", halt=lambda calls=calls: next(calls) >= 12)  # type: ignore[misc]
        finished = (result.parts[0].path / "trust.json").exists()
        halts += not finished
        assert halts < 300
    assert halts > 2 and stored(result) == stored(whole)
    assert not list(result.parts[0].path.glob("*.snapshot")) and not list(result.parts[0].path.glob("*.scratch.npy"))


@pytest.mark.parametrize("step", ["write", "_adopt"])
def test_killed_between_two_writes_it_ends_the_same(whole: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    module = sys.modules["holdfast.evaluation.attempts"]
    owner = module.Part if step == "write" else module.Attempts
    inner: Callable[..., Any] = getattr(owner, step)

    def killed(self: Any, *given: Any) -> Any:
        inner(self, *given)
        if step == "_adopt" or given[0] == "trust-minimum_norm":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path / "cut")
    assert Result(tmp_path / "cut").robust_accuracy >= whole.robust_accuracy
    assert stored(measure(tmp_path / "cut")) == stored(whole)


def test_shards_keep_what_they_found(tmp_path: Path) -> None:
    parts = [measure(tmp_path / f"part{i}", shard=(i, 2)) for i in range(2)]
    merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")
    joined = Result(tmp_path / "joined")
    assert joined.trust_broken == sum(part.trust_broken for part in parts) > 0
    assert joined.robust_rate.of == sum(part.robust_rate.of for part in parts)


def test_a_budget_of_queries_holds_for_them_too(tmp_path: Path) -> None:
    result = measure(tmp_path, budget=Budget(queries=4))
    spent = result.records.group_by("attack", "sample").agg(pl.col("forwards").sum())["forwards"]
    assert int(spent.max()) <= 4 and result.trust["noise"]["tried"] == 0  # type: ignore[arg-type]
    check = next(check for check in result.checks if check.name == "noise")
    assert check.status == "not run"
