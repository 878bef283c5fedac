"""A cascade, ours and the default one, on a net for real digits: who is attacked, and how far, is each sample's own matter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast import Classifier, Linf, Result, StoreError, evaluate, merge
from holdfast.attacks import apgd_targeted, cosine, fgsm, square
from holdfast.core.types import Threat
from holdfast.data import load_data
from holdfast.engine import Pieces
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.suites import DEFAULT, SUITES
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


def cascade(threat: Threat) -> list[Entry]:
    """Entries that are made on some of what stands, for every reason there is: near, not without hope, and drawn."""
    restarted = cosine(threat, steps=4, restarts=2, starts=("corner", "uniform"), share=1.0)
    return [
        Entry(fgsm(threat)),
        Entry(restarted, near=0.55, spot=0.1),
        Entry(apgd_targeted(threat, steps=5, rivals=2), near=0.6, hope=3.0),
        Entry(square(threat, steps=30), near=0.5, hope=3.0, spot=0.1),
    ]


def measure(out: Path | None = None, slots: int = 64, harvest: int = 10, effort: float = 1.0, **more: Any) -> Result:
    """A run of `cascade` under the name of the default suite, whose own entries an effort other than 1 asks for."""
    model, x, y = digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, DEFAULT, cascade)
        return evaluate(
            model, (x, y), Linf(0.08), out=out, slots=slots, harvest=harvest, effort=effort, pieces=Pieces(16), trust=False, **more
        )


def stored(result: Result) -> list[object]:
    """All records in one order, and the examples by sample."""
    ids = torch.cat([part.samples()[0] for part in result.parts])
    found = np.concatenate([part.adversarial() for part in result.parts])[ids.argsort().numpy()]
    return [result.records.sort("attack", "sample").rows(), result.clean.sort("sample").rows(), found.tobytes()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measure(tmp_path_factory.mktemp("cascade") / "whole")


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measure(tmp_path_factory.mktemp("standard") / "whole", effort=EFFORT)


@pytest.mark.parametrize("name", ["whole", "default"])
def test_each_entry_is_made_on_some_of_what_stands(name: str, request: pytest.FixtureRequest) -> None:
    result: Result = request.getfixturevalue(name)
    assert result.complete and result.manifest["suite"] == DEFAULT and 0 < result.robust_accuracy < result.clean_accuracy
    standing = set(result.clean.filter("correct")["sample"])
    for place, label in enumerate(result.labels):
        records = result.records.filter(attack=label)
        tried = set(records["sample"])
        assert tried == standing if place == 0 else tried <= standing
        assert name == "default" or place == 0 or 0 < len(tried) < len(standing), "the near are attacked, the far are spared"
        standing -= set(records.filter("broken")["sample"])
    assert len(standing) == result.robust_rate.of == round(result.robust_accuracy * result.n)


@pytest.mark.parametrize(("slots", "harvest"), [(3, 1), (7, 25)])
def test_slots_do_not_matter(whole: Result, slots: int, harvest: int) -> None:
    assert stored(measure(slots=slots, harvest=harvest)) == stored(whole)


def test_slots_do_not_matter_to_the_default(default: Result) -> None:
    assert stored(measure(slots=5, harvest=3, effort=EFFORT)) == stored(default)


def test_shards_do_not_matter(whole: Result, tmp_path: Path) -> None:
    for i in range(2):
        measure(tmp_path / f"part{i}", shard=(i, 2))
    merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")
    joined = Result(tmp_path / "joined")
    assert joined.complete and stored(joined) == stored(whole)


@pytest.mark.parametrize("windows", [2, 5])
def test_halts_do_not_matter(whole: Result, tmp_path: Path, windows: int) -> None:
    halts = 0
    while not (result := measure(tmp_path, slots=6, harvest=2, halt=after(windows))).complete:
        halts += 1
        assert halts < 200
    assert halts >= 3 and stored(result) == stored(whole)


def after(windows: int) -> Callable[[], bool]:
    count = iter(range(10**9))
    return lambda: next(count) >= windows


def test_effort_is_part_of_what_a_run_is(default: Result, tmp_path: Path) -> None:
    assert default.manifest["effort"] == EFFORT
    with pytest.raises(StoreError, match="effort"):
        measure(default.path, effort=1.0)
    assert ("Suite", "standard-1 at 0.25 times its effort") in provenance(default)
    assert "effort=0.25" in (command(default) or "")
