"""Reproductions: tables and figures of documents run again, our figure beside theirs, each trend with a verdict."""

from __future__ import annotations

import time
from typing import Any

from holdfast.core.errors import ConfigError
from holdfast.reproduce import f1, f2, f3, f4, f8, f9, f11, f12
from holdfast.reproduce.bench import Bench
from holdfast.reproduce.finding import Finding, Interval, Table, Trend, paired, slope
from holdfast.reproduce.page import summary, write
from holdfast.reproduce.study import Picture, Reproduction, Study
from holdfast.reproduce.terminal import tell

STUDIES: dict[str, Study] = {
    study.name: study for study in (f1.STUDY, f2.STUDY, f3.STUDY, f4.STUDY, f8.STUDY, f9.STUDY, f11.STUDY, f12.STUDY)
}
"""The studies by name."""


def study_of(name: str) -> Study:
    """A study by name; raises ConfigError where there is none."""
    if name not in STUDIES:
        raise ConfigError(f"reproduction {name!r} is unknown: choose one of {', '.join(STUDIES)} (holdfast list reproductions)")
    return STUDIES[name]


def reproduce(name: str, bench: Bench) -> tuple[Reproduction, dict[str, Any]]:
    """Run a study, write its page into the bench's folder; what it found, and its summary with the page's place.

    Raises ConfigError for a study or data that there are none of, StoreError for a folder of another run.
    """
    study, begin = study_of(name), time.monotonic()
    found = study.run(bench)
    spent = time.monotonic() - begin
    page = write(study, bench, found, spent)
    return found, summary(study, bench, found, spent) | {"report": str(page)}


__all__ = [
    "STUDIES",
    "Bench",
    "Finding",
    "Interval",
    "Picture",
    "Reproduction",
    "Study",
    "Table",
    "Trend",
    "paired",
    "reproduce",
    "slope",
    "study_of",
    "tell",
]
