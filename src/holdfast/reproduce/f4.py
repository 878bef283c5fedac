"""F4: nets with learned filters or smooth feature maps against stickers fitted to each of them: average and worst target, distortion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from holdfast.defences.layers import Depthwise, place
from holdfast.parts.threats import Linf
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.bench import Bench, four_layers, right, standing
from holdfast.reproduce.finding import Finding, Table, Trend, paired, slope
from holdfast.reproduce.stickers import answers, share, targets, told, victims, worn
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives
from holdfast.training.objective import Objective


@dataclass(frozen=True)
class Row:
    """A row of the slides' Table 2: a learned filter of `size` (0: none), the weight `alpha`, and the figures that are written there."""

    size: int
    alpha: float
    accuracy: float
    average: float
    worst: float
    distortion: float

    @property
    def figures(self) -> dict[str, float]:
        """By the titles of our tables."""
        return {ACCURACY: self.accuracy, AVERAGE: self.average, WORST: self.worst, "L2 distortion": self.distortion}

    def objective(self) -> Objective:
        """Learned filters are penalised by their L∞ norm, nets without by the variation of the first layer's maps, where α is not 0."""
        plain = objectives.standard()
        if self.size:
            return objectives.blurnet_filters(plain, "conv1.1", self.alpha)
        return objectives.blurnet_variation(plain, "conv1", self.alpha) if self.alpha else plain


ROWS = {
    "baseline": Row(0, 0.0, 0.91, 0.4918, 0.9, 0.207), "3×3": Row(3, 1e-5, 0.863, 0.3, 0.55, 0.201),
    "5×5": Row(5, 0.1, 0.863, 0.2411, 0.475, 0.189), "7×7": Row(7, 0.1, 0.87, 0.1161, 0.3, 0.203),
    "TV 1e-4": Row(0, 1e-4, 0.856, 0.0792, 0.175, 0.224), "TV 1e-5": Row(0, 1e-5, 0.823, 0.0847, 0.3, 0.199),
}  # fmt: skip
ACCURACY, AVERAGE, WORST, STANDARD = "Legitimate accuracy", "Average success rate", "Worst success rate", "Robust accuracy under standard-1"


def run(bench: Bench) -> Reproduction:
    """Six nets from the same weights, each under stickers that were fitted to it, filters and all."""
    train, test = bench.samples("train", bench.of(1437, 20000)), bench.samples("test", bench.of(360, 2000))
    few, data, threat = bench.samples("test", bench.of(60, 200)), victims(bench), Linf(bench.kind.radius)
    steps, aims, shape = bench.of(300, 2000), targets(bench, int(data.y[0]), bench.of(3, 17)), tuple(test.x.shape[1:])
    words = {
        ACCURACY: f"On {len(test):,} test samples; document: Table 2.",
        AVERAGE: f"Answers that stickers alter, F(x) ≠ F(x'), of all victims (the document's formula), mean over {len(aims)} targets.",
        WORST: "The same for the target with the most.",
        "L2 distortion": "‖x − x'‖₂ / ‖x'‖₂, mean over victims and targets.",
        "Average success rate by labels": "Of the victims that were right without stickers, those wrong with them.",
        "Average success rate by targets": "Of all victims, those taken for the target.",
        STANDARD: f"On {len(few):,} test samples, L∞ {threat.radius:.3g}; no figure of the document.",
    }
    columns: dict[str, dict[str, Tensor]] = {title: {} for title in words}
    for name, row in ROWS.items():
        mark = name.replace("×", "x").replace(" ", "-")
        begin = bench.fresh(partial(_net, shape, row.size))
        model = bench.trained(mark, row.objective(), train, steps, begin=begin)
        x = model.bounds.intake(data.x, model.dtype, model.device)
        shown, clean = worn(bench, mark, model, data, aims), answers(model, x)
        said = answers(model, shown)
        altered = said != clean
        found = (
            right(model, test), altered.double().mean(dim=0), altered[altered.double().mean(dim=1).argmax()],
            ((x - shown).flatten(2).norm(dim=2) / shown.flatten(2).norm(dim=2).clamp_min(1e-12)).mean(dim=0),
            (said != data.y)[:, clean == data.y].double().mean(dim=0), (said == torch.tensor(aims)[:, None]).double().mean(dim=0),
            standing(bench.attacked(mark, model, few, threat))[1],
        )  # fmt: skip
        for column, one in zip(columns.values(), found, strict=True):
            column[name] = one.double()
    tables = tuple(
        Table(
            title, words[title], tuple(Finding.of(_label(name), share(one), ROWS[name].figures.get(title)) for name, one in column.items())
        )
        for title, column in columns.items()
    )
    scaled = (
        *told(bench, data, aims),
        f"The nets: three convolutions and a linear layer without norms, at least {steps:,} steps of AdamW on {len(train):,} samples; a "
        f"learned filter begins as a box blur. The weights α are the document's, though its net and maps have other sizes.",
    )
    curves = {
        title: [Point(i, one.value, one.low, one.high) for i, one in enumerate(map(share, columns[title].values()))]
        for title in (ACCURACY, AVERAGE, WORST, STANDARD)
    }
    names = ", ".join(f"{i}: {name}" for i, name in enumerate(ROWS))
    chart = lines_chart("nets", "Accuracy and success of the nets", f"{names}.", Axis("net"), Axis("share"), curves)
    return Reproduction(tables, (chart,), _trends(columns), scaled)


def _net(shape: tuple[int, ...], size: int, classes: int) -> nn.Module:
    net = four_layers(shape, classes)
    return place(net, "conv1", lambda channels: Depthwise(channels, size), torch.zeros(1, *shape)) if size else net


def _label(name: str) -> str:
    return f"{name} filters, α = {ROWS[name].alpha:g}" if ROWS[name].size else name


def _trends(columns: dict[str, dict[str, Tensor]]) -> tuple[Trend, ...]:
    average, accuracy, smooth = columns[AVERAGE], columns[ACCURACY], "TV 1e-4"
    gained = average["baseline"] - average[smooth]
    return (
        Trend.of("Learned 7×7 filters lower the average success of stickers fitted through them",
            paired(average["baseline"] - average["7×7"]), "average success on the baseline, less with 7×7 filters"),
        Trend.of("The larger the learned filters, the lower the average success",
            slope([average[name] for name in ("3×3", "5×5", "7×7")], [3, 5, 7]).turned, "fall per tenfold of the filter's side"),
        Trend.of("Smooth feature maps lower the average success", paired(gained), f"average success on the baseline, less with {smooth}"),
        Trend.of("Smooth feature maps lower the worst success", paired(columns[WORST]["baseline"] - columns[WORST][smooth]),
            f"worst success on the baseline, less with {smooth}"),
        Trend.of("Smooth feature maps cost less than a tenth of accuracy", paired(0.1 - (accuracy["baseline"] - accuracy[smooth]), 1.1),
            f"one tenth, less the fall of legitimate accuracy with {smooth}"),
        Trend.of("Beyond the document: with smooth feature maps most test samples withstand standard-1",
            paired(columns[STANDARD][smooth] - 0.5), f"robust accuracy with {smooth}, less one half"),
    )  # fmt: skip


STUDY = Study(
    "f4",
    "Raju & Lipasti, BlurNet, slide “Whitebox evaluation” (Table 2)",
    "Learned low-pass filters and smooth feature maps lower the success of white-box stickers, at a small cost in accuracy.",
    "traffic signs",
    run,
)
