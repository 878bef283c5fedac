"""Budgets: no sample costs more forwards than it may, and a run that is stopped has lost nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conformance.bench import flat
from conformance.suite import assert_same
from holdfast import attacks
from holdfast.core.errors import ConfigError
from holdfast.engine import clean_answers
from holdfast.engine.pieces import Asker, Pieces

from .lines import after, line, script


@pytest.mark.parametrize("queries", [3, 4, 5, 9, 10])
@pytest.mark.parametrize("asks", [1, 2, 3])
def test_a_row_never_passes_its_own_budget(queries: int, asks: int) -> None:
    attack = script((0.0, 0.0, 0.0, 0.7), steps=20, queries=queries, asks=asks)
    if asks + 2 > queries:
        return
    outcome = line(attack, slots=2)
    assert bool((outcome.forwards - 1 <= queries).all()) and outcome.complete
    assert bool(outcome.success.all()) == (4 * asks + 2 <= queries)


def test_a_budget_too_small_to_verify_a_claim_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least"):
        line(script((0.7,), queries=2))


@pytest.mark.parametrize("budget", [0, 3, 8, 9, 15, 40])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", ["pgd", "cosine"])
def test_a_sample_never_passes_its_budget(budget: int, given: bool, name: str) -> None:
    starts = ("diversified", "corner")
    attack = attacks.pgd(0.08, steps=30, restarts=3) if name == "pgd" else attacks.cosine(0.08, steps=30, restarts=3, starts=starts)
    case = flat()
    queries = torch.full((len(case.samples),), budget)
    clean = clean_answers(case.model, case.samples, Asker(Pieces())) if given else None
    outcome = case.run(attack, slots=5, queries=queries, clean=clean)
    assert bool((outcome.forwards <= queries.clamp_min(0 if given else 1)).all())
    # A sample that was cut short is not called finished, unless it fell before.
    assert bool((outcome.done | ~outcome.success).all()) and not outcome.complete


def test_a_generous_budget_changes_nothing() -> None:
    case = flat()
    attack = attacks.pgd(0.08, steps=30, restarts=3)
    free, rich = case.run(attack, slots=5), case.run(attack, slots=5, queries=torch.full((len(case.samples),), 10_000))
    assert rich.complete and torch.equal(rich.success, free.success) and torch.equal(rich.forwards, free.forwards)


def test_budgets_do_not_make_samples_depend_on_each_other() -> None:
    case = flat()
    queries = torch.arange(len(case.samples)) * 3
    attack = attacks.pgd(0.08, steps=30, restarts=2)
    assert_same(case.run(attack, queries=queries), case.run(attack, slots=3, harvest=4, queries=queries), why="3 slots with budgets")


def test_positions_not_asked_for_are_left_out() -> None:
    case = flat()
    todo = torch.tensor([3, 4, 11])
    outcome = case.run(attacks.pgd(0.2, steps=4), todo=todo)
    assert outcome.complete
    rest = torch.ones(len(case.samples), dtype=torch.bool)
    rest[todo] = False
    assert not bool(outcome.success[rest].any())
    assert bool((outcome.forwards[rest] == 1).all()) and bool((outcome.forwards[todo] > 1).all())
    whole = case.run(attacks.pgd(0.2, steps=4))
    assert torch.equal(outcome.adversarial[todo], whole.adversarial[todo])


def test_a_halted_run_is_not_complete_and_loses_nothing(tmp_path: Path) -> None:
    case, attack = flat(), attacks.pgd(0.08, steps=6, restarts=3)
    halted = case.run(attack, slots=5, snapshot=tmp_path / "state", halt=after(10))
    assert not halted.complete and bool(halted.success.any())
    whole = case.run(attack, slots=5)
    assert bool((whole.success | ~halted.success).all()), "a halted run claims nothing that the whole run does not"
    ready = halted.done.nonzero().squeeze(1)
    assert torch.equal(halted.adversarial[ready], whole.adversarial[ready])
    assert torch.equal(halted.forwards[ready], whole.forwards[ready])
    assert_same(whole, case.run(attack, slots=5, snapshot=tmp_path / "state"), why="resumed")


def test_a_halt_at_the_very_end_leaves_a_complete_run() -> None:
    case, attack = flat(), attacks.fgsm(0.1)
    outcome = case.run(attack, halt=lambda: True)
    assert outcome.complete
    assert_same(case.run(attack), outcome, why="halted at the end")


def test_progress_counts_up_to_all_rows() -> None:
    heard = []
    case = flat()
    outcome = case.run(attacks.pgd(0.08, steps=6, restarts=2), slots=5, watch=heard.append)
    assert heard[-1].rows == heard[-1].total
    assert [event.rows for event in heard] == sorted(event.rows for event in heard)
    assert heard[-1].broken == int((outcome.success & ~outcome.wrong).sum())
