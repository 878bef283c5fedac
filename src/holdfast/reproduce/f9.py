"""F9: defensive distillation at many temperatures: how often an attack succeeds, how large its gradients are, and what that is worth."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from holdfast import attacks
from holdfast.data import Dataset
from holdfast.evaluation import Result
from holdfast.evaluation.tables import Rate
from holdfast.models import Classifier
from holdfast.parts.goals import Targeted
from holdfast.parts.threats import L0, Linf
from holdfast.report.lines import Axis, Point, bars_chart, lines_chart
from holdfast.reproduce.bench import Bench, standing
from holdfast.reproduce.finding import Finding, Table, Trend, paired, slope
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives

TEMPERATURES = (1, 2, 5, 10, 20, 30, 40, 50, 100)
NONE = 0
"""Stands among the temperatures for the net that is not distilled."""
DOCUMENT: dict[tuple[int, ...], dict[int, float]] = {
    (1, 28, 28): {NONE: 0.9589, 5: 0.2467, 10: 0.0678, 20: 0.0134, 30: 0.0144, 40: 0.0045, 50: 0.0145, 100: 0.0045},
    (3, 32, 32): {NONE: 0.8789, 5: 0.67, 10: 0.4756, 20: 0.1823, 30: 0.1323, 40: 0.0934, 50: 0.0623, 100: 0.0511},
}
"""The slide's table, where its text can be read. What the columns are (MNIST, CIFAR-10), and the rows at its ends, are from Papernot et
al. 2016."""
EDGES = (0.0, 1e-40, 1e-35, 1e-30, 1e-25, 1e-20, 1e-15, 1e-10, 1e-5, 1e-3, float("inf"))
FEATURES = 112 / 784
"""The share of the features that the attack may change."""


def run(bench: Bench) -> Reproduction:
    """Per temperature a teacher and the net distilled from it, attacked at T = 1: by what the probabilities say, by what the logits say."""
    temperatures = bench.of((1, 5, 20, 100), TEMPERATURES)
    told = (NONE, *temperatures)
    data, steps = bench.samples("train", bench.of(1437, 20000)), bench.of(500, 1200)
    test, few = bench.samples("test", bench.of(360, 500)), bench.samples("test", bench.of(120, 200))
    shape = tuple(test.x.shape[1:])
    few_features, threat = L0(max(2, round(FEATURES * test.x[0].numel()))), Linf(bench.kind.radius)
    # Chosen at random, so that each sample is asked once and an interval counts what it should.
    jsma = replace(attacks.jsma(few_features, gamma=1.0, targeted=True), goal=Targeted(choose="random"))
    runs: dict[str, list[Result]] = {"JSMA on probabilities": [], "JSMA on logits": [], "standard-1": []}
    amplitudes = []
    # A student has other weights at the start than its teacher.
    other, plain = replace(bench, seed=bench.seed + 1), bench.trained("teacher-1", objectives.distillation(1), data, steps)
    for t in told:
        net = plain
        if t != NONE:
            teacher = bench.trained(f"teacher-{t}", objectives.distillation(t), data, steps)
            net = bench.trained(f"distilled-{t}", objectives.distillation(t, teacher), data, steps, begin=other.fresh())
        plan = ((softened(net), few, few_features, [jsma]), (net, few, few_features, [jsma]), (net, few, threat, ()))
        for (name, kept), (model, samples, within, made) in zip(runs.items(), plan, strict=True):
            kept.append(bench.attacked(f"{name.split()[-1]}-{t}", model, samples, within, made))
        amplitudes.append(amplitude(net, test))
    wins = {name: [_won(found) for found in kept] for name, kept in runs.items()}
    tables, curves = [], {}
    for name, columns in wins.items():
        rates = [Rate(int(won.sum()), int(tried.sum())) for tried, won in columns]
        figures = DOCUMENT.get(shape, {}) if name.endswith("probabilities") else {}
        rows = [Finding.of(_named(t), rate, figures.get(t)) for t, rate in zip(told, rates, strict=True)]
        tables.append(Table(f"Success rate, {name}", WORDS[name], tuple(rows)))
        curves[name] = [Point(t, row.ours, row.low, row.high) for t, row in zip(told, rows, strict=True) if t != NONE]
    clean = [Rate(int(standing(found)[0].sum()), found.n) for found in runs["standard-1"]]
    note = "On the samples that were attacked; no figure of the slide."
    tables.append(Table("Clean accuracy", note, tuple(Finding.of(_named(t), rate) for t, rate in zip(told, clean, strict=True))))
    binned = {
        f"{low:.0e} to {high:.0e}": [float(((one >= low) & (one < high)).double().mean()) for one in amplitudes]
        for low, high in pairwise(EDGES)
    }
    shares = [Finding.of(_named(t), Rate(int((one < 1e-10).sum()), len(test))) for t, one in zip(told, amplitudes, strict=True)]
    bins = "Test samples binned by the mean of |∂F_j/∂x_i| over classes j and inputs i, F the probabilities at T = 1, in double precision."
    tables.append(Table("Samples with an adversarial gradient below 1e-10", bins, tuple(shares)))
    charts = (
        lines_chart(
            "success", "Success against temperature", "95 % Wilson intervals.", Axis("temperature", log=True),
            Axis("success"), curves),
        bars_chart(
            "bins", "Amplitude of adversarial gradients", bins, Axis("temperature"), Axis("share of test samples"),
            [str(t or "none") for t in told], binned,
        ),
    )  # fmt: skip
    return Reproduction(
        tuple(tables), charts, _trends(temperatures, wins, amplitudes), _scaled(bench, data, test, few, steps, few_features)
    )


WORDS = {
    "JSMA on probabilities": "The document's attack, toward a random wrong class. Its figures: those of the table that can be read.",
    "JSMA on logits": "The same attack, steps and targets; it only reads the logits instead of the probabilities.",
    "standard-1": "Untargeted, within a small change of all inputs; it knows that a net may saturate.",
}


def _named(temperature: int) -> str:
    return f"T = {temperature}" if temperature != NONE else "no distillation"


def softened(model: Classifier) -> Classifier:
    """The same model, whose answers are probabilities: all that is seen where only the softmax layer is looked at."""
    return model.around(nn.Sequential(cast(nn.Module, model.net), nn.Softmax(1)).eval())


def amplitude(model: Classifier, data: Dataset, piece: int = 100) -> Tensor:
    """Per sample the mean of |∂F_j/∂x_i| over classes and inputs, F = softmax(z), in double precision: `[n]`.

    Source: Papernot et al. 2016, arXiv:1511.04508, what the slide calls the adversarial gradient amplitude.
    """
    net, found = copy.deepcopy(cast(nn.Module, model.net)).double(), []
    for x in data.x.split(piece):
        asked = model.bounds.intake(x, torch.float64, model.device).requires_grad_()
        chances = net(asked).softmax(dim=1)
        slopes = [
            torch.autograd.grad(chance.sum(), asked, retain_graph=True)[0].flatten(1).abs().mean(dim=1) for chance in chances.unbind(1)
        ]
        found.append(torch.stack(slopes).mean(dim=0).detach())
    return torch.cat(found)


def _won(found: Result) -> tuple[Tensor, Tensor]:
    """Per sample whether it was tried (right when clean), and whether it was broken."""
    correct, robust = standing(found)
    return correct, correct & ~robust


def _trends(temperatures: tuple[int, ...], wins: dict[str, list[tuple[Tensor, Tensor]]], amplitudes: list[Tensor]) -> tuple[Trend, ...]:
    shown, logits, suite = wins.values()
    # The samples that every net had right.
    all_right = torch.stack([tried for tried, _ in shown]).all(dim=0)
    last, first = amplitudes[-1], amplitudes[0]
    high = f"T = {temperatures[-1]}"
    return (
        Trend.of(
            f"Distillation lowers the success rate of the document's attack, from no distillation to {high}",
            paired((shown[0][1].double() - shown[-1][1].double())[all_right]), "success rate without distillation, less that with it",
        ),
        Trend.of(
            "Distillation at high temperature lowers the success rate of the document's attack",
            slope([won[all_right] for _, won in shown[1:]], temperatures).turned, "fall of the success rate per tenfold of T",
        ),
        Trend.of(
            "Distillation reduces the gradients that adversaries use", paired((last < first).double() - (last > first).double()),
            f"samples with a smaller gradient at {high} than without distillation, less those with a larger one",
        ),
        Trend.of(
            "Beyond the document: the same attack fails as well when it reads logits",
            slope([won[all_right] for _, won in logits[1:]], temperatures).turned, "fall of the success rate per tenfold of T",
        ),
        Trend.of(
            f"Beyond the document: the net distilled at {high} withstands standard-1 on most samples that it has right",
            paired(0.5 - suite[-1][1][suite[-1][0]].double()), "one half, less the success rate",
        ),
    )  # fmt: skip


def _scaled(bench: Bench, data: Dataset, test: Dataset, few: Dataset, steps: int, features: L0) -> tuple[str, ...]:
    return (
        f"The paper's nets have nine layers and are trained for 50 epochs on 60,000 samples; here {bench.kind.words}, at least {steps:,} "
        f"steps of AdamW on {len(data):,} samples of {bench.data}, teacher and student alike.",
        f"The paper attacks each sample toward all nine wrong classes; here {len(few):,}, each toward one class drawn at random. At most "
        f"{features.radius:g} features change. Gradients are of {len(test):,} samples, the slide's of 10,000 of CIFAR-10.",
        f"standard-1 is within L∞ {bench.kind.radius:.3g}.",
    )


STUDY = Study(
    "f9",
    "Erdem, Erdem & Karacan, lecture on attacks on deep networks, slides on distillation and sensitivity (from Papernot et al. 2016)",
    "Distillation at high temperature smooths the network, reduces its gradients, and lowers the success rate of adversarial examples.",
    "MNIST or CIFAR-10",
    run,
)
