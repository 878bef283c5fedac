"""F2: accuracy against the iterations of a white-box attack, 10 to 2000, with and without denoising blocks."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from holdfast.parts.threats import Linf
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.astray import fell, left, rate, toward_random
from holdfast.reproduce.bench import Bench, standing
from holdfast.reproduce.finding import Finding, Table, Trend, paired
from holdfast.reproduce.strided import WORDS, denoising, strided
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives

COUNTS = (10, 20, 30, 50, 100, 200, 500, 1000, 2000)
DOCUMENT = {
    "no blocks": {10: 0.525, 100: 0.417, 1000: 0.390, 2000: 0.392},
    "denoising blocks": {10: 0.557, 100: 0.455, 1000: 0.428, 2000: 0.426},
}
"""ResNet-152 on ImageNet: the paper's figures, those of 1000 iterations its published models' (of another draw of targets)."""


def run(bench: Bench) -> Reproduction:
    """Two nets hardened alike from the same weights, each attacked once with the most iterations: the shorter attacks are its beginning."""
    data, steps = bench.samples("train", bench.of(1437, 20000)), bench.of(200, 2500)
    test, few, threat = bench.samples("test", bench.of(100, 1000)), bench.samples("test", bench.of(100, 400)), Linf(bench.kind.radius)
    shape, counts = tuple(test.x.shape[1:]), bench.of(COUNTS[:-2], COUNTS)
    made = {"no blocks": partial(strided, shape), "denoising blocks": partial(denoising, shape, "nonlocal_gaussian")}
    tables, curves, stays, suite = [], {}, {}, {}
    for name, net in made.items():
        mark = name.replace(" ", "-")
        model = bench.trained(mark, objectives.nfgsm(threat), data, steps, begin=bench.fresh(net))
        found = bench.attacked(f"pgd-{mark}", model, test, threat, [toward_random(threat, 10), toward_random(threat, counts[-1])])
        ten, course = fell(found, 0), fell(found, 1)
        stays[name] = {count: left(ten if count == 10 else course, count) for count in counts}
        suite[name] = standing(bench.attacked(f"suite-{mark}", model, few, threat))[1]
        rows = [Finding.of(f"{count:,} iterations", rate(one), DOCUMENT[name].get(count)) for count, one in stays[name].items()]
        rows.append(Finding.of("standard-1, untargeted", rate(suite[name])))
        tables.append(Table(f"Accuracy, {name}", NOTE, tuple(rows)))
        curves[name] = [Point(count, row.ours, row.low, row.high) for count, row in zip(counts, rows, strict=False)]
        curves[f"theirs, {name}"] = [Point(count, value) for count, value in DOCUMENT[name].items()]
    words = "PGD toward a random class; 95 % Wilson intervals; the document's nets are ResNet-152 on ImageNet."
    chart = lines_chart(
        "iterations", "Accuracy against iterations", words, Axis("iterations", log=True), Axis("share of test samples"), curves
    )
    scaled = (
        f"The document's nets are ResNet-152, 110 epochs of ImageNet on 128 GPUs; here {WORDS}, with and without three non-local Gaussian "
        f"blocks, at least {steps:,} steps of AdamW on {len(data):,} samples of {bench.data}; N-FGSM instead of PGD of 30 steps.",
        f"Within L∞ {threat.radius:.3g}, on {len(test):,} test samples (standard-1 on {len(few):,}). One run of "
        f"{counts[-1]:,} iterations of ε/16 a step gives the curve, and each point it passes counts, the document's last "
        "alone; the attack of 10 iterations takes steps of ε/10, as theirs.",
    )
    return Reproduction(tuple(tables), (chart,), _trends(stays, suite, torch.isin(test.ids, few.ids)), scaled)


NOTE = "Share of test samples right after so many iterations. The document's figures are of ResNet-152 on ImageNet, within 16/255."


def _trends(stays: dict[str, dict[int, Tensor]], suite: dict[str, Tensor], among: Tensor) -> tuple[Trend, ...]:
    plain, denoised = stays.values()
    ten, *_, half, most = plain

    def less(one: Tensor, other: Tensor) -> Tensor:
        return one.double() - other.double()

    return (
        *(Trend.of(f"Denoising helps against {count:,} iterations", paired(less(denoised[count], plain[count])),
                   "accuracy with denoising, less that without") for count in (ten, 100, most)),
        Trend.of("More attack iterations, of which each point counts, indicate stronger attacks",
                 paired(less(denoised[ten], denoised[most])), f"fall of the accuracy with denoising from {ten} to {most:,} iterations"),
        Trend.of(f"The accuracy levels off: the last {most - half:,} iterations take less than one point",
                 paired(0.01 - less(denoised[half], denoised[most]), 1.01), "one point, less the fall of the accuracy with denoising"),
        Trend.of(f"Beyond the document: what withstands {most:,} iterations withstands standard-1 as well, but for one in ten",
                 paired(0.1 - less(denoised[most][among], suite["denoising blocks"]), 1.1), "one in ten, less the fall to standard-1"),
    )  # fmt: skip


STUDY = Study(
    "f2",
    "Xie, talk on feature denoising for adversarial robustness, slides “Defending against white-box attacks, part I and III”",
    "Adversarial training with denoising holds against attackers of up to 2000 iterations, and above the same net without.",
    "CIFAR-10",
    run,
)
