"""No honest net fails a trust check: small nets taught on real digits, in every norm, and a hardened one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from holdfast import L0, L1, L2, Classifier, Linf, evaluate
from holdfast.core.types import Threat
from holdfast.data import load_data
from holdfast.engine import Pieces
from holdfast.evaluation import evidence, trials
from holdfast.models import mlp
from holdfast.models.load import load_net


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer survivors and queries than a run has, for speed."""
    monkeypatch.setattr(evidence, "SURVIVORS", 8)
    monkeypatch.setattr(evidence, "PLANTS", 6)
    monkeypatch.setattr(trials, "QUERIES", 300)


@cache
def digits(hidden: int) -> tuple[Classifier, Tensor, Tensor]:
    taught, data = load_data("digits", split="train", limit=600), load_data("digits", limit=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(64, 10, (hidden,))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(taught.x), taught.y).backward()
        optimizer.step()
    return Classifier(net.eval(), 10), data.x, data.y


@pytest.mark.parametrize("threat", [Linf(0.06), L2(0.3), L1(1.0), L0(2.0)], ids=str)
def test_a_small_net_in_every_norm(threat: Threat) -> None:
    model, x, y = digits(24)
    result = evaluate(model, (x, y), threat, effort=0.25, pieces=Pieces(64))
    assert {check.name: check.evidence for check in result.checks if check.status == "fail"} == {}
    tried = {check.name for check in result.checks if check.status in ("pass", "warn")}
    assert {"sane", "finite", "gradients", "more_steps", "minimum_norm", "unbounded"} <= tried or result.robust_rate.of == 0


def test_a_hardened_net(data_dir: Path) -> None:
    net = load_net("lenet5", data_dir / "models" / "mnist_lenet5_adv.safetensors").eval()
    data = load_data(f"npz:{data_dir / 'mnist' / 'mnist.npz'}", limit=24)
    result = evaluate(Classifier(net, 10), data, Linf(0.3), effort=0.25, pieces=Pieces(64))
    assert result.robust_accuracy > 0.7
    assert {check.name: check.evidence for check in result.checks if check.status == "fail"} == {}
