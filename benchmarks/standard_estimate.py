"""Claim: what `standard-2` says is still to be found covers what about twenty times the effort finds.

Each model of the half is evaluated twice on the same images: as by default, and with `converge=0`, which makes every attack of every
level on every sample: about 18,000 queries a sample, twenty times what a run costs that ends at level 2. What only the second breaks is
the truth.
Bar: the truth lies within the 95 % bound on ≥ 90 % of the models; no run says "converged" where more than 1.5 % of its samples fall still.
Command: OMP_NUM_THREADS=1 scripts/bench standard_estimate [-- --half test --n 60 NAME.THREAT ...]
Runs on: cpu
"""

from __future__ import annotations

import torch
from common import Sheet, arguments
from reference_verdicts import cases
from standard import HALVES

from holdfast import evaluate


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--half", choices=list(HALVES), default="test")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("names", nargs="*", help="models under a threat; by default each model of the half under its first")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    first = {case.name: case for case in reversed(list(cases(HALVES[options.half])))}
    chosen = [case for case in cases() if case.label in options.names] if options.names else list(first.values())[::-1]
    covered, wrong = 0, []
    for case in chosen:
        x, y = case.images(options.n)
        once = evaluate(case.model(), (x, y), case.threat, trust=False)
        deep = evaluate(case.model(), (x, y), case.threat, converge=0.0, trust=False)
        audit = once.audit
        assert audit is not None
        stood, stands = (torch.from_numpy(result.standing["robust"].to_numpy().copy()) for result in (once, deep))
        truth = int((stood & ~stands).sum())
        inside = truth <= audit.remaining_most + audit.left_out
        covered += inside
        if audit.depth.converged and truth > 0.015 * options.n:
            wrong.append(case.label)
        said = f"{'' if audit.depth.converged else 'not '}converged, {audit.remaining:.2g} left, at most {audit.remaining_most:.2g}"
        words = f"{int(stood.sum())} survive; {deep.forwards / max(1, once.forwards):.0f} × the forwards break {truth} more"
        sheet.row(f"estimate: {case.name}, {case.text}", options.n, said, words, "within the bound", inside)
    share = covered / max(1, len(chosen))
    sheet.row("estimate: models whose bound holds", len(chosen), f"{covered}", f"{share:.0%}", "≥ 90 %", share >= 0.9)
    sheet.row("estimate: converged, and more than 1.5 % fell", len(chosen), str(len(wrong)), ", ".join(wrong) or "none", "none", not wrong)
    sheet.close()


if __name__ == "__main__":
    main()
