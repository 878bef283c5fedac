"""How deep the search goes: what calibration samples must show for it to stop, and for far samples to be spared."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from holdfast.attacks import bim, fgsm
from holdfast.evaluation.depth import AUDITED, SAMPLES, SMALL, Depth, Gate, Level, calibration_set, depth
from holdfast.evaluation.entry import Entry, History
from holdfast.parts.threats import Linf

ATTACK = fgsm(Linf(0.1))
ENTRIES = [Entry(ATTACK, level=level) for level in (0, 1, 1, 2, 3)]


def table(hits: dict[int, int]) -> pl.DataFrame:
    """Records of one entry: how often each sample was hit."""
    columns = {"sample": list(hits), "hits": list(hits.values()), "broken": [count > 0 for count in hits.values()]}
    kinds = {"sample": pl.Int64, "hits": pl.Int64, "broken": pl.Boolean}
    return pl.DataFrame(columns, schema=kinds).with_columns(forwards=pl.lit(2), backwards=pl.lit(1), status=pl.lit("withstood"))


def history(best: list[float]) -> History:
    """Samples of clean margin 1 whose best margin so far is this; attempts that all ended alike."""
    margin = torch.tensor(best)
    return History(torch.ones_like(margin), margin, margin, margin)


def looked(*tables: dict[int, int], best: list[float] | None = None, converge: float = 0.005) -> Depth:
    """After level 0 (which broke nobody) and these tables, over six samples or as many as `best` has."""
    best = [-0.1] * 6 if best is None else best
    ids, every = torch.arange(len(best)), dict.fromkeys(range(len(best)), 0)
    frames = [table(every), *(table(every | hits) for hits in tables)]
    return depth(ENTRIES, frames, torch.ones(len(ids), dtype=torch.bool), history(best), ids, converge, gated=True)


def test_a_level_that_breaks_nobody_ends_the_search_and_others_are_spared_it():
    found = looked({0: 2}, {1: 1, 0: 1}, {1: 1})
    assert found.levels == (Level(6, 2, 1), Level(6, 0, 0)), "sample 1 has been hit once by level 1, and again by level 2"
    assert found.converged and not found.deeper and found.level == 1


def test_search_goes_on_where_a_level_still_breaks_samples():
    found = looked({0: 3}, {}, {2: 4})
    assert found.levels[-1] == Level(6, 1, 0) and found.deeper and not found.converged


def test_search_goes_on_where_a_sample_was_hit_but_once():
    """What has been seen once says how much has not been seen (Good 1953)."""
    found = looked({0: 1}, {}, {})
    assert found.levels[-1] == Level(6, 0, 1) and found.levels[-1].remaining == 1 and found.deeper


def test_one_level_is_never_enough():
    found = looked({}, {})
    assert found.levels == (Level(6, 0, 0),) and found.deeper


def test_the_last_level_ends_it_without_convergence():
    found = looked({0: 2}, {}, {1: 2}, {2: 1})
    assert len(found.levels) == 3 == found.deepest and not found.converged and not found.deeper and found.level == 3


def test_a_weak_first_level_asks_for_two_silent_ones():
    """Where deeper levels broke more than a third of what level 0 left, one that breaks nobody is no evidence yet."""
    strong = looked({0: 2, 1: 2}, {}, {})
    assert strong.converged, "two of six"
    weak = looked({0: 2, 1: 2}, {2: 2}, {})
    assert not weak.converged and weak.deeper, "three of six"
    assert looked({0: 2, 1: 2}, {2: 2}, {}, {}).converged


def test_some_may_remain_where_the_caller_allows_it():
    assert looked({0: 1}, {}, {}, converge=0.2).converged, "0.2 of six samples are more than one"


def test_nobody_left_is_converged():
    none = torch.zeros(6, dtype=torch.bool)
    found = depth(ENTRIES, [table({})], none, history([0.1] * 6), torch.arange(6), 0.0, gated=True)
    assert found.converged and not found.deeper and found.levels == ()


def test_the_boldest_gate_that_no_fallen_sample_was_beyond_holds():
    best = [-0.9] * AUDITED + [-0.5] * AUDITED + [-0.1] * 4
    quiet = looked({}, {}, {}, best=best)
    assert [gate.spared for gate in quiet.gates] == [AUDITED, AUDITED, 2 * AUDITED, 2 * AUDITED] and quiet.near == 0.3
    fallen = looked({AUDITED: 2}, {}, {}, best=best)
    assert [gate.fallen for gate in fallen.gates] == [0, 0, 1, 1] and fallen.near == 0.6, "one fell beyond 0.45"
    wrong = looked({0: 2}, {}, {}, best=best)
    assert wrong.near is None, "one fell beyond the strictest gate"


def test_too_few_spared_samples_prove_nothing():
    assert looked({}, {}, {}, best=[-0.9] * (AUDITED - 1)).near is None


def test_gates_stay_open_where_margins_mean_nothing():
    best = [-0.9] * AUDITED
    every = dict.fromkeys(range(AUDITED), 0)
    tables = [table(every)] * 4
    surviving = torch.ones(AUDITED, dtype=torch.bool)
    assert depth(ENTRIES, tables, surviving, history(best), torch.arange(AUDITED), 0.0, gated=False).near is None


def test_a_depth_reads_back():
    import json
    from dataclasses import asdict

    found = looked({0: 2}, {1: 1})
    assert Depth.read(json.loads(json.dumps(asdict(found)))) == found
    assert isinstance(found.gates[0], Gate)


def test_the_calibration_set_is_drawn_by_key():
    ids = torch.arange(1000) * 7919
    drawn = calibration_set(ids, seed=3)
    assert len(drawn) == SAMPLES and torch.equal(drawn, drawn.unique())
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert set(ids[order][calibration_set(ids[order], 3)].tolist()) == set(ids[drawn].tolist()), "whatever the order of the data"
    assert not torch.equal(drawn, calibration_set(ids, seed=4))


@pytest.mark.parametrize("n", [1, SMALL])
def test_a_small_data_set_is_its_own_calibration_set(n):
    assert torch.equal(calibration_set(torch.arange(n), 0), torch.arange(n))


def test_from_the_fourth_level_on_attacks_must_have_paid():
    entries = [Entry(one, level=level) for level in range(5) for one in (ATTACK, bim(Linf(0.1)))]
    every = dict.fromkeys(range(6), 0)
    tables = [table(every)] * 2 + [table(every | {0: 2}), table(every)] * 3
    found = depth(entries, tables, torch.ones(6, dtype=torch.bool), history([-0.1] * 6), torch.arange(6), 0.005, gated=True)
    assert found.kept == (("bim", "fgsm"), ("bim", "fgsm"), ("bim", "fgsm"), ("fgsm",))
    assert [found.made(entry) for entry in entries] == [True] * 8 + [True, False]
    everything = depth(entries, tables, torch.ones(6, dtype=torch.bool), history([-0.1] * 6), torch.arange(6), 0.0, gated=True)
    assert all(map(everything.made, entries)), "unless the caller asks for all"


def test_what_a_budget_cut_off_is_no_evidence():
    every = dict.fromkeys(range(6), 0)
    tables = [table(every)] * 3 + [table(every).with_columns(status=pl.lit("unfinished"))]
    found = depth(ENTRIES, tables, torch.ones(6, dtype=torch.bool), history([-0.1] * 6), torch.arange(6), 0.005, gated=True)
    assert found.unfinished == 6 and not found.converged and not found.deeper
