"""Training in two processes is training in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs
import torch
from small_runs import SHARED, shared


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    out = tmp_path_factory.mktemp("doubled")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, small_runs.__file__, str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize(("place", "name"), list(enumerate(SHARED)))
def test_the_loss_curve_and_weights_are_those_of_one_process(place: int, name: str, doubled: Path) -> None:
    weights, facts = shared(name)
    assert name != "fifty steps" or len(facts["losses"]) == 50
    for rank in (0, 1):
        found = json.loads((doubled / f"{place}.{rank}.json").read_text())
        assert found.keys() == facts.keys()
        for key, values in facts.items():
            assert found[key] == pytest.approx(values, abs=1e-6, rel=0), key
        stored = torch.load(doubled / f"{place}.{rank}.weights")
        assert stored.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(stored[key], tensor, atol=1e-6, rtol=0)


def test_what_cannot_be_shared_out_is_refused_in_one_line(doubled: Path) -> None:
    for rank in (0, 1):
        assert (doubled / f"odd.{rank}").read_text() == "batch=7 over 2 processes: expected a multiple of their number"
        assert (doubled / f"free.{rank}").read_text().startswith("Free carries a memory from step to step: train it in one process")
