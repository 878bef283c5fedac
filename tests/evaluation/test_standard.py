"""The default cascade, on a net for real digits: who is attacked, and how far, is each sample's own matter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast import Classifier, Linf, Result, StoreError, evaluate, merge
from holdfast.data import load_data
from holdfast.engine import Pieces
from holdfast.models import mlp
from holdfast.report.provenance import command, provenance

EFFORT = 0.25


@cache
def digits() -> tuple[Classifier, Tensor, Tensor]:
    """A float64 net that a few steps of gradient descent taught, and samples of which some fall and some stand."""
    taught, data = load_data("digits", split="train", limit=400), load_data("digits", limit=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(64, 10, (16,)).double()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(taught.x.double()), taught.y).backward()
        optimizer.step()
    return Classifier(net.eval(), 10), data.x.double(), data.y


def measure(out: Path | None = None, slots: int = 64, harvest: int = 10, effort: float = EFFORT, **more: object) -> Result:
    model, x, y = digits()
    return evaluate(model, (x, y), Linf(0.08), out=out, slots=slots, harvest=harvest, effort=effort, pieces=Pieces(16), **more)  # type: ignore[arg-type]


def stored(result: Result) -> list[object]:
    """All records in one order, and the examples by sample."""
    ids = torch.cat([part.samples()[0] for part in result.parts])
    found = np.concatenate([part.adversarial() for part in result.parts])[ids.argsort().numpy()]
    return [result.records.sort("attack", "sample").rows(), result.clean.sort("sample").rows(), found.tobytes()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measure(tmp_path_factory.mktemp("standard") / "whole")


def test_the_cascade_attacks_the_near_and_spares_the_far(whole: Result) -> None:
    assert whole.complete and whole.manifest["suite"] == "standard-1" and 0 < whole.robust_accuracy < whole.clean_accuracy
    tried = [row["tried"] for row in whole.attacks]
    assert len(tried) == 7 and tried[0] > tried[2] > tried[-1] > 0, "ever fewer, and Square on some"
    assert int(whole.records["broken"].sum()) == round((whole.clean_accuracy - whole.robust_accuracy) * whole.n)


@pytest.mark.parametrize(("slots", "harvest"), [(3, 1), (7, 25)])
def test_slots_do_not_matter(whole: Result, slots: int, harvest: int) -> None:
    assert stored(measure(slots=slots, harvest=harvest)) == stored(whole)


def test_shards_do_not_matter(whole: Result, tmp_path: Path) -> None:
    for i in range(2):
        measure(tmp_path / f"part{i}", shard=(i, 2))
    merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")
    joined = Result(tmp_path / "joined")
    assert joined.complete and stored(joined) == stored(whole)


@pytest.mark.parametrize("windows", [4, 11])
def test_halts_do_not_matter(whole: Result, tmp_path: Path, windows: int) -> None:
    halts = 0
    while not (result := measure(tmp_path, halt=after(windows))).complete:
        halts += 1
        assert halts < 200
    assert halts >= 3 and stored(result) == stored(whole)


def after(windows: int) -> Callable[[], bool]:
    count = iter(range(10**9))
    return lambda: next(count) >= windows


def test_effort_is_part_of_what_a_run_is(whole: Result, tmp_path: Path) -> None:
    assert whole.manifest["effort"] == EFFORT
    with pytest.raises(StoreError, match="effort"):
        measure(whole.path, effort=1.0)
    assert ("Suite", "standard-1 at 0.25 times its effort") in provenance(whole)
    assert "effort=0.25" in (command(whole) or "")
