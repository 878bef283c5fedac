"""The page: one file that fetches nothing, with the run's own figures, whatever the run and whatever its names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from page_reader import Page
from report_bands import GAPS, HOSTILE, RADII, RADIUS, Make, bands, judge
from torch import nn

from holdfast.core.errors import StoreError
from holdfast.evaluation import Budget, Result
from holdfast.report import html_report, verdict
from holdfast.report.html import page
from holdfast.report.words import interval

FALLEN = sum(gap < 2 * RADIUS for gap in GAPS[:-1])


def test_is_one_file_that_fetches_nothing(bands_run: Result, tmp_path: Path) -> None:
    path = html_report(bands_run, tmp_path / "deep" / "er" / "report.html")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    source = path.read_text()
    assert not re.search(r"""(src|href)\s*=\s*\\?["'`]?(https?:)?//""", source)
    assert "@import" not in source
    seen = Page(source)
    assert not re.search(r"url\(", "".join(re.findall(r"<style>.*?</style>", source, re.DOTALL)))
    for tag, attributes in seen.tags:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert all("src" not in script for script in seen.of("script"))
    policy = next(meta["content"] for meta in seen.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "http" not in policy and "*" not in policy
    assert len(re.findall(r"plotly\.js v\d", source)) == 1


def test_says_the_runs_figures(bands_run: Result) -> None:
    seen = Page(page(bands_run))
    assert (bands_run.clean_rate.of, bands_run.robust_rate.of) == (11, 11 - FALLEN)
    assert verdict(bands_run) in seen.text
    for rate in (bands_run.clean_rate, bands_run.robust_rate):
        assert f"{100 * rate.of / 12:.1f} %" in seen.text
        assert f"{rate.of} of 12; 95 % interval {interval(rate)}" in seen.text
    assert f"{bands_run.forwards / 12:.4g} forward passes" in seen.text


def test_table_of_attacks_counts_the_records(bands_run: Result) -> None:
    heading, *rows = Page(page(bands_run)).table("attack")
    assert [row[0] for row in rows] == bands_run.labels
    for row in rows:
        part = bands_run.records.filter(pl.col("attack") == row[0])
        cells = dict(zip(heading, row, strict=True))
        assert (cells["tried"], cells["broken"]) == (str(len(part)), str(int(part["broken"].sum())))
        assert cells["success"] == f"{100 * part['broken'].sum() / len(part):.1f} %"
        assert cells["forwards"] == f"{part['forwards'].mean():.4g}"
        assert cells["accuracy after"] == f"{100 * (11 - FALLEN) / 12:.1f} %"


def test_table_of_checks_is_coloured_and_worded(bands_run: Result) -> None:
    seen = Page(page(bands_run))
    rows = {row[0]: row for row in seen.table("check")[1:]}
    for check in bands_run.checks:
        assert check.status in rows[check.name][1] and rows[check.name][2:] == [check.evidence, check.remedy]
    shown = [(span.get("class") or "").split()[-1] for span in seen.of("span") if "status" in (span.get("class") or "")]
    assert shown == ["status-" + check.status.replace(" ", "-") for check in bands_run.checks]


def test_curve_over_radii_is_the_closed_form(bands_run: Result) -> None:
    data = Page(page(bands_run)).figures["radius"]["data"]
    line = next(trace for trace in data if "lines+markers" in trace["mode"])
    assert line["x"] == [0, *RADII]
    assert line["y"] == pytest.approx([sum(gap > 2 * radius for gap in GAPS[:-1]) / 12 for radius in (0, *RADII)])


def test_hostile_names_are_shown_and_do_nothing(make: Make) -> None:
    run = make(name=f"npz:{HOSTILE}.npz", radii=RADII)
    source = page(run)
    assert HOSTILE not in source
    seen = Page(source)
    assert f"npz:{HOSTILE}.npz" in seen.text and HOSTILE in seen.text.replace(f"npz:{HOSTILE}.npz", "")
    assert len(seen.of("script")) == 2
    # Plotly reads a little HTML in labels.
    labels = seen.figures["confusion"]["layout"]["xaxis"]["ticktext"]
    assert labels[:2] == ["top &amp; left", "&lt;script&gt;alert(1)&lt;/scrip…"]


def test_the_same_store_makes_the_same_page(bands_run: Result, tmp_path: Path) -> None:
    first = page(bands_run)
    shutil.copytree(bands_run.path, tmp_path / "moved")
    assert page(Result(tmp_path / "moved")) == first


def test_quotes_the_call_that_makes_it_again(bands_run: Result) -> None:
    text = Page(page(bands_run)).text
    assert "attacks=['fgsm(Linf(0.125))', 'pgd(Linf(0.125), steps=8)', 'deepfool(Linf(inf))']" in text
    assert bands_run.manifest["model"]["fingerprint"] in text and bands_run.manifest["data"]["fingerprint"] in text
    for entry in bands_run.manifest["attacks"]:
        assert entry["digest"] in text and entry["expanded"] in text


def test_nothing_broken(make: Make) -> None:
    run = make(*bands((0.4, 0.5, 0.6)), attacks=("fgsm()", "pgd(steps=3)"))
    seen = Page(page(run))
    assert run.robust_accuracy == 1 and "100.0 % (43.9–100.0 %) withstood fgsm and pgd" in seen.text
    assert set(seen.figures) == {"iterations", "queries"}
    assert "not broken" in seen.text


def test_nothing_right(make: Make) -> None:
    x, y = bands((0.4, 0.5, 0.6))
    run = make(x, (y + 1) % 3)
    seen = Page(page(run))
    assert "classifies 0.0 % right" in seen.text and "there was nothing to attack" in seen.text
    assert not seen.figures and not seen.of("img") and len(seen.of("script")) == 0


def test_unfinished(halted_run: Result) -> None:
    assert not halted_run.complete
    seen = Page(page(halted_run))
    assert "The run is not finished" in seen.text and "so these numbers are provisional" in seen.text
    assert [row[0] for row in seen.table("attack")[1:]] == list(halted_run.facts)


def test_shard_that_is_missing(make: Make) -> None:
    run = make(shard=(1, 3))
    assert "8 of 12 samples missing" in Page(page(run)).text


def test_samples_that_ran_out_of_queries(make: Make) -> None:
    run = make(attacks=("pgd(steps=30)",), budget=Budget(queries=40))
    part = run.parts[0]
    records = part.read("00-pgd")
    assert records is not None
    part.write("00-pgd", records.with_columns(status=pl.col("status").replace("withstood", "unfinished")))
    text = Page(page(Result(run.path))).text
    assert f"{11 - FALLEN} samples not attacked to the end" in text
    assert "within Linf 0.125 and 40 forwards per sample" in text and "budget=Budget(queries=40)" in text


def test_without_radii(make: Make) -> None:
    assert set(Page(page(make())).figures) == {"iterations", "queries", "sizes", "confusion", "inputs"}


def test_inputs_that_are_no_images(make: Make) -> None:
    x, y = bands()
    seen = Page(page(make(x.flatten(1), y)))
    assert "The inputs are not images" in seen.text
    assert len(seen.of("img")) > 12


def test_one_sample(make: Make) -> None:
    seen = Page(page(make(*bands((0.1,)), classes=None)))
    assert "Of 1 sample, the model classifies 100.0 % right" in seen.text and "Nothing is left to break." in seen.text
    assert len(seen.of("img")) == 3 + 1, "the gallery's, and the spectra's"


def test_run_killed_before_its_first_answer(make: Make, tmp_path: Path) -> None:
    run = make(out=tmp_path / "run")
    part = run.parts[0].path
    for file in part.iterdir():
        if file.name != "samples.npz":
            file.unlink()
    assert "No sample has been measured yet" in Page(page(Result(run.path))).text


@pytest.mark.parametrize("name", ["gallery.npz", "adversarial.npy"])
def test_without_the_files_of_pictures(make: Make, tmp_path: Path, name: str) -> None:
    run = make(out=tmp_path / "run")
    (run.parts[0].path / name).unlink()
    seen = Page(page(Result(run.path)))
    assert not seen.of("img") and "folder holds no inputs to show" in seen.text


def test_a_place_that_cannot_be_written(bands_run: Result, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder: name a file"):
        html_report(bands_run, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        html_report(bands_run, tmp_path / "file" / "report.html")


def test_a_full_disk_leaves_the_last_report(bands_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("holdfast.engine.snapshot.os.replace", full)
    with pytest.raises(StoreError, match="No space left on device; free space"):
        html_report(bands_run, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "before"


def test_many_classes_have_no_confusion_table(make: Make) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = judge()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.pad(self.inner(x), (0, 57), value=-50.0)

    run = make(*bands(), net=Wide().eval(), classes=None, attacks=("fgsm()",), count=60)
    assert run.robust_accuracy < 1 and "confusion" not in Page(page(run)).figures


def test_altered_answers_and_dissimilarity_are_those_of_the_formulas(make: Make) -> None:
    """Share of F(x) ≠ F(x') over all N, and the mean of ‖x − x'‖₂ / ‖x'‖₂, asked of the model and computed from the stored examples."""
    x, y = bands()
    y[-1] = (y[-1] + 1) % 3
    result = make(x, y, attacks=["pgd(steps=8)"])
    found = torch.from_numpy(np.array(result.adversarial))
    altered = judge()(x).argmax(1) != judge()(found).argmax(1)
    row = result.attacks[0]
    assert 0 < row["altered_rate"] == pytest.approx(float(altered.double().mean())) != row["success_rate"]
    ratio = ((x - found).flatten(1).norm(dim=1) / found.flatten(1).norm(dim=1))[altered]
    assert row["dissimilarity"] == pytest.approx(float(ratio.mean()), rel=1e-5)
    assert result.records.filter("broken")["dissimilarity"].to_list() == pytest.approx(ratio.tolist(), rel=1e-5)
