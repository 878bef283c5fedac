"""Feature maps on both sides of a block, of samples as they are and after an attack."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.data import Dataset
from holdfast.evaluation import Result
from holdfast.evaluation.spectra import feature_maps
from holdfast.models import Classifier
from holdfast.report.heat import heat
from holdfast.report.pictures import drawn, scaled, source
from holdfast.report.strips import Panel, sheet, strip
from holdfast.report.words import figure
from holdfast.reproduce.study import Picture

SHOWN = 4


def pairs(model: Classifier, found: Result, data: Dataset) -> tuple[Tensor, Tensor]:
    """The samples of a run as they are and as its attacks left them, unchanged where none broke them."""
    x = model.bounds.intake(data.x, model.dtype, model.device)
    return x, torch.from_numpy(found.adversarial.copy()).to(x)


def eased(model: Classifier, found: Result, data: Dataset, layers: tuple[str, str]) -> Tensor:
    """Per sample the share of an attack's change that a block between two layers takes away: `[n]`, NaN where none broke it.

    1 − c(after) / c(before),  c(t) = ‖t(x') − t(x)‖ / ‖t(x)‖, t what a layer answers; negative where the change grows.
    """
    sides = pairs(model, found, data)
    maps = [[feature_maps(model, x, layer).double().flatten(1) for x in sides] for layer in layers]
    before, after = ((fooled - clean).norm(dim=1) / clean.norm(dim=1).clamp_min(1e-12) for clean, fooled in maps)
    return torch.where(before > 0, 1 - after / before, torch.nan)


def maps_picture(model: Classifier, found: Result, data: Dataset, layers: tuple[str, str]) -> Picture:
    """Of a few samples, broken ones first: the input, and the map that the attack changes most, before a block and after it."""
    x, fooled = pairs(model, found, data)
    first = (fooled == x).flatten(1).all(dim=1).int().argsort(stable=True)[:SHOWN]
    sides = [x[first], fooled[first]]
    maps = [[feature_maps(model, x, layer) for layer in layers] for x in sides]
    channels = (maps[1][0] - maps[0][0]).abs().mean(dim=(2, 3)).argmax(dim=1).tolist()
    strips = []
    for row, channel in enumerate(channels):
        tops = [max(float(side[place][row, channel].abs().max()) for side in maps) for place in range(2)]
        panels = []
        for name, images, side in zip(("clean", "adversarial"), sides, maps, strict=True):
            panels.append(Panel(drawn(scaled(images[row].cpu().numpy(), model.bounds.low, model.bounds.high)), (name, "")))
            for place, words in enumerate(("before denoising", "after denoising")):
                spread = f"-{figure(tops[place])} to {figure(tops[place])}"
                panels.append(Panel(heat(side[place][row, channel].numpy(), tops[place], signed=True), (words, spread)))
        strips.append(strip(f"channel {channel}", panels, 11))
    words = (
        f"Samples, broken ones first: the input; of the maps {layers[0]} and {layers[1]} the channel that the attack changes most, before "
        f"and after the block; red is above zero, blue below, one scale for clean and adversarial."
    )
    return Picture("Feature maps before and after denoising", words, source(sheet(strips, 800)))
