"""Spectra and maps on pages: numbers that are the model's, in pages that need nothing but themselves."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from page_reader import Page
from PIL import Image
from report_bands import Make, bands
from torch import nn

from holdfast import Classifier, StoreError, spectra
from holdfast.data import Dataset
from holdfast.evaluation import Result
from holdfast.report import export, html_report, spectra_report
from holdfast.report.heat import HEAT, SIGNED, heat
from holdfast.report.spectral import all_pairs, input_section, kept_pairs, maps_picture, spectrum_picture


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 3)).eval()


@pytest.fixture(scope="module")
def run(make: Make) -> Result:
    x, _ = bands()
    return make(x, net()(x).argmax(1), net=net(), radius=0.5, attacks=["pgd(steps=8)"])


def pictures(page: Page) -> list[Image.Image]:
    found = [source for image in page.of("img") if (source := image["src"]) and image.get("class") == "wide"]
    return [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in found]


def test_the_page_shows_inputs_and_layers(run: Result, tmp_path: Path) -> None:
    file = spectra_report(run, Classifier(net(), 3), ["0", "1"], tmp_path / "spectra.html")
    page = Page(file.read_text())
    assert set(page.figures) == {"inputs", "layer-1", "layer-2"}
    assert [title in page.text for title in ("Inputs", "Layer 0", "Layer 1")] == [True] * 3
    assert len(pictures(page)) == 1 + 2 + 2
    pairs = kept_pairs(run)
    assert pairs is not None
    found = spectra(Classifier(net(), 3), *pairs, "0")
    for line, kind in zip(page.figures["layer-1"]["data"], ("clean", "adversarial", "change"), strict=True):
        assert line["name"] == kind and line["x"] == pytest.approx(found.frequency.tolist())
        assert line["y"] == pytest.approx(found.profile(getattr(found, kind)).mean(0).tolist())
        assert f"{kind} {100 * float(found.high[kind].mean()):.1f} %" in page.text
    again = spectra_report(run, Classifier(net(), 3), ["0", "1"], tmp_path / "again.html")
    assert again.read_bytes() == file.read_bytes()


def test_pages_fetch_nothing(run: Result, tmp_path: Path) -> None:
    page = Page(spectra_report(run, None, [], tmp_path / "spectra.html").read_text())
    assert page.source.startswith("<!DOCTYPE html>")
    policy = next(tag["content"] for tag in page.of("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy
    sources = [tag[key] for _, tag in page.tags for key in ("src", "href") if key in tag]
    assert all(source is not None and source.startswith("data:") for source in sources)


def test_the_report_has_the_inputs_spectra(run: Result, tmp_path: Path) -> None:
    page = Page(html_report(run, tmp_path / "report.html").read_text())
    section = input_section(run)
    assert section is not None and "Spectra of the examples" in page.text and section.words in page.text
    assert page.figures["inputs"]["data"][2]["y"] == pytest.approx(section.chart.data[2]["y"])
    assert len(pictures(page)) == 1


def test_pairs_are_all_broken_where_an_attack_was_exported(make: Make) -> None:
    """Else the few whose clean inputs a run keeps."""
    x, _ = bands()
    y = net()(x).argmax(1)
    many = x.repeat(4, 1, 1, 1), y.repeat(4)
    large = make(*many, net=net(), radius=0.5, attacks=["pgd(steps=8)"])
    broken = large.clean_rate.of - large.robust_rate.of
    assert broken > 18
    kept, without = kept_pairs(large), all_pairs(large)
    assert kept is not None and without is not None and len(kept[0]) == len(without[0]) == 18
    export(large, Dataset(*many, torch.arange(48) + 100, "bands"), large.path)
    found = all_pairs(large)
    assert found is not None and len(found[0]) == broken
    with np.load(large.path / "adversarial.npz") as stored:
        assert torch.equal(found[1], torch.from_numpy(stored["x_adv"]))
    (large.path / "adversarial.npz").write_bytes(b"torn")
    with pytest.raises(StoreError, match="delete it and run the same attack command again"):
        all_pairs(large)


def test_a_run_without_broken_images_has_no_spectra(make: Make, tmp_path: Path) -> None:
    x, y = bands()
    for result in (make(x.flatten(1), y), make(radius=1e-4)):
        assert input_section(result) is None
        assert "Spectra of the examples" not in html_report(result, tmp_path / "report.html").read_text()
        with pytest.raises(StoreError, match="make some with holdfast attack"):
            spectra_report(result, None, [], tmp_path / "spectra.html")


def test_pictures_show_the_largest_channels(run: Result) -> None:
    pairs = kept_pairs(run)
    assert pairs is not None
    found = spectra(Classifier(net(), 3), *pairs, "0")
    whole, few = spectrum_picture(found), spectrum_picture(found, 2)
    assert whole.width * whole.height == pytest.approx(3 * few.width * few.height, rel=0.35), "nine strips, and three"
    before, after = (torch.zeros(1, 2, 4, 4) for _ in range(2))
    after[0, 1, 0, 0] = 1
    shown = np.asarray(maps_picture(found, before, after, pairs[0][:1], pairs[1][:1], run))
    # The change of channel 1 is full red in its corner, and its map was empty before.
    assert (shown == SIGNED[-1]).all(axis=2).sum() == 2 * 28 * 28
    assert shown.shape[0] < 220


def test_colours_rise_with_the_values() -> None:
    ends = np.asarray(heat(np.array([[0.0, 1.0, 2.0, 9.0]]), 2.0))[0]
    assert tuple(ends[0]) == HEAT[0] and tuple(ends[28 + 5]) == HEAT[2] and tuple(ends[-1]) == tuple(ends[60]) == HEAT[-1]
    signed = np.asarray(heat(np.array([[-2.0, 0.0, 2.0, np.nan]]), 2.0, signed=True))[0]
    assert [tuple(signed[28 * i]) for i in range(4)] == [SIGNED[0], SIGNED[2], SIGNED[-1], SIGNED[2]]
    assert heat(np.zeros((300, 200)), 0.0).size == (200, 300)
