"""The trust check `sane`: is this the model, with these inputs and labels, that was meant?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from holdfast.evaluation.check import Check, Status
from holdfast.evaluation.tables import Rate

if TYPE_CHECKING:
    from holdfast.evaluation.result import Result

SETUP = "check the normalisation (--mean/--std), that trained weights were loaded (--weights), and the order of the classes"
FEW, SURE = 20, 50
"""Fewer samples than the first say nothing about chance, fewer than the second are no proof."""
COMMON = 20
"""Samples of one class from which on a net that never answers it is remarkable: one in a thousand nets that find only every third."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with the clean answers."""

    status: Status
    evidence: str
    remedy: str


def sane(result: Result) -> Check:
    """Clean answers near chance, all alike, without a common class, or right in another order of the classes: a wrong set-up."""
    clean, classes = result.clean, int(result.manifest["model"]["classes"])
    if len(clean) < FEW:
        return Check("sane", "not run", f"{len(clean)} samples are too few to tell a wrong set-up from chance")
    counts = clean.group_by("label", "prediction").len("n")
    findings = [found for found in (_order(counts), _chance(clean, classes), _constant(clean), _majority(clean), _missing(counts)) if found]
    if not findings:
        rate = Rate(int(clean["correct"].sum()), len(clean))
        return Check("sane", "pass", f"clean accuracy {rate.value:.1%} of {classes} classes, of which {_answered(clean)} are answered")
    # The first is the one that explains the others.
    worst = next((found for found in findings if found.status == "fail"), findings[0])
    return Check("sane", worst.status, "; ".join(found.evidence for found in findings), worst.remedy)


def _answered(clean: pl.DataFrame) -> int:
    return clean["prediction"].n_unique()


def _order(counts: pl.DataFrame) -> Finding | None:
    """Classes that are answered as another one each: the labels and the net count in different orders.

    Of each class with five samples or more: its commonest answer, given to half of them at least, which is no other class's commonest.
    """
    most = counts.sort("n", "prediction", descending=[True, False]).group_by("label", maintain_order=True).first()
    total = counts.group_by("label").agg(total=pl.col("n").sum())
    most = most.join(total, on="label").with_columns(rivals=pl.len().over("prediction"))
    own = pl.col("label") == pl.col("prediction")
    moved = most.filter(~own, pl.col("rivals") == 1, pl.col("total") >= 5, 2 * pl.col("n") >= pl.col("total"))
    gain, n = int(moved["n"].sum()), int(counts["n"].sum())
    if len(moved) < 2 or gain < 0.1 * n:
        return None
    pairs = ", ".join(f"{row['label']} as {row['prediction']}" for row in moved.sort("label").head(3).to_dicts())
    right = int(counts.filter(own)["n"].sum())
    evidence = f"{len(moved)} classes are answered as another one each ({pairs}): in that order {(right + gain) / n:.1%} would be right"
    return Finding("fail", evidence, "the labels and the net number the classes differently: give the labels in the net's order")


def _chance(clean: pl.DataFrame, classes: int) -> Finding | None:
    """An accuracy within a tenth of the way from 1 / classes to 1, and one that leaves no room for much more."""
    rate, chance = Rate(int(clean["correct"].sum()), len(clean)), 1 / classes
    if rate.value >= chance + 0.1 * (1 - chance) or rate.high >= chance + 0.4 * (1 - chance):
        return None
    status: Status = "fail" if rate.n >= SURE and rate.high < chance + 0.3 * (1 - chance) else "warn"
    return Finding(status, f"clean accuracy {rate.value:.1%} is near the {chance:.1%} of guessing among {classes} classes", SETUP)


def _constant(clean: pl.DataFrame) -> Finding | None:
    """One answer to (nearly) everything, though the labels differ."""
    answer, share = _commonest(clean["prediction"])
    if share < 0.99 or _commonest(clean["label"])[1] >= 0.9:
        return None
    return Finding("fail", f"the answer is class {answer} for {share:.1%} of the samples", SETUP)


def _majority(clean: pl.DataFrame) -> Finding | None:
    """No better than always answering the commonest label, by the accuracy and by the mean of the classes' recalls."""
    label, share = _commonest(clean["label"])
    recalls = clean.group_by("label").agg(n=pl.len(), recall=pl.col("correct").mean()).filter(pl.col("n") >= 5)["recall"].to_list()
    accuracy = int(clean["correct"].sum()) / len(clean)
    if len(recalls) < 2 or accuracy > share or sum(recalls) / len(recalls) > 1.1 / len(recalls):
        return None
    words = f"clean accuracy {accuracy:.1%} is no better than always answering class {label}, which {share:.1%} of the labels are"
    return Finding("warn", words, SETUP)


def _missing(counts: pl.DataFrame) -> Finding | None:
    """Classes with many samples that are never answered."""
    answered = counts["prediction"].unique().to_list()
    total = counts.group_by("label").agg(total=pl.col("n").sum()).filter(pl.col("total") >= COMMON, ~pl.col("label").is_in(answered))
    if total.is_empty():
        return None
    names = ", ".join(str(label) for label in total["label"].sort().head(5).to_list())
    n = int(total["total"].sum())
    return Finding("warn", f"class {names} is never answered, though {n} samples have that label", SETUP)


def _commonest(column: pl.Series) -> tuple[int, float]:
    """The commonest value and its share."""
    top = column.value_counts(sort=True).row(0)
    return int(top[0]), int(top[1]) / len(column)
