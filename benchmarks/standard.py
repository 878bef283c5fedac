"""Claim: `standard-2` is never above AutoAttack on models that chose none of its constants, at a fraction of its queries, or says so.

The models of reference_models.py (each under two threats or more, 100 images) with AutoAttack's verdicts (authors' code, each run once) in
references/verdicts. `--half test` (default) judges the half that chose no constant, `--half train` shows the other, `--half older` the
older references under norms they were not trained for.
Bar: no model above AutoAttack by more than one image unless the run says "not converged" or a check fails (one model at most); the sum not
above AutoAttack's; where search ended at level 2 ≥ 8 × fewer forwards and ≥ 5 × fewer backwards, elsewhere no more than AutoAttack; no
honest model gets a `fail`. Queries are those of the attacks, calibration included; the trust checks' are not among
them, though what the checks find counts (`--no-trust` leaves both out).
Command: OMP_NUM_THREADS=1 scripts/bench standard [-- --half train --n 100 --no-trust NAME ...]
Runs on: cpu
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from common import Sheet, arguments
from reference_models import TEST, TRAIN
from reference_verdicts import OLDER, Case, cases

from holdfast import evaluate

HALVES = {"test": TEST, "train": TRAIN, "older": list(OLDER)}


@dataclass(frozen=True)
class Judged:
    """One evaluation beside AutoAttack's verdict on the same images."""

    case: Case
    robust: int
    theirs: int
    converged: bool
    level: int
    failed: tuple[str, ...]
    forwards: tuple[int, int]
    backwards: tuple[int, int]

    @property
    def above(self) -> bool:
        return self.robust > self.theirs + 1 and self.converged and not self.failed


def judged(case: Case, sheet: Sheet, trust: bool, suite: str | None) -> Judged:
    """`standard-2` on the images of a verdict; one row."""
    verdict = case.verdict()
    x, y = case.images(verdict["n"])
    begin = time.process_time()
    result = evaluate(case.model(), (x, y), case.threat, suite=suite, trust=trust)
    spent = time.process_time() - begin
    robust = torch.from_numpy(result.standing["robust"].to_numpy().copy())
    theirs = torch.tensor([flag == "1" for flag in verdict["survived"]])
    failed = tuple(check.name for check in result.checks if check.status == "fail")
    audit = result.audit
    converged = audit is None or audit.depth.converged
    found = Judged(
        case, int(robust.sum()), verdict["survivors"], converged, 2 if audit is None else len(audit.depth.levels), failed,
        (result.forwards, verdict["forwards"]), (result.backwards, verdict["backwards"]),
    )  # fmt: skip
    alone = int((theirs & ~robust).sum()), int((robust & ~theirs).sum())
    depth = "" if audit is None else f"level {len(audit.depth.levels)}, {'' if converged else 'not '}converged; "
    queries = (
        f"{verdict['forwards'] / result.forwards:.1f} × fewer forwards, {verdict['backwards'] / max(1, result.backwards):.1f} × backwards"
    )
    words = f"AutoAttack {found.theirs}; alone broke {alone[0]}, it {alone[1]}; {depth}{queries}; failed: {', '.join(failed) or 'none'}"
    sheet.row(
        f"standard-2: {case.name}, {case.text}",
        len(x),
        f"{found.robust} survive, {spent:.1f} s",
        words,
        "≤ AutoAttack + 1",
        not found.above,
    )
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--half", choices=list(HALVES), default="test")
    parser.add_argument("--suite", help="by default the library's own choice")
    parser.add_argument("--no-trust", action="store_true")
    parser.add_argument("names", nargs="*", help="models, or models under one threat; by default all of the half")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    chosen = [
        case for case in cases() if case.file.exists()
        and (case.name in options.names or case.label in options.names or (not options.names and case.name in HALVES[options.half]))
    ]  # fmt: skip
    found = [judged(case, sheet, not options.no_trust, options.suite) for case in chosen]
    ours, theirs, images = sum(one.robust for one in found), sum(one.theirs for one in found), sum(case.verdict()["n"] for case in chosen)
    title = f"standard-2: {options.half} half, {len({one.case.name for one in found})} models, {len(found)} cases"
    sheet.row(f"{title}, sum", images, f"{ours} survive", f"AutoAttack {theirs}", "not above", ours <= theirs)
    unsure = {one.case.name for one in found if one.robust > one.theirs + 1 and not one.above}
    sheet.row(
        f"{title}, above and said so", len(found), f"{len(unsure)} models", ", ".join(sorted(unsure)) or "none", "≤ 1", len(unsure) <= 1
    )
    for state, bars in ((True, (8.0, 5.0)), (False, (1.0, 1.0))):
        some = [one for one in found if (one.level <= 2) == state]
        for name, bar in zip(("forwards", "backwards"), bars, strict=True):
            pairs = [getattr(one, name) for one in some]
            if pairs:
                ratio = sum(pair[1] for pair in pairs) / max(1, sum(pair[0] for pair in pairs))
                where = "search ended at level 2" if state else "it went deeper"
                sheet.row(f"{title}, {name} where {where}", len(some), f"{ratio:.1f} × fewer", "", f"≥ {bar:g} ×", ratio >= bar)
    alarms = [f"{one.case.label}: {', '.join(one.failed)}" for one in found if one.failed]
    sheet.row(f"{title}, false alarms", len(found), f"{len(alarms)} models", "; ".join(alarms), "none", not alarms)
    sheet.close()


if __name__ == "__main__":
    main()
