"""Trust checks: what speaks for and against the number, with evidence and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from holdfast.evaluation.result import Result

Status = Literal["pass", "warn", "fail", "not run"]


@dataclass(frozen=True)
class Check:
    """One question about a result and its answer."""

    name: str
    status: Status
    evidence: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def checks(result: Result) -> list[Check]:
    """The checks that a run's records can answer."""
    return [check(result) for check in CHECKS.values()]


def _finished(result: Result) -> Check:
    """Samples that were not attacked to the end make the robust accuracy an upper bound."""
    if result.complete:
        return Check("finished", "pass", f"every attack ended on all {result.n} samples")
    unfinished = result.records.filter(result.records["status"] == "unfinished")["sample"].n_unique()
    missing = [label for label in result.labels if not result.facts.get(label, {"complete": False})["complete"]]
    evidence = f"{unfinished} samples not attacked to the end; attacks not ended: {', '.join(missing) or 'none'}"
    return Check("finished", "warn", evidence, "the robust accuracy is an upper bound: run the same command again, with a larger budget")


def _confirmed(result: Result) -> Check:
    """Claims of the search that the user's own model did not confirm."""
    refused, claims = sum(f["refused"] for f in result.facts.values()), int(result.records["success"].sum())
    evidence = f"{refused} of {refused + claims} claims were refused by the model itself"
    if refused <= 0.01 * (refused + claims):
        return Check("confirmed", "pass", evidence)
    remedy = "the model's answers vary with batch or precision: evaluate in float32, search without a replica, or declare it stochastic"
    return Check("confirmed", "warn", evidence, remedy)


def _storable(result: Result) -> Check:
    """Adversarial examples that vanish when an image is stored with 8 bits a value."""
    broken = result.records.filter("broken")
    if not len(broken):
        return Check("storable", "not run", "no sample was broken")
    survive = int(broken["eight_bit"].sum())
    evidence = f"{survive} of {len(broken)} adversarial examples still fool the model as 8-bit images"
    if survive >= 0.5 * len(broken):
        return Check("storable", "pass", evidence)
    return Check("storable", "warn", evidence, "the examples lie within a quantisation step of the boundary: judge with the 8-bit column")


CHECKS: dict[str, Callable[[Any], Check]] = {"finished": _finished, "confirmed": _confirmed, "storable": _storable}
