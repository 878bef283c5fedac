"""Spectra and feature maps as pictures, charts and one page."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from holdfast.core.errors import StoreError
from holdfast.evaluation import Result
from holdfast.evaluation.spectra import Spectra, feature_maps, measured, spectra
from holdfast.models import Classifier
from holdfast.report.charts import Chart, spectrum_chart
from holdfast.report.curves import first_broken
from holdfast.report.gallery import kept_inputs
from holdfast.report.heat import heat
from holdfast.report.machine import write_page
from holdfast.report.pictures import drawn, is_image, scaled, source
from holdfast.report.render import render
from holdfast.report.strips import Panel, sheet, strip
from holdfast.report.words import counted, figure, percent

CHANNELS, SAMPLES = 8, 6
SHOWN = ("clean", "adversarial", "change")


@dataclass(frozen=True)
class Section:
    """What a page shows of one layer: pictures as data URIs with their words, the radial profile, and the shares of high frequency."""

    title: str
    words: str
    high: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, str], ...]
    chart: Chart


def kept_pairs(result: Result) -> tuple[Tensor, Tensor] | None:
    """The broken samples whose clean inputs a run keeps, `[k, c, h, w]` before and after; None where there are no such images."""
    kept = kept_inputs(result)
    samples = [sample for sample in first_broken(result)["sample"].sort().to_list() if sample in kept]
    if not samples or not is_image(kept[samples[0]][0]):
        return None
    before, after = (torch.from_numpy(np.stack([kept[sample][side] for sample in samples])) for side in (0, 1))
    return before, after


def all_pairs(result: Result) -> tuple[Tensor, Tensor] | None:
    """As `kept_pairs`, but all that were broken where `holdfast attack` left an adversarial.npz in the run's folder."""
    file = result.path / "adversarial.npz"
    if not file.exists():
        return kept_pairs(result)
    try:
        with np.load(file, allow_pickle=False) as stored:
            before, after = (torch.from_numpy(stored[name]) for name in ("x", "x_adv"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(f"{file} cannot be read ({error}): delete it and run the same attack command again") from error
    return (before, after) if len(before) and is_image(before[0].numpy()) else None


def input_section(result: Result) -> Section | None:
    """The spectra of the inputs that a run kept, without asking any model; None where it kept no images that were broken."""
    pairs = kept_pairs(result)
    return None if pairs is None else _section(measured(zip(pairs[0].split(16), pairs[1].split(16), strict=True)), "inputs")


def spectra_report(result: Result, model: Classifier | None, layers: Sequence[str], path: str | Path) -> Path:
    """Write one page: spectra of a run's inputs, and of what each layer makes of them, with its maps before and after the attack.

    The page opens offline. `model` may be None where no layer is asked for.

    Raises StoreError where the run kept no broken images or the page cannot be written, and what `spectra` raises for a layer.
    """
    pairs = all_pairs(result)
    if pairs is None:
        raise StoreError(f"{result.path} keeps no broken images to look at: make some with holdfast attack")
    x, x_adv = pairs
    sections = [_section(measured(zip(x.split(16), x_adv.split(16), strict=True)), "inputs")]
    for place, layer in enumerate(layers, 1):
        assert model is not None
        found = spectra(model, x, x_adv, layer)
        before, after = (feature_maps(model, some[:SAMPLES], layer) for some in (x, x_adv))
        sections.append(_section(found, f"layer-{place}", maps_picture(found, before, after, x[:SAMPLES], x_adv[:SAMPLES], result)))
    return write_page(
        path, render("spectra.html.j2", [item.chart for item in sections], {"manifest": result.manifest, "sections": sections})
    )


def _section(found: Spectra, name: str, maps: Image.Image | None = None) -> Section:
    title = "Inputs" if found.layer is None else f"Layer {found.layer}"
    words = (
        f"Mean over {counted(found.n, 'broken sample')} of log(1 + |F|), F the Fourier transform; zero frequency in the middle, "
        f"the highest at the rim. Clean and adversarial share one scale, the change has its own."
    )
    if len(found.clean) > CHANNELS:
        words += f" Of its {len(found.clean)} channels those {CHANNELS} are shown whose change is largest."
    if maps is not None:
        words += " In the maps red is above zero, blue below."
    pictures = [(source(spectrum_picture(found)), f"spectra of {title.lower()}: clean, adversarial, change")]
    if maps is not None:
        pictures.append((source(maps), f"maps of {title.lower()} before and after the attack"))
    high = tuple((kind, percent(float(found.high[kind].mean()))) for kind in SHOWN)
    return Section(title, words, high, tuple(pictures), spectrum_chart(found, name))


def spectrum_picture(found: Spectra, most: int = CHANNELS) -> Image.Image:
    """Clean, adversarial and change side by side: the mean over the channels, then the channels whose change is largest."""
    channels = len(found.clean)
    chosen = found.change.mean(dim=(1, 2)).argsort(descending=True, stable=True)[:most].sort().values.tolist() if channels > 1 else []
    rows = [("mean over the channels", [getattr(found, kind).mean(dim=0) for kind in SHOWN])] if channels > 1 else []
    rows += [(f"channel {c}" if channels > 1 else "", [getattr(found, kind)[c] for kind in SHOWN]) for c in chosen or [0]]
    strips = []
    for title, planes in rows:
        tops = [float(torch.maximum(planes[0], planes[1]).max())] * 2 + [float(planes[2].max())]
        panels = [
            Panel(heat(plane.numpy(), top), (kind, f"0 to {figure(top)}")) for plane, top, kind in zip(planes, tops, SHOWN, strict=True)
        ]
        strips.append(strip(title, panels, 11))
    return sheet(strips, 1150)


def maps_picture(found: Spectra, before: Tensor, after: Tensor, x: Tensor, x_adv: Tensor, result: Result) -> Image.Image:
    """A layer's maps `[k, c, h, w]` of a few samples before and after: input, and the channel that the attack changes most in each."""
    low, high = result.manifest["model"]["low"], result.manifest["model"]["high"]
    strips = []
    for i in range(len(before)):
        change = after[i] - before[i]
        channel = int(change.abs().mean(dim=(1, 2)).argmax())
        top = float(torch.maximum(before[i, channel].abs(), after[i, channel].abs()).max())
        most = float(change[channel].abs().max())
        clean, fooled = (drawn(scaled(side[i].numpy(), low, high, x[i].numpy())) for side in (x, x_adv))
        maps = [
            (before[i, channel], top, "map, clean"),
            (after[i, channel], top, "map, adversarial"),
            (change[channel], most, "map, change"),
        ]
        panels = [Panel(clean, ("clean", "")), Panel(fooled, ("adversarial", ""))]
        panels += [
            Panel(heat(plane.numpy(), span, signed=True), (words, f"-{figure(span)} to {figure(span)}")) for plane, span, words in maps
        ]
        strips.append(strip(f"channel {channel}, which changes most", panels, 11))
    return sheet(strips, 1300)
