"""Claim: `standard-2`, trust checks included, takes a fraction of AutoAttack's processor time, both as a user runs them, in one process.

AutoAttack (authors' code, `standard`, --autoattack DIR) on the first 200 images of three models that chose no constant; its cost for
100 and for 1,000 images is that per image. `standard-2` on 100 and on 1,000 images with everything a bare `evaluate` does: looking at
the model, choosing a copy to search on, calibration, attacks, verification, trust checks. Processor seconds of one thread.
Bar: where search ended at level 2, ≥ 6 × at n = 100 and ≥ 20 × at n = 1,000; queries at n = 1,000 ≥ 20 × fewer forwards, ≥ 10 × backwards.
Command: OMP_NUM_THREADS=1 scripts/bench standard_time -- --autoattack DIR [--models NAME.THREAT ...]
Runs on: cpu
"""

from __future__ import annotations

import sys
import time

import torch
from common import Sheet, arguments
from reference_verdicts import autoattack, cases, plain

from holdfast import evaluate

MODELS = ("mnist_max_pool_pgd.linf_0.1", "cifar_silu_pgd_l2.l2_0.5", "signs_gelu_awp.linf_4-255")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--autoattack", required=True, help="the folder with the authors' package `autoattack`")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    options = parser.parse_args()
    sys.path.insert(0, options.autoattack)
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    sizes, asked = ((20, 60), 40) if options.quick else ((100, 1000), 200)
    for case in (case for case in cases() if case.label in options.models):
        x, y = case.images(max(*sizes, asked))
        begin = time.process_time()
        theirs = autoattack(plain(case.model()), x[:asked], y[:asked], case.threat, lambda stage: None)
        spent = time.process_time() - begin
        for n in sizes:
            begin = time.process_time()
            result = evaluate(case.model(), (x[:n], y[:n]), case.threat)
            own = time.process_time() - begin
            assert result.audit is not None
            level, held = len(result.audit.depth.levels), len(result.audit.depth.levels) <= 2
            ratio, share = spent * n / asked / own, n / asked
            bar = (6 if n == sizes[0] else 20) if held else 1
            label = f"standard-2: {case.name}, {case.text}, n = {n}"
            value = f"{own:.1f} s ({result.trust_seconds:.1f} s of them trust checks), {result.robust_accuracy:.3f} robust"
            words = (
                f"AutoAttack {spent * n / asked:.0f} s, {theirs['survivors'] / asked:.3f} robust of {asked}: {ratio:.1f} ×; level {level}"
            )
            sheet.row(f"{label}, time", n, value, words, f"≥ {bar} ×", ratio >= bar)
            for name, least in (("forwards", (8, 20)), ("backwards", (5, 10))):
                ours, bar = getattr(result, name), least[n != sizes[0]] if held else 1
                fewer = theirs[name] * share / max(1, ours)
                spared = result.audit.spared.samples
                sheet.row(
                    f"{label}, {name}", n, f"{ours / n:.0f} an image; {spared} spared", f"{fewer:.1f} × fewer", f"≥ {bar} ×", fewer >= bar
                )
    sheet.close()


if __name__ == "__main__":
    main()
