"""Snapshots: a kill at any moment leaves a good one, also on nets whose last bits are not the row's own; a foreign one is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from conformance.bench import Case, Counted, case, convolutional, flat
from conformance.suite import assert_same, resumed
from holdfast import attacks
from holdfast.core.errors import StoreError
from holdfast.engine import Setting, run

from .lines import after


@pytest.mark.parametrize("attack", [attacks.apgd(0.05, steps=8, restarts=2), attacks.mi_fgsm(0.05), attacks.deepfool(steps=5)], ids=str)
@pytest.mark.parametrize("windows", [1, 4])
def test_kills_do_not_matter_on_any_net(attack: attacks.pgd, windows: int) -> None:
    some = case((2, 4, 4), n=12, net=convolutional())
    assert_same(some.run(attack, slots=5), resumed(attack, some, windows), why=f"killed after every {windows} windows")


def test_kills_do_not_matter_to_a_stochastic_net() -> None:
    some = noisy()
    attack = attacks.pgd(0.1, steps=6, restarts=2)
    assert_same(some.run(attack, slots=5), resumed(attack, some, 2), why="killed, with noise in the net")


def noisy() -> Case:
    net = convolutional()
    net[3].train()
    made = case((2, 4, 4), n=6, net=convolutional())
    return Case(net, made.samples, stochastic=True)


def test_what_was_asked_before_the_kill_stays_counted(tmp_path: Path) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6, restarts=2)
    net = Counted(some.net)
    counted = Case(net, some.samples)
    counted.run(attack, slots=5, snapshot=tmp_path / "state", halt=after(7))
    outcome = counted.run(attack, slots=5, snapshot=tmp_path / "state")
    assert int(outcome.forwards.sum()) + outcome.wasted_forwards == net.forwards
    assert int(outcome.backwards.sum()) + outcome.wasted_backwards == net.backwards


def test_examples_found_before_the_kill_are_in_the_callers_array_too(tmp_path: Path) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6)
    array = some.samples.x.clone()
    some.run(attack, slots=5, snapshot=tmp_path / "state", halt=after(9), adversarial=array)
    outcome = some.run(attack, slots=5, snapshot=tmp_path / "state", adversarial=array)
    assert outcome.adversarial is array
    assert_same(some.run(attack, slots=5), outcome, why="into the caller's array")


def test_a_snapshot_of_another_run_is_refused(tmp_path: Path) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6)
    snapshot = tmp_path / "state"
    some.run(attack, slots=5, snapshot=snapshot, halt=after(3))
    for call in (
        lambda: some.run(attacks.pgd(0.08, steps=7), snapshot=snapshot),
        lambda: some.run(attack, snapshot=snapshot, seed=1),
        lambda: some.at(torch.arange(5)).run(attack, snapshot=snapshot),
    ):
        with pytest.raises(StoreError, match="another"):
            call()


def test_a_torn_snapshot_is_named(tmp_path: Path) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6)
    snapshot = tmp_path / "state"
    some.run(attack, slots=5, snapshot=snapshot, halt=after(3))
    for content in (b"", snapshot.read_bytes()[:40], b"\0" * 100):
        snapshot.write_bytes(content)
        with pytest.raises(StoreError, match="delete it"):
            some.run(attack, slots=5, snapshot=snapshot)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        flat().run(attacks.pgd(0.08, steps=6), slots=5, snapshot=tmp_path / "none" / "state", halt=after(2))
    assert os.listdir(tmp_path) == []


def test_a_killed_write_leaves_the_last_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6, restarts=2)
    snapshot = tmp_path / "state"
    some.run(attack, slots=5, snapshot=snapshot, halt=after(4))

    def torn(source: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", torn)
        with pytest.raises(KeyboardInterrupt):
            some.run(attack, slots=5, snapshot=snapshot, halt=after(4))
    assert_same(some.run(attack, slots=5), some.run(attack, slots=5, snapshot=snapshot), why="killed while it wrote")


def test_a_finished_run_asked_again_says_the_same(tmp_path: Path) -> None:
    some, attack = flat(), attacks.pgd(0.08, steps=6)
    first = run(attack, some.model, some.samples, Setting(slots=5), snapshot=tmp_path / "state", halt=lambda: True)
    while not first.complete:
        first = run(attack, some.model, some.samples, Setting(slots=5), snapshot=tmp_path / "state", halt=lambda: True)
    again = run(attack, some.model, some.samples, Setting(slots=5), snapshot=tmp_path / "state")
    assert_same(first, again, why="asked again")
