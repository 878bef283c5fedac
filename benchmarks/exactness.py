"""Claim: where the smallest change that fools a model can be computed, the best minimum-norm attack of each norm all but finds it.

1. Affine models of ten classes in 10 and 100 dimensions, inputs so near the middle of the range that its ends do not matter: the
   exact distance is min_k gap_k / ‖w_k − w_y‖_q. In L0, where without a range one value would always do, inputs anywhere in it: the
   fewest are the values that can move the difference of two logits most.
2. Nets of two ReLU neurons: the least over their four affine pieces, by small quadratic and linear programs; in L0 by trying all sets.
Every attack of the catalogue that looks for the smallest change runs with one setting for all models of a norm. Distances are measured on
what is stored, and infinite where the model is not fooled: where both neurons are dead, or climbing switches off the only one that is
not, no gradient points anywhere.
Bar: the best attack's median at most 1.03 × the exact distance in L2 and L∞, 1.10 × in L1 and L0; no distance below it.
Command: scripts/bench exactness
Runs on: cpu
"""

from __future__ import annotations

import statistics
import sys
from math import inf

import torch
from common import REPOSITORY, Sheet, arguments
from torch import Tensor

from holdfast.attacks.short import ENTRIES, parse
from holdfast.engine import Samples, run

sys.path.insert(0, str(REPOSITORY / "tests" / "closed_form"))
from affine import Affine
from two_neurons import TwoNeurons

NORMS = {"L2": (2, 1.03), "Linf": (inf, 1.03), "L1": (1, 1.10), "L0": (0, 1.10)}
# What differs from the defaults, which are for images: finer searches, shorter first steps.
SETTINGS = {
    "carlini_wagner": ", steps=200, searches=6, rate=0.005, initial=0.1",
    "carlini_wagner_linf": ", decay=0.95",
    "ddn": ", steps=200, length=0.1",
    "ead": ", steps=100, searches=8, initial=1.0",
    "fab": ", steps=30",
    "fab_targeted": ", steps=30",
    "fmn": ", steps=200",
    "jsma": ", gamma=1.0, direction='both'",
    "lbfgs": ", searches=20",
    "sigma_zero": ", steps=300",
}
Known = Affine | TwoNeurons


def affine(p: float, n: int) -> list[Known]:
    if p == 0:
        return [Affine.drawn(n, d, 10, torch.float64, spread=0.3).within_the_box() for d in (30, 100)]
    return [Affine.drawn(n, d, 10, torch.float64, spread=0.02) for d in (10, 100)]


def two_neurons(p: float, n: int) -> list[Known]:
    if p == 0:
        return [TwoNeurons.drawn(n // 2, 6, 2, seed, spread=0.2, lead=1.5) for seed in (2, 3)]
    return [TwoNeurons.drawn(n, 8, 3, seed) for seed in (2, 3)]


def ratios(attack: str, known: Known, exact: Tensor, p: float) -> Tensor:
    """Found over exact `[n]`."""
    found = run(parse(attack), known.model, Samples.of(known.x, known.y)).adversarial
    change = found - known.x
    size = (change != 0).sum(dim=1).double() if p == 0 else torch.linalg.vector_norm(change, p, dim=1)
    return torch.where(known.net(found).argmax(dim=1) != known.y, size / exact, inf)


def norm_row(sheet: Sheet, kind: str, norm: str, models: list[Known]) -> None:
    p, bar = NORMS[norm]
    exact = [known.distance(p) for known in models]
    if p:
        assert all(float((k.x - 0.5).abs().amax() + k.distance(1).amax()) < 0.5 for k in models), "the ends of the range matter"
    found = {}
    for name in (name for name, entry in ENTRIES.items() if entry.minimum_norm and norm.lower() in entry.threats):
        attack = f"{name}({norm}(inf){SETTINGS.get(name, '')})"
        found[attack] = torch.cat([ratios(attack, known, far, p) for known, far in zip(models, exact, strict=True)])
    medians = {attack: statistics.median(each.tolist()) for attack, each in found.items()}
    best = min(medians, key=lambda attack: (medians[attack], float(found[attack].mean())))
    each = found[best]
    others = ", ".join(f"{attack} {medians[attack]:.3f}" for attack in sorted(medians, key=lambda a: medians[a]) if attack != best)
    least = min(float(each.min()) for each in found.values())
    sheet.row(
        f"exactness: {kind}, {norm}",
        len(each),
        f"median {medians[best]:.4f} × the exact distance, most {float(each[each.isfinite()].max()):.3f}",
        f"{best} fools {float(each.isfinite().double().mean()):.3f}; the others' medians: {others}; least of all {least:.6f}",
        f"≤ {bar:.2f} ×, none below 1",
        medians[best] <= bar and least >= 1 - 1e-5,
    )


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    for kind, drawn in (("affine, 10 classes", affine), ("two ReLU neurons", two_neurons)):
        for norm, (p, _) in NORMS.items():
            norm_row(sheet, kind, norm, drawn(p, 8 if options.quick else 16))
    sheet.close()


if __name__ == "__main__":
    main()
