"""What the studies of feature denoising stand on: nets that start alike, one attack for a whole curve, all or nothing, maps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, Linf, evaluate, load_data
from holdfast.core.types import Batch, Out
from holdfast.defences.layers import OPERATIONS
from holdfast.parts.goals import Untargeted
from holdfast.reproduce import STUDIES, Bench
from holdfast.reproduce.astray import NEVER, Astray, fell, left, toward_random
from holdfast.reproduce.blind import Ensemble, all_or_nothing
from holdfast.reproduce.maps import eased, maps_picture
from holdfast.reproduce.strided import denoising, strided

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))


def linear(seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_denoising_nets_start_as_the_net_without(shape: tuple[int, ...], tmp_path: Path) -> None:
    bench = Bench("digits", tmp_path)
    x = torch.rand(3, *shape)
    plain = bench.fresh(partial(strided, shape))(x).logits
    for operation in OPERATIONS:
        assert torch.allclose(bench.fresh(partial(denoising, shape, operation))(x).logits, plain, atol=1e-5), operation
    more = bench.fresh(partial(denoising, shape, "residual"))
    assert len([name for name, _ in more.net.named_modules() if name.endswith(".shortcut")]) == 6  # type: ignore[union-attr]
    assert more(x).logits.shape == (3, 10)


def test_any_wrong_class_counts_however_it_is_led() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 3.0], [torch.nan, 0.0, 1.0]])
    zero = torch.zeros(4, dtype=torch.int64)
    batch = Batch(logits, zero, zero + 2, Out(logits), zero, zero, zero.double())
    goal = Astray(choose="random")
    assert goal.targeted and goal.wrong(Out(logits), batch).tolist() == [False, True, True, False]
    assert torch.equal(goal.margin(Out(logits), batch)[:3], Untargeted().margin(Out(logits), batch)[:3])


def test_the_first_steps_of_a_long_attack_are_the_short_one(tmp_path: Path) -> None:
    """One run of 60 iterations tells what runs of 20 and of 40 would have left."""
    data, model, threat = load_data("digits", split="test", limit=60), linear(0), Linf(0.4)
    model.net[1].weight.data *= 4  # type: ignore[index]
    data = replace(data, y=torch.where(torch.arange(60) < 50, model(data.x).logits.argmax(dim=1), data.y))
    long = fell(evaluate(model, data, threat, attacks=[toward_random(threat, 60)], out=tmp_path / "60"), 0)
    assert len(long.unique()) > 4 and bool(((long == -1) == (model(data.x).logits.argmax(dim=1) != data.y)).all())
    for count in (20, 40):
        found = evaluate(model, data, threat, attacks=[toward_random(threat, count)], out=tmp_path / str(count))
        assert torch.equal(left(long, count), left(fell(found, 0), NEVER - 1)), count


def test_all_or_nothing_is_every_version_right() -> None:
    data, model = load_data("digits", limit=30), linear(1)
    versions = [replace(data, x=(data.x + 0.3 * torch.rand_like(data.x)).clamp(0, 1)) for _ in range(3)]
    right = [[int(model(one.x[i : i + 1]).logits.argmax()) == int(data.y[i]) for one in versions] for i in range(30)]
    assert all_or_nothing(model, versions).tolist() == [all(row) for row in right]
    both = Classifier(Ensemble(model, linear(2)).eval(), 10)
    assert torch.allclose(both(data.x).logits, (model(data.x).logits + linear(2)(data.x).logits) / 2)


def test_a_block_eases_what_it_takes_of_the_relative_change(tmp_path: Path) -> None:
    class Lifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = nn.Sequential(nn.Identity(), nn.Tanh(), Lifted(), nn.Flatten(), nn.Linear(64, 10)).eval()
    model = Classifier(net, 10)
    data = load_data("digits", split="test", limit=20)
    data = replace(data, y=model(data.x).logits.argmax(dim=1))
    found = evaluate(model, data, Linf(0.3), attacks=["pgd(steps=5)"], out=tmp_path)
    broken = ~torch.from_numpy(found.standing.sort("sample")["robust"].to_numpy().copy())
    assert 0 < int(broken.sum()) <= 20
    ease = eased(model, found, data, ("1", "2"))
    assert torch.equal(~ease.isnan(), broken)
    # The change stays, what it is relative to grows.
    x = data.x.double().flatten(1)[broken].tanh()
    assert torch.allclose(ease[broken], 1 - x.norm(dim=1) / (x + 1).norm(dim=1), atol=1e-5)
    assert maps_picture(model, found, data, ("1", "2")).source.startswith("data:image/png;base64,")


def test_the_studies_are_of_the_talk() -> None:
    assert all("feature denoising" in STUDIES[name].document for name in ("f1", "f2"))
