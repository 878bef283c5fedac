"""The tables against figures worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from holdfast.evaluation import tables
from holdfast.evaluation.store import CLEAN, SCHEMA


def clean() -> pl.DataFrame:
    """Ten samples, eight of them right."""
    rows = [{"sample": i, "label": 0, "prediction": int(i >= 8), "confidence": 0.9, "correct": i < 8} for i in range(10)]
    return pl.DataFrame(rows, schema=CLEAN)


def record(sample: int, attack: str, broken: bool, step: int = -1, forwards: int = 4, size: float | None = None) -> dict[str, object]:
    where = {"sample": sample, "attack": attack, "label": 0, "clean_prediction": 0, "prediction": int(broken)}
    what = {"broken": broken, "success": broken or size is not None, "status": "broken" if broken else "withstood"}
    cost = {"step": step, "forwards": forwards, "backwards": 3, "size": 0.3 if broken and size is None else size}
    return where | what | cost | {"dissimilarity": 0.5 if broken else None, "l2": 1.0 if broken else None, "eight_bit": broken}


def records() -> pl.DataFrame:
    """One attack on the eight, breaking three; a second on the five left, breaking one."""
    first = [record(i, "00-a", i < 3, step=[1, 1, 4][i] if i < 3 else -1) for i in range(8)]
    second = [record(i, "01-b", i == 3, step=2) for i in range(3, 8)]
    return pl.DataFrame(first + second, schema=SCHEMA)


@pytest.mark.parametrize(
    ("of", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (931, 1000, 0.9136, 0.9451), (0, 0, 0.0, 1.0)],
)
def test_wilson(of: int, n: int, low: float, high: float) -> None:
    assert tables.wilson(of, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_all_or_nothing() -> None:
    table = tables.standing(clean(), records())
    assert table["robust"].to_list() == [False] * 4 + [True] * 4 + [False] * 2


def test_by_attack() -> None:
    first, second = tables.by_attack(clean(), records(), ["00-a", "01-b"])
    assert (first["tried"], first["broken"], first["accuracy_after"], first["accuracy_alone"]) == (8, 3, 0.5, 0.5)
    assert (second["tried"], second["broken"], second["accuracy_after"], second["accuracy_alone"]) == (5, 1, 0.4, None)
    assert first["success_rate"] == 3 / 8, "label-based: of the samples tried"
    assert first["altered_rate"] == 3 / 10, "the slide's: altered predictions over all samples"


def test_by_iteration() -> None:
    table = tables.by_iteration(clean(), records(), "00-a")
    assert table["accuracy"].to_list() == [0.8, 0.6, 0.6, 0.6, 0.5]
    assert tables.by_iteration(clean(), records(), "01-b")["accuracy"].to_list() == [0.5, 0.5, 0.4]


def test_by_iteration_leaves_standing_what_an_attack_spared() -> None:
    third = [record(i, "02-c", i == 4, step=1) for i in (4, 5)]
    table = tables.by_iteration(clean(), pl.concat([records(), pl.DataFrame(third, schema=SCHEMA)]), "02-c")
    assert table["accuracy"].to_list() == [0.4, 0.3], "four of ten stood before it, two of which it was not made on"


def test_by_queries() -> None:
    table = tables.by_queries(clean(), records())
    assert table.rows() == [(0, 0.8), (4, 0.5), (8, 0.4)]


def test_by_radius() -> None:
    found = [record(i, "02-curve", False, size=[0.1, 0.2, 0.2, 0.4][i] if i < 4 else None) for i in range(8)]
    table = tables.by_radius(clean(), pl.DataFrame(found, schema=SCHEMA), "02-curve", [0.1, 0.2, 0.3, 0.4])
    assert table["accuracy"].to_list() == [0.8, 0.7, 0.5, 0.5, 0.4]
    assert (table["low"] < table["accuracy"]).all() and (table["accuracy"] < table["high"]).all()
