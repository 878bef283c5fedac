"""F3: blur filters on the input and on feature maps: what stickers made for the net without them still do, and what accuracy they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from holdfast.defences.layers import Blur, place
from holdfast.evaluation.spectra import Spectra, feature_maps, measured, spectra
from holdfast.models import Classifier
from holdfast.report.charts import spectrum_chart
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.report.pictures import source
from holdfast.report.spectral import spectrum_picture
from holdfast.reproduce.bench import Bench, four_layers, right
from holdfast.reproduce.finding import Finding, Interval, Table, Trend, paired
from holdfast.reproduce.stickers import answers, share, targets, told, victims, worn
from holdfast.reproduce.study import Picture, Reproduction, Study
from holdfast.training import objectives

PLAIN, PLACES, SIZES = "no filter", ("input", "layer 1", "layer 2", "layer 3"), (3, 5, 7)
DOCUMENT = {
    PLAIN: (1.0, 0.9), "input 3×3": (1.0, 0.875), "input 5×5": (1.0, 0.675), "layer 1 3×3": (1.0, 0.65), "layer 1 5×5": (0.875, 0.175),
}  # fmt: skip
"""The slides' Table 1: accuracy and attack success."""


def run(bench: Bench) -> Reproduction:
    """One net, the same with filters put into it, and the stickers made for the one shown to the others."""
    train, test = bench.samples("train", bench.of(1437, 20000)), bench.samples("test", bench.of(360, 2000))
    shape, steps = tuple(test.x.shape[1:]), bench.of(300, 2000)
    begin = bench.fresh(lambda classes: four_layers(shape, classes))
    model, data = bench.trained("plain", objectives.standard(), train, steps, begin=begin), victims(bench)
    aims = targets(bench, int(data.y[0]), bench.of(3, 17))
    nets = {PLAIN: model} | {f"{where} {size}×{size}": filtered(model, where, size, test.x[:1]) for where in PLACES for size in SIZES}
    shown = worn(bench, "plain", model, data, aims)
    clean = {name: answers(net, data.x) for name, net in nets.items()}
    altered = {name: (answers(net, shown) != clean[name]).double() for name, net in nets.items()}
    fell = {name: (answers(net, shown) != data.y).double()[:, clean[name] == data.y] for name, net in nets.items()}
    accurate = {name: right(net, test).double() for name, net in nets.items()}
    worst = int(altered[PLAIN].mean(dim=1).argmax())
    known = "layer 1 5×5"
    aware = (answers(nets[known], worn(bench, "aware", nets[known], data, aims)) != clean[known]).double()
    seen = [name for name in nets if name == PLAIN or name.startswith(PLACES[:2])]
    per_victim = {name: each.mean(dim=0) for name, each in altered.items()}
    alters = "Answers that stickers change, F(x) ≠ F(x'), of all victims, right or not (the document's formula)"
    tables = (
        _table("Accuracy on the victims", "Without stickers; document: Table 1.", {n: right(nets[n], data) for n in seen}, 0),
        _table("Attack success of the strongest stickers", f"{alters}; toward class {aims[worst]}, strongest without filters.",
            {n: altered[n][worst] for n in seen}, 1),
        _table("Attack success, mean over targets", f"{alters}; mean over {len(aims)} targets.", {n: per_victim[n] for n in seen}),
        _table("Attack success by labels", "Of the victims that were right, those wrong with stickers, mean over targets.",
            {n: fell[n].mean(dim=0) for n in seen}),
        _table("Accuracy on test samples", "Of higher layers the document says that high frequencies are relevant; no figures.", accurate),
    )  # fmt: skip
    pairs = model.bounds.intake(data.x, model.dtype, model.device), shown[worst]
    looks = {
        title: spectra(net, *pairs, layer)
        for title, net, layer in (
            ("inputs", model, None), ("the first layer's maps", model, "conv1"), ("the same behind a 5×5 filter", nets[known], "conv1.1"),
            ("the second layer's maps", model, "conv2"),
        )
    }  # fmt: skip
    charts = (
        lines_chart("filters", "Accuracy on test samples", "1: no filter. 95 % intervals.", Axis("side of the filter"), Axis("accuracy"),
            {where: _points(accurate, where) for where in PLACES}),
        lines_chart("success", "Attack success of the strongest stickers", "1: no filter.", Axis("side of the filter"), Axis("success"),
            {where: _points({name: each[worst] for name, each in altered.items()}, where) for where in PLACES[:2]}),
        *(replace(spectrum_chart(found, f"spectrum-{i}"), title=f"Spectrum of {title}") for i, (title, found) in enumerate(looks.items())),
    )  # fmt: skip
    higher, maps = "layer 2 5×5", [feature_maps(model, some, "conv1") for some in pairs]
    deeper = feature_maps(model, pairs[0], "conv2")
    stands = {name: said == data.y for name, said in clean.items()}

    def lowered(one: str, other: str, under: Tensor) -> Interval:
        """How much rarer stickers, `under` them the second net's answers altered, are a success; on victims that both had right."""
        return paired((per_victim[one] - under)[stands[one] & stands[other]])

    trends = (
        Trend.of("Stickers change the first layer's maps at higher frequencies than these have",
            paired(_share(maps[1] - maps[0]) - _share(maps[0])),
            "share of energy above a quarter of the sampling rate, of the change less of the clean maps"),
        Trend.of("A 5×5 filter on the first layer's maps lowers the black-box success", lowered(PLAIN, known, per_victim[known]),
            "success without the filter, less with it, of victims that both nets have right"),
        Trend.of("Filtering feature maps does more than filtering the input", lowered("input 5×5", known, per_victim[known]),
            "success with the 5×5 filter on the input, less with it on layer 1, of victims that both nets have right"),
        Trend.of("The second layer's maps hold higher frequencies than the first's", paired(_share(deeper) - _share(maps[0])),
            "share of energy above a quarter of the sampling rate of each layer's clean maps, layer 2 less layer 1"),
        Trend.of("High frequencies are relevant in higher layers", paired(accurate[PLAIN] - accurate[higher]),
            "test accuracy without a filter, less with 5×5 on layer 2"),
        Trend.of("A filter on layer 2 costs more accuracy than one on layer 1", paired(accurate[known] - accurate[higher]),
            "test accuracy with a 5×5 filter on layer 1, less on layer 2"),
        Trend.of("Beyond the document: the filter helps as well against stickers that were fitted through it",
            lowered(PLAIN, known, aware.mean(dim=0)), "white-box success without the filter, less with it, of victims both have right"),
    )  # fmt: skip
    scaled = (
        *told(bench, data, aims),
        f"The net: three convolutions and a linear layer without norms, at least {steps:,} steps of AdamW on {len(train):,} samples. Its "
        f"filters are box blurs (the document does not name its kernels) behind its convolutions, before ReLU, without training again.",
    )
    pictures = tuple(_picture(title, found) for title, found in looks.items())
    return Reproduction(tables, charts, trends, scaled, pictures)


def _table(title: str, words: str, found: dict[str, Tensor], document: int | None = None) -> Table:
    """Shares per net; `document`: which of its columns stands beside them."""
    figures = {} if document is None else {name: row[document] for name, row in DOCUMENT.items()}
    return Table(title, words, tuple(Finding.of(name, share(one.double()), figures.get(name)) for name, one in found.items()))


def filtered(model: Classifier, where: str, size: int, example: Tensor) -> Classifier:
    """The same net with a box blur before it, or behind a convolution."""
    net, asked, make = cast(nn.Module, model.net), model.bounds.intake(example, model.dtype, model.device), lambda channels: Blur(size)
    return model.around(place(net, "", make, asked, "before") if where == "input" else place(net, f"conv{where[-1]}", make, asked))


def _points(found: dict[str, Tensor], where: str) -> list[Point]:
    rows = {1: share(found[PLAIN])} | {size: share(found[f"{where} {size}×{size}"]) for size in SIZES}
    return [Point(size, row.value, row.low, row.high) for size, row in rows.items()]


def _share(maps: Tensor) -> Tensor:
    """Per sample, the share of high frequencies in its maps, mean over channels: `[n]`."""
    return torch.stack([measured([(one[None], one[None])]).high["clean"].mean() for one in maps])


def _picture(title: str, found: Spectra) -> Picture:
    words = f"Mean of log(1 + |F|) over {found.n} victims, without and with the strongest stickers; zero frequency in the middle."
    return Picture(f"Spectra of {title}", words, source(spectrum_picture(found, 4)))


STUDY = Study(
    "f3",
    "Raju & Lipasti, BlurNet, slides “Filtering input vs. filtering feature maps” (Table 1) and “Filtering in the higher layers”",
    "Filters behind the first layer withstand stickers better than filters on the input; higher layers need high frequencies.",
    "traffic signs",
    run,
)
