"""F1: denoising operations inside an adversarially trained net, one against the other: under white-box attacks, and under blind ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from holdfast import attacks
from holdfast.data import Dataset
from holdfast.defences.layers.denoise import OPERATIONS
from holdfast.engine.perturb import perturb
from holdfast.models import Classifier
from holdfast.parts.threats import Linf
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.astray import fell, left, rate, toward_random
from holdfast.reproduce.bench import Bench, right, standing
from holdfast.reproduce.blind import Ensemble, all_or_nothing
from holdfast.reproduce.finding import Finding, Table, Trend, paired
from holdfast.reproduce.maps import eased, maps_picture
from holdfast.reproduce.strided import WORDS, denoising, strided
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives

BEST, DOT = "nonlocal_gaussian", "nonlocal_dot"
LAYERS = ("layer1.0", "layer1.1")
FILTERS = tuple(sorted(set(OPERATIONS) - {"null"}))
NETS = ("no blocks", "residual", "null", *FILTERS)
FEW = ("no blocks", "null", "mean", DOT, BEST)
COUNTS = (10, 20, 30, 50, 100)
CLEAN = {"no blocks": 0.6232, BEST: 0.6530}
TEN = {"no blocks": 0.525, BEST: 0.557}
HUNDRED = {"no blocks": 0.417, BEST: 0.455}
BLIND = {"no blocks": 0.431, "null": 0.441, DOT: 0.462, BEST: 0.464}
"""The paper's figures for ResNet-152 on ImageNet, blocks after the last residual block of each stage; those of BLIND are on the slides."""


def run(bench: Bench) -> Reproduction:
    """Nets that share their weights at the start, hardened alike; then attacks that know them, and attacks made on other nets."""
    data, steps = bench.samples("train", bench.of(1437, 20000)), bench.of(120, 2000)
    # The suite costs most, and is asked of fewer.
    test, few, threat = bench.samples("test", bench.of(120, 1000)), bench.samples("test", bench.of(120, 400)), Linf(bench.kind.radius)
    shape, goal = tuple(test.x.shape[1:]), objectives.nfgsm(threat)
    made = {name: partial(strided, shape) if name == "no blocks" else partial(denoising, shape, name) for name in bench.of(FEW, NETS)}
    nets = {name: bench.trained(name.replace(" ", "-"), goal, data, steps, begin=bench.fresh(net)) for name, net in made.items()}
    plan = [toward_random(threat, 10), toward_random(threat, 100)]
    runs = {name: bench.attacked(f"pgd-{name.replace(' ', '-')}", net, test, threat, plan) for name, net in nets.items()}
    suites = {name: bench.attacked(f"suite-{name.replace(' ', '-')}", net, few, threat) for name, net in nets.items()}
    suite = {name: standing(found)[1] for name, found in suites.items()}
    clean = {name: right(net, test) for name, net in nets.items()}
    ten, course = ({name: fell(found, place) for name, found in runs.items()} for place in (0, 1))
    short, white = ({name: left(one, count) for name, one in steps.items()} for steps, count in ((ten, 10), (course, 100)))
    versions = _versions(bench, data, test, Linf(2 * threat.radius), steps)
    bench.say(f"blind: {len(versions)} attackers")
    blind = {name: all_or_nothing(net, versions.values()) for name, net in nets.items()}
    note = (
        "The document's figures are the paper's, of ResNet-152 on ImageNet within 16/255; it shows those of the other operations as bars."
    )
    tables = (
        _table("White box, 100 iterations", note, white, HUNDRED), _table("White box, 10 iterations", note, short, TEN),
        _table("White box, standard-1", "Untargeted, all attacks of the suite; not in the document.", suite, {}),
        _table("Clean accuracy", note, clean, CLEAN),
        _table("Blind attacks, all or nothing", f"Right on all versions of a sample: {', '.join(versions)}; twice the radius. {SLIDE}",
               blind, BLIND),
    )  # fmt: skip
    curves = {name: [Point(count, rate(left(one, count)).value) for count in COUNTS] for name, one in course.items()}
    words = "Accuracy left after so many iterations of one PGD of 100 toward a random class. Intervals are in the tables."
    axes = Axis("iterations", log=True), Axis("share of test samples")
    ease = [eased(nets[name], suites[name], few, LAYERS) for name in (BEST, "null")]
    scaled = (
        f"The document's nets are ResNet-152 with four blocks, trained on 128 GPUs; here {WORDS} with three blocks, at least "
        f"{steps:,} steps of AdamW on {len(data):,} samples of {bench.data}, all from the same weights, on N-FGSM instead of PGD-30.",
        f"White-box attacks are within L∞ {threat.radius:.3g}, on {len(test):,} test samples (standard-1 on {len(few):,}); "
        f"the point of each iteration counts, the document's last alone.",
        "The slides' five attackers are the best of CAAD 2017; here five on two nets of other widths and seeds that no defence has seen. "
        "Blocks after every residual block are not run: our stages have one.",
    )
    pictures = (maps_picture(nets[BEST], suites[BEST], few, LAYERS),)
    chart = lines_chart("iterations", "Accuracy against iterations", words, *axes, curves)
    return Reproduction(tables, (chart,), _trends(white, suite, blind, *ease), scaled, pictures)


SLIDE = "The document's figures are the slides', within 32/255; their winner of CAAD 2017 has 0.04 %."


def _versions(bench: Bench, data: Dataset, test: Dataset, threat: Linf, steps: int) -> dict[str, Dataset]:
    """The test samples as five attackers leave them, who know a net trained plainly and one trained on N-FGSM."""
    other, net = replace(bench, seed=bench.seed + 1), partial(strided, tuple(test.x.shape[1:]), widths=(12, 24, 48))
    hardened = objectives.nfgsm(Linf(threat.radius / 2))
    plain, hard = (
        other.trained(f"source-{i}", goal, data, steps, begin=other.fresh(net)) for i, goal in enumerate((objectives.standard(), hardened))
    )
    both = Classifier(Ensemble(plain, hard).eval(), bench.classes)
    pgd, momentum = attacks.pgd(threat, 20), attacks.mi_fgsm(threat, 20)
    plan = {
        "FGSM on the plain net": (attacks.fgsm(threat), plain), "MI-FGSM on it": (momentum, plain), "PGD on the hardened net": (pgd, hard),
        "MI-FGSM on it as well": (momentum, hard), "MI-FGSM on both at once": (momentum, both),
    }  # fmt: skip
    x = both.bounds.intake(test.x, both.dtype, both.device)
    return {name: replace(test, x=perturb(attack, source, x, test.y, bench.seed)) for name, (attack, source) in plan.items()}


def _table(title: str, words: str, found: dict[str, Tensor], document: dict[str, float]) -> Table:
    return Table(title, words, tuple(Finding.of(name, rate(one), document.get(name)) for name, one in found.items()))


def _trends(white: dict[str, Tensor], suite: dict[str, Tensor], blind: dict[str, Tensor], ease: Tensor, null: Tensor) -> tuple[Trend, ...]:
    def above(found: dict[str, Tensor], names: tuple[str, ...], than: tuple[str, ...]) -> Tensor:
        one, other = (torch.stack([found[name].double() for name in some]).mean(dim=0) for some in (names, than))
        return one - other

    filters = tuple(name for name in white if name in FILTERS)
    others = tuple(name for name in filters if name != BEST)
    both, more = ~(ease.isnan() | null.isnan()), (ease > null).double() - (ease < null).double()
    hundred, suited = "accuracy after 100 iterations", "mean accuracy under standard-1"
    over = "less that of the null block"
    return (
        *(Trend.of(f"Denoising helps: {name}", paired(above(white, (name,), ("null",))), f"{hundred}, {over}") for name in filters),
        Trend.of("Denoising operations help", paired(above(white, filters, ("null",))), f"their mean {hundred}, {over}"),
        Trend.of(f"{BEST} is above the other operations", paired(above(white, (BEST,), others)), f"{hundred}, less their mean"),
        *(
            Trend.of(f"Blocks of {BEST} do more than {words}", paired(above(white, (BEST,), (name,))), f"{hundred}, less that of {name}")
            for name, words in (("residual", "as many residual blocks"), ("no blocks", "none"))
            if name in white
        ),
        Trend.of(
            "Non-local denoising helps against blind attacks", paired(above(blind, (BEST, DOT), ("null",))),
            f"all-or-nothing accuracy, mean of {BEST} and {DOT}, {over}",
        ),
        Trend.of("Beyond the document: they help under standard-1", paired(above(suite, filters, ("null",))), f"{suited}, {over}"),
        Trend.of(
            "The block takes noise out of features, more than the null block does", paired(more[both]),
            "samples broken in both nets of whose relative change the first block takes a greater share away, less those of a smaller one",
        ),
    )  # fmt: skip


STUDY = Study(
    "f1",
    "Xie, talk on feature denoising for adversarial robustness, slides “Defending against white-box attacks, part II” and “blind attacks”",
    "All denoising operations can help; under blind attacks non-local denoising is above the null block.",
    "CIFAR-10",
    run,
)
