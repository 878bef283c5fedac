"""The verdict names the number, what it speaks of, and every reason to doubt it."""

from __future__ import annotations

import pytest
from report_bands import RADII, Make, bands

from holdfast.evaluation import Result
from holdfast.evaluation.check import Check
from holdfast.report import verdict


def test_names_the_number_and_what_it_is_worth(make: Make) -> None:
    x, y = bands()
    assert verdict(make(x, y)) == (
        "Of 12 samples, the model classifies 100.0 % right (95 % interval 75.8–100.0 %); 58.3 % (32.0–80.7 %) withstood "
        "fgsm, pgd and deepfool within Linf 0.125. This is an upper bound: an attack that was not made may break more."
    )


def test_names_the_suite(make: Make) -> None:
    run = make(*bands((0.1, 0.5)), attacks=(), suite="quick-1", radii=RADII, radius=8 / 255)
    assert "withstood every attack of quick-1 and of the curve over radii within Linf 8/255." in verdict(run)


def test_an_unfinished_run_is_not_called_withstood(halted_run: Result) -> None:
    words = verdict(halted_run)
    assert "withstood what has been tried so far of fgsm, pgd and deepfool" in words
    assert "of 3 attacks ended), so these numbers are provisional." in words
    # Said once, not again as a warning.
    assert "“finished”" not in words


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        (["pass", "not run"], None),
        (["warn", "pass"], "Read it with care: the trust check “c0” warns."),
        (["warn", "warn"], "Read it with care: the trust checks “c0” and “c1” warn."),
        (["fail", "warn"], "Do not rely on this number: the trust check “c0” failed. Read it with care: the trust check “c1” warns."),
    ],
)
def test_doubts_are_named(bands_run: Result, statuses: list[str], words: str | None) -> None:
    run = Result(bands_run.path)
    run.checks = [Check(f"c{i}", status, "evidence") for i, status in enumerate(statuses)]  # type: ignore[arg-type]
    assert verdict(run).endswith(words or "may break more.")
