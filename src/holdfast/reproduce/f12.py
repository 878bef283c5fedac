"""F12: clean and robust accuracy against the size of the training set."""

from __future__ import annotations

from torch import Tensor

from holdfast.evaluation.tables import Rate
from holdfast.parts.threats import Linf
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.bench import Bench, right, standing
from holdfast.reproduce.finding import Finding, Table, Trend, paired, slope
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives

SHARES = (64, 16, 4, 1)
"""Each training set is the largest over one of these, and lies within the next."""


def run(bench: Bench) -> Reproduction:
    """Per size: a net trained by PGD and a net trained plainly, both for as many steps, on the same test samples, the cost on more."""
    largest, steps = len(bench.samples("train", bench.of(1437, 16000))), bench.of(300, 1000)
    sizes = [largest // share for share in SHARES]
    test, threat = bench.samples("test", bench.of(360, 500)), Linf(bench.kind.radius)
    # The cost in clean accuracy is small and asks for no attack: it is that of all test samples.
    whole = bench.samples("test", bench.of(360, 10000))
    costs: list[Tensor] = []
    found: dict[str, list[Tensor]] = {"plain training, clean": [], "PGD training, clean": [], "PGD training, standard-1": []}
    plain, clean, robust = found.values()
    for size in sizes:
        data = bench.samples("train", size)
        hardened = bench.trained(f"pgd-{size}", objectives.pgd(threat), data, steps)
        correct, stood = standing(bench.attacked(f"pgd-{size}", hardened, test, threat))
        clean.append(correct)
        robust.append(stood)
        unhardened = bench.trained(f"plain-{size}", objectives.standard(), data, steps)
        plain.append(right(unhardened, test))
        costs.append(right(unhardened, whole).double() - right(hardened, whole).double())
    gaps = found["gap of PGD training"] = [a & ~b for a, b in zip(clean, robust, strict=True)]
    shown = {
        name: [Finding.of(f"{size:,} training samples", Rate(int(one.sum()), len(test))) for size, one in zip(sizes, columns, strict=True)]
        for name, columns in found.items()
    }
    curves = {
        name: [Point(size, row.ours, row.low, row.high) for size, row in zip(sizes, rows, strict=True)] for name, rows in shown.items()
    }
    words = "The gap: right when clean, and not under attack. One net of each training per size; 95 % Wilson intervals over test samples."
    axes = Axis("training samples", log=True), Axis("share of test samples")
    asked = f"on {len(whole):,} samples"
    trends = (
        Trend.of(
            "Robustness costs clean accuracy",
            paired(costs[-1]),
            f"largest training set, clean accuracy of plain less PGD training, {asked}",
        ),
        Trend.of(
            "The gap between clean and robust accuracy falls as the training set grows",
            slope(gaps, sizes).turned,
            "fall of the gap per tenfold",
        ),
        Trend.of(
            "The cost in clean accuracy falls as the training set grows",
            slope(costs, sizes).turned,
            f"fall of the cost per tenfold, {asked}",
        ),
    )
    scaled = (
        f"The lecture's figure speaks of whole data sets; here it is {bench.kind.words} on at most {largest:,} samples of {bench.data}, "
        f"at least {steps:,} steps for each net, whatever the size.",
        f"PGD training takes 7 steps within L∞ {bench.kind.radius:.3g}; robust accuracy is that under standard-1 at the same radius, "
        f"on {len(test):,} test samples; the cost in clean accuracy on {len(whole):,}. The lecture's “gap” may be either.",
    )
    note = "The lecture shows a picture without numbers."
    tables = tuple(Table(name, note, tuple(rows)) for name, rows in shown.items())
    return Reproduction(tables, (lines_chart("sizes", "Accuracy against training samples", words, *axes, curves),), trends, scaled)


STUDY = Study(
    "f12",
    "Balasubramanian, lecture on adversarial robustness, slide “Tradeoff between robust and clean accuracy”",
    "Adversarial robustness comes at a cost of decreased clean accuracy; the gap decreases with increase in training set size.",
    "MNIST or CIFAR-10",
    run,
)
