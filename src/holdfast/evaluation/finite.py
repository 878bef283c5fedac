"""The trust check `finite`: were the answers and gradients under attack numbers at all?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from holdfast.evaluation.check import Check

if TYPE_CHECKING:
    from holdfast.evaluation.result import Result

ANSWERS = 0.01
"""The share of answers, or of samples, from which on NaN is too much."""
GRADIENTS = 0.1
"""The same of gradients: search has other ways than these."""
FEW = 0.001
"""The share of gradients that may be NaN at single points of an honest net, as a norm at zero."""


def finite(result: Result) -> Check:
    """Answers and gradients that were NaN or infinite under attack, which count as robust though they told nothing."""
    counts = result.records.select(pl.col("forwards", "backwards", "nan_forwards", "nan_backwards").sum()).row(0)
    forwards, backwards, nan, lost = (int(value or 0) for value in counts)
    if not forwards:
        return Check("finite", "not run", "no sample was attacked")
    share, gradients = nan / forwards, lost / max(1, backwards)
    survivors = result.standing.filter("robust").select("sample")
    touched = result.records.filter(pl.col("nan_forwards") > 0).select("sample").unique().join(survivors, on="sample").height
    evidence = f"{share:.2%} of the {forwards:,} answers under attack were not numbers (NaN or infinite)"
    evidence += f", on {touched} of {len(survivors)} surviving samples" if nan else ""
    evidence += f"; {gradients:.2%} of the gradients were not" if lost else ""
    if not nan and gradients <= FEW:
        return Check("finite", "pass", evidence)
    wrong = touched > 0 and (share > ANSWERS or touched > max(1, ANSWERS * result.n))
    masked = gradients > GRADIENTS and len(survivors) > 0 and not result.manifest["diagnosis"]["reaction"]["doubtful"]
    return Check("finite", "fail" if wrong or masked else "warn", evidence, _remedy(result, nan > 0))


def _remedy(result: Result, answers: bool) -> str:
    low = result.manifest["once"]["choice"]["dtype"]
    if low is not None:
        return (
            f"search asked a copy in {low}: evaluate again with --no-replica (replica=False); if it stays, mend the net as float32 shows it"
        )
    if answers:
        return (
            "what is not a number was counted as robust: find the overflow, logarithm, root or division in the net, and evaluate in float32"
        )
    return "the gradient is masked: find the root, norm or division whose derivative is NaN, and add an attack without gradients (square)"
