"""A run that is killed, halted or copied at any moment goes on to the same weights, bit for bit."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import small_runs
import torch
from small_runs import RECIPES, Weights, classifier, images, run, weights
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from holdfast import Linf
from holdfast.core.errors import StoreError
from holdfast.engine.snapshot import Snapshots
from holdfast.training import Trained, objectives, train, trainer
from holdfast.training.checkpoint import Checkpoint, Progress


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def story(trained: Trained) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "Snapshots", partial(Snapshots, apart=0.0, least=0.0))


def test_killed_at_random_moments_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    """With dropout, batch norm, augmentation, an average of the weights, and a memory from step to step."""
    name = "free"
    context = multiprocessing.get_context("forkserver")
    # What takes long to import, imported once.
    context.set_forkserver_preload(["holdfast.training", "lightning_fabric"])
    moments, codes = random.Random(name), []
    for kill in [*(moments.uniform(0.0, 0.05) for _ in range(5)), None]:
        process = context.Process(target=small_runs.killed, args=(name, tmp_path, kill))
        process.start()
        process.join(120)
        codes.append(process.exitcode)
        if codes[-1] == 0:
            break
    assert codes[0] == -9
    assert codes[-1] == 0
    assert set(codes) == {-9, 0}
    assert same(torch.load(tmp_path / "weights"), weights(run(name)))


@pytest.mark.parametrize("name", list(RECIPES))
def test_it_goes_on_from_the_snapshot_of_any_step(name: str, tmp_path: Path, every_step: None) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()

    def watch(step: int, steps: int, row: dict[str, float]) -> None:
        # The snapshot of the step before: this one's is yet to be written.
        if step > 1:
            shutil.copy(tmp_path / "whole" / "train.snapshot", kept / str(step - 1))

    whole = train(classifier(), images(), RECIPES[name], threat=Linf(0.1), held=10, out=tmp_path / "whole", watch=watch)
    steps = len(whole.losses)
    for step in sorted({1, steps // 3, steps // 3 + 1, steps - 2}):
        folder = tmp_path / f"from{step}"
        folder.mkdir()
        shutil.copy(kept / str(step), folder / "train.snapshot")
        heard: list[int] = []
        again = train(
            classifier(),
            images(),
            RECIPES[name],
            threat=Linf(0.1),
            held=10,
            out=folder,
            watch=lambda step, *_, heard=heard: heard.append(step),
        )
        assert heard == list(range(step + 1, steps + 1))
        assert same(weights(again), weights(whole))
        assert torch.equal(again.losses, whole.losses)
        assert story(again) == story(whole)


def test_halted_and_gone_on_is_unhalted(tmp_path: Path) -> None:
    whole, trained, sessions = run("pgd"), None, 0
    while trained is None or not trained.complete:
        asked = iter(range(10))
        trained = train(classifier(), images(), RECIPES["pgd"], Linf(0.1), 10, tmp_path, halt=lambda asked=asked: next(asked) == 4)  # type: ignore[misc]
        sessions += 1
        assert len(trained.losses) == min(4 * sessions, len(whole.losses))
    assert same(weights(trained), weights(whole))
    assert story(trained) == story(whole)
    # What is complete is read again, not trained again.
    again = train(classifier(), images(), RECIPES["pgd"], Linf(0.1), 10, tmp_path, watch=lambda *_: pytest.fail("a step was made"))
    assert same(weights(again), weights(whole))


def test_a_halt_before_the_first_step_keeps_the_weights(tmp_path: Path) -> None:
    model = classifier()
    trained = train(model, images(), RECIPES["pgd"], out=tmp_path, halt=lambda: True)
    assert not trained.complete
    assert len(trained.losses) == len(trained.history) == 0
    assert same(weights(trained), classifier().net.state_dict())  # type: ignore[attr-defined]


def test_the_same_call_twice_gives_the_same_weights_and_leaves_the_callers_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = run("free")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = run("free")
    assert same(weights(one), weights(other))
    assert torch.equal(one.losses, other.losses)
    assert not same(weights(one), weights(train(classifier(), images(), RECIPES["free"], Linf(0.1), 10, seed=1)))


def test_the_scale_of_a_float16_loss_goes_on(tmp_path: Path) -> None:
    def made(scale: float) -> Checkpoint:
        net = nn.Linear(2, 2)
        optimiser = SGD(net.parameters(), 0.1)
        scaling = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)
        return Checkpoint(net, None, optimiser, LambdaLR(optimiser, lambda step: 1.0), {}, {}, Progress(torch.zeros(1)), scaling)

    snapshots, one, other = Snapshots(tmp_path / "snapshot"), made(1024.0), made(2.0)
    one.write(snapshots, "one")
    assert other.read(snapshots, "one")
    assert other.scaling.state_dict() == one.scaling.state_dict()
    assert other.scaling.state_dict()["scale"] == 1024.0


def test_the_snapshot_of_another_run_is_refused(tmp_path: Path) -> None:
    recipe, data = RECIPES["pgd"], images()
    train(classifier(), data, recipe, Linf(0.1), 10, tmp_path, halt=lambda: True)
    others = [
        partial(train, classifier(), data, replace(recipe, rate=0.2), Linf(0.1), 10, tmp_path),
        partial(train, classifier(), data, replace(recipe, objective=objectives.pgd(0.2, steps=2)), Linf(0.1), 10, tmp_path),
        partial(train, classifier(), data, recipe, Linf(0.2), 10, tmp_path),
        partial(train, classifier(), data, recipe, Linf(0.1), 11, tmp_path),
        partial(train, classifier(), data, recipe, Linf(0.1), 10, tmp_path, seed=1),
        partial(train, classifier(), images(41), recipe, Linf(0.1), 10, tmp_path),
        partial(train, classifier(grouped=True), data, recipe, Linf(0.1), 10, tmp_path),
    ]
    for other in others:
        with pytest.raises(StoreError, match="holds another run"):
            other()


def test_a_snapshot_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    train(classifier(), images(), RECIPES["pgd"], out=tmp_path, halt=lambda: True)
    file = tmp_path / "train.snapshot"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StoreError, match="cannot be read"):
        train(classifier(), images(), RECIPES["pgd"], out=tmp_path)
