"""A cascade, ours and the default one, on a net for real digits: who is attacked, and how far, is each sample's own matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from holdfast.data import Dataset, load_data
from holdfast.engine import Pieces
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.store import Store
from holdfast.evaluation.suites import DEFAULT, SUITES
from holdfast.models import mlp
from holdfast.report.provenance import command, provenance

EFFORT = 0.25
Suite = Callable[[Threat], list[Entry]]


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


def levels(threat: Threat) -> list[Entry]:
    """Three levels; the first two break samples, so that calibration samples lead all others into a level of depth."""
    restarted = cosine(threat, steps=4, restarts=2, starts=("corner", "uniform"), share=1.0)
    return [
        Entry(fgsm(threat)),
        Entry(restarted, level=1),
        Entry(apgd_targeted(threat, steps=5, rivals=2), level=1),
        Entry(square(threat, steps=30), level=2),
        Entry(cosine(threat, steps=6, restarts=2, starts=("uniform",)), level=2),
        Entry(apgd_targeted(threat, steps=8, rivals=3), level=3),
    ]


def measure(
    out: Path | None = None,
    slots: int = 64,
    harvest: int = 10,
    effort: float = 1.0,
    suite: Suite = cascade,
    flip: bool = False,
    **more: Any,
) -> Result:
    """A run of `suite` under the name of the default one, whose own entries an effort other than 1 asks for; `flip`: the data in another
    order. Six of the samples are drawn for calibration."""
    model, x, y = digits()
    order = torch.arange(len(x) - 1, -1, -1) if flip else torch.arange(len(x))
    data = Dataset(x[order], y[order], order, name="digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, DEFAULT, suite)
        for name, value in (("SMALL", 6), ("SAMPLES", 6), ("AUDITED", 2)):
            patch.setattr(f"holdfast.evaluation.depth.{name}", value)
        return evaluate(
            model, data, Linf(0.08), out=out, slots=slots, harvest=harvest, effort=effort, pieces=Pieces(16), trust=False, **more
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
def deep(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return measure(tmp_path_factory.mktemp("levels") / "whole", suite=levels)


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
    assert ("Suite", "standard-2 at 0.25 times its effort") in provenance(default)
    assert "effort=0.25" in (command(default) or "")


def test_calibration_samples_are_attacked_deeper_than_the_others(deep: Result) -> None:
    found = deep.depth
    assert deep.complete and found is not None and len(found.levels) >= 2 and found.surviving > 0
    calibration = set(deep.store.calibration().samples()[0].tolist())
    assert len(calibration) == 6 and deep.n == 16
    last = [entry["label"] for entry in deep.manifest["attacks"] if entry["level"] == len(found.levels)]
    tried = set(deep.records.filter(deep.records["attack"].is_in(last))["sample"])
    assert tried and tried <= calibration if found.converged else tried - calibration
    others = [entry["label"] for entry in deep.manifest["attacks"] if entry["level"] <= found.level]
    assert set(deep.records.filter(deep.records["attack"].is_in(others))["sample"]) - calibration
    assert deep.clean["sample"].to_list() == list(range(16)), "in the order of the data"
    assert (deep.adversarial[~deep.standing["robust"].to_numpy()] != digits()[1].numpy()[~deep.standing["robust"].to_numpy()]).any()


@pytest.mark.parametrize(("slots", "harvest"), [(3, 1), (7, 25)])
def test_slots_do_not_matter_to_levels(deep: Result, slots: int, harvest: int) -> None:
    assert stored(measure(slots=slots, harvest=harvest, suite=levels)) == stored(deep)


def test_shards_do_not_matter_to_levels(deep: Result, tmp_path: Path) -> None:
    for i in range(3):
        measure(tmp_path / f"part{i}", shard=(i, 3), suite=levels)
    merge(tmp_path / "joined", *(tmp_path / f"part{i}" for i in range(3)))
    joined = Result(tmp_path / "joined")
    assert joined.complete and stored(joined) == stored(deep) and joined.depth == deep.depth
    assert joined.adversarial.tobytes() == deep.adversarial.tobytes()


def test_shards_that_decided_otherwise_are_not_merged(tmp_path: Path) -> None:
    for i in range(2):
        measure(tmp_path / f"part{i}", shard=(i, 2), suite=levels)
    part = Store(tmp_path / "part1").calibration()
    found = part.depth()
    assert found is not None
    part.write_depth(replace(found, levels=found.levels[:-1]))
    with pytest.raises(StoreError, match="decided otherwise"):
        merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")


def test_order_does_not_matter_to_levels(deep: Result) -> None:
    assert stored(measure(suite=levels, flip=True))[:2] == stored(deep)[:2]


@pytest.mark.parametrize("windows", [2, 5])
def test_halts_do_not_matter_to_levels(deep: Result, tmp_path: Path, windows: int) -> None:
    halts = 0
    while not (result := measure(tmp_path, slots=6, harvest=2, halt=after(windows), suite=levels)).complete:
        halts += 1
        assert halts < 200
    assert halts >= 3 and stored(result) == stored(deep)
