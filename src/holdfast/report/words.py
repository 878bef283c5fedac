"""How numbers are written in a report: one way for the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from holdfast.evaluation.tables import Rate

NONE = "–"
"""What stands where there is no number."""


def percent(share: float | None) -> str:
    """A share in [0, 1] to a tenth of a per cent; what is not all is never rounded to all, nor something to nothing.

    >>> percent(0.931), percent(0.9999), percent(0.0)
    ('93.1 %', '> 99.9 %', '0.0 %')
    """
    if share is None or not math.isfinite(share):
        return NONE
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def interval(rate: Rate) -> str:
    """The 95 % Wilson interval of a rate.

    >>> interval(Rate(8, 10))
    '49.0–94.3 %'
    """
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %"


def count(number: float | None) -> str:
    """A whole number with its thousands set apart."""
    return NONE if number is None else f"{round(number):,}"


def counted(number: int, noun: str) -> str:
    """A whole number with its noun.

    >>> counted(1, "sample"), counted(1200, "sample")
    ('1 sample', '1,200 samples')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def figure(number: float | None) -> str:
    """A measured number to four digits.

    >>> figure(0.30000004), figure(12345.6), figure(None)
    ('0.3', '12,346', '–')
    """
    if number is None or math.isnan(number):
        return NONE
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"


def seconds(spent: float) -> str:
    """A duration.

    >>> seconds(0.25), seconds(754.0), seconds(7384.0)
    ('0.25 s', '12 min 34 s', '2 h 3 min')
    """
    if spent < 120:
        return f"{spent:.2f} s" if spent < 10 else f"{spent:.1f} s"
    minutes, rest = divmod(round(spent), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["fgsm", "pgd", "deepfool"])
    'fgsm, pgd and deepfool'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
