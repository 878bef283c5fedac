"""Verdicts follow from intervals, and intervals keep their word."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from holdfast.evaluation.tables import Rate
from holdfast.reproduce import Finding, Interval, Trend, paired, slope


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "confirmed"), (-0.2, -0.01, "refuted"), (-0.1, 0.2, "undecided"), (0.0, 0.2, "undecided"), (-0.2, 0.0, "undecided"),
        (0.0, 0.0, "undecided"), (math.nan, math.nan, "undecided"),
    ],
)  # fmt: skip
def test_the_verdict_is_where_the_interval_lies(low: float, high: float, verdict: str) -> None:
    found = Interval((low + high) / 2, low, high)
    trend = Trend.of("it rises", found, "rise")
    assert trend.verdict == verdict and f"{100 * low:+.1f} to {100 * high:+.1f}" in trend.evidence
    opposite = {"confirmed": "refuted", "refuted": "confirmed"}.get(verdict, verdict)
    assert Trend.of("it falls", found.turned, "fall").verdict == opposite


def test_a_share_has_its_wilson_interval_and_the_documents_figure() -> None:
    one = Finding.of("a", Rate(8, 10), 0.9)
    assert (one.document, one.ours) == (0.9, 0.8)
    assert (one.low, one.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize(("ups", "downs", "n"), [(30, 10, 400), (5, 0, 100), (0, 0, 50), (60, 60, 200), (0, 90, 100)])
def test_paired_is_near_the_adjusted_normal_interval(ups: int, downs: int, n: int) -> None:
    """Bonett & Price 2012: one more in either discordant cell, then the normal interval."""
    values = torch.cat([torch.ones(ups), -torch.ones(downs), torch.zeros(n - ups - downs)])
    found = paired(values)
    up, down = (ups + 1) / (n + 2), (downs + 1) / (n + 2)
    half = 1.96 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    assert found.value == pytest.approx((ups - downs) / n)
    assert (found.low, found.high) == pytest.approx((up - down - half, up - down + half), abs=0.3 * half)


def test_paired_covers_the_truth_and_takes_no_sides() -> None:
    generator = torch.Generator().manual_seed(1)
    chances, means = torch.tensor([0.1, 0.75, 0.15]), 0.05
    held = []
    for _ in range(200):
        drawn = torch.multinomial(chances, 150, replacement=True, generator=generator).double() - 1
        found, other = paired(drawn), paired(-drawn)
        held.append(found.low <= means <= found.high)
        assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=0.02)
    # Of 200 intervals 190 hold the truth on average; fewer than 180 would be one chance in ten thousand.
    assert sum(held) >= 180


def test_few_samples_or_none_decide_nothing() -> None:
    for values in (torch.ones(0), torch.ones(1), torch.ones(3)):
        found = paired(values)
        assert found.low <= 0 <= found.high
        assert Trend.of("it rises", found, "rise").verdict == "undecided"


def _ordinary(columns: list[torch.Tensor], places: list[float]) -> float:
    """Least squares through the means, by the normal equations."""
    x = torch.tensor(places).double().log10()
    design = torch.stack([torch.ones_like(x), x], dim=1)
    means = torch.stack([column.double().mean() for column in columns])
    return float(torch.linalg.lstsq(design, means[:, None]).solution[1])


@pytest.mark.parametrize("rise", [lambda u, t: u < 0.2 + 0.2 * math.log10(t), lambda u, t: u < 0.5, lambda u, t: u < 0.9 / t])
def test_slope_is_that_of_least_squares(rise: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
    places = [1.0, 4.0, 30.0, 100.0]
    u = torch.rand(300, generator=torch.Generator().manual_seed(2))
    columns = [rise(u, place) for place in places]
    found = slope(columns, places)
    assert found.value == pytest.approx(_ordinary(columns, places), abs=1e-9)
    assert found.low < found.high
    flat = all(bool((column == columns[0]).all()) for column in columns)
    assert (found.low <= 0 <= found.high) == flat
