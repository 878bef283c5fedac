"""Claim: `standard-1` is never above AutoAttack, takes a fraction of its queries and time, and calls no honest net masked.

The nets and images of benchmarks/references (AutoAttack `standard`, the authors' code, each run once). Processor seconds on one thread
are compared where the reference has them, so that a busy machine does not matter; trust checks are timed apart.
Bar: on no net above AutoAttack by more than one image, nor in the sum; ≥ 25 × as fast over all, ≥ 20 × where AutoAttack leaves 10 %,
≥ 3 × elsewhere; ≥ 12 × fewer forwards and ≥ 6 × fewer backwards over all; no check fails.
`--suite autoattack` judges the field's protocol instead: within 0.6 points of the reference, ≥ 3 × as fast.
Command: OMP_NUM_THREADS=1 scripts/bench standard [-- --suite autoattack --n 500 --references DIR NAME ...]
Runs on: cpu
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from common import Sheet, arguments

from holdfast import evaluate
from reference import NETS, REFERENCES


@dataclass(frozen=True)
class Run:
    """What one evaluation cost and found."""

    robust: int
    seconds: float
    trust: float
    forwards: int
    backwards: int
    failed: list[str]
    alone: tuple[int, int]


def measured(name: str, reference: dict, suite: str | None) -> Run:
    """The suite on the reference's images; seconds of this process, the trust checks left out."""
    case, n = NETS[name], reference["n"]
    x, y = case.images(n)
    model = case.model()
    begin = time.process_time()
    plain = evaluate(model, (x, y), case.threat, suite=suite, trust=False)
    seconds = time.process_time() - begin
    result = evaluate(model, (x, y), case.threat, suite=suite) if suite is None else plain
    robust = torch.from_numpy(plain.standing["robust"].to_numpy().copy())
    theirs = torch.tensor([flag == "1" for flag in reference["survived"]])
    alone = int((theirs & ~robust).sum()), int((robust & ~theirs).sum())
    failed = [check.name for check in result.checks if check.status == "fail"]
    return Run(int(robust.sum()), seconds, result.trust_seconds, plain.forwards, plain.backwards, failed, alone)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--suite", help="by default the library's own choice")
    parser.add_argument("--references", type=Path, default=REFERENCES)
    parser.add_argument("names", nargs="*", help="nets; by default all that have a reference")
    options = parser.parse_args()
    sheet = Sheet(options.record)
    torch.manual_seed(0)
    found: dict[str, tuple[dict, Run]] = {}
    for name in options.names or list(NETS):
        file = options.references / f"{name}.json"
        if not file.is_file():
            continue
        reference = json.loads(file.read_text())
        torch.set_num_threads(reference["threads"])
        run = measured(name, reference, options.suite)
        found[name] = reference, run
        n, theirs = reference["n"], round(reference["robust_accuracy"] * reference["n"])
        ratio = reference["cpu_seconds"] / run.seconds
        label = f"{options.suite or 'standard-1'}: {name}"
        value = f"robust {run.robust} images in {run.seconds:.1f} s"
        words = (
            f"AutoAttack {theirs} in {reference['cpu_seconds']:.0f} s: {ratio:.1f} × as fast; alone broke {run.alone[0]}, it {run.alone[1]}"
        )
        if options.suite:
            good = abs(run.robust - theirs) <= 0.006 * n and ratio >= 3
            sheet.row(label, n, value, words, "within 0.6 points, ≥ 3 ×", good)
            continue
        least = 20 if theirs >= 0.1 * n else 3
        sheet.row(label, n, value, words, f"≤ AutoAttack + 1, ≥ {least} ×", run.robust <= theirs + 1 and ratio >= least)
        fewer = (
            f"{reference['forwards'] / run.forwards:.1f} × fewer forwards, {reference['backwards'] / max(1, run.backwards):.1f} × backwards"
        )
        checks = f"checks that fail: {', '.join(run.failed) or 'none'}, in {run.trust:.1f} s more"
        asked = f"{run.forwards / n:.0f} forwards, {run.backwards / n:.0f} backwards an image"
        sheet.row(f"{label}, queries and checks", n, asked, f"{fewer}; {checks}", "no check fails", not run.failed)
    if len(found) > 1 and not options.suite:
        theirs, ours = ({key: sum(pick(pair, key) for pair in found.values()) for key in KEYS} for pick in (_their, _our))
        total = f"{len(found)} nets"
        sums = f"robust {ours['robust']} images, AutoAttack {theirs['robust']}"
        sheet.row(f"standard-1: sum over {total}", len(found), sums, "", "no higher", ours["robust"] <= theirs["robust"])
        for key, least in (("seconds", 25), ("forwards", 12), ("backwards", 6)):
            ratio = theirs[key] / ours[key]
            sheet.row(
                f"standard-1: {key} over {total}", len(found), f"{ours[key]:.0f}", f"{ratio:.1f} × fewer", f"≥ {least} ×", ratio >= least
            )
    sheet.close()


KEYS = ("robust", "seconds", "forwards", "backwards")


def _their(pair: tuple[dict, Run], key: str) -> float:
    reference = pair[0]
    return {"robust": round(reference["robust_accuracy"] * reference["n"]), "seconds": reference["cpu_seconds"]}.get(
        key, reference.get(key, 0)
    )


def _our(pair: tuple[dict, Run], key: str) -> float:
    return float(getattr(pair[1], key))


if __name__ == "__main__":
    main()
