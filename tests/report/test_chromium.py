"""The page in a real browser without a network: charts are drawn, pictures decoded, and the console stays silent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page_reader import Page
from PIL import Image
from report_bands import HOSTILE

from holdfast.evaluation import Result
from holdfast.report import html_report, spectra_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page with a fresh profile and no way out of the machine."""
    assert BROWSER is not None
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *quiet, "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        "--window-size=1200,2400", "--hide-scrollbars", "--virtual-time-budget=20000",
        f"--user-data-dir={profile}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)


@pytest.fixture(scope="module")
def opened(bands_run: Result, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, Path]:
    """The page after its scripts ran, what the console said, and a screenshot."""
    if BROWSER is None:
        if os.environ.get("HOLDFAST_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium on the PATH: install Debian's package chromium")
        pytest.skip("no Chromium on the PATH")
    folder = tmp_path_factory.mktemp("browser")
    page, shot = html_report(bands_run, folder / "report.html"), folder / "shot.png"
    ran = browse(page, folder / "profile", "--dump-dom")
    browse(page, folder / "profile2", f"--screenshot={shot}")
    return Page(ran.stdout), ran.stderr, shot


def test_scripts_run_without_complaint(opened: tuple[Page, str, Path]) -> None:
    _, console, _ = opened
    assert re.findall(r"CONSOLE.*", console) == []


def test_every_chart_is_drawn(opened: tuple[Page, str, Path]) -> None:
    seen, _, _ = opened
    drawn = [tag for tag in seen.of("svg") if "main-svg" in (tag.get("class") or "")]
    charts = [tag for tag in seen.of("div") if "js-plotly-plot" in (tag.get("class") or "")]
    assert charts and len(drawn) >= len(charts)
    assert [tag for tag in seen.of("path") if "js-line" in (tag.get("class") or "")], "no curve has a line"


def test_hostile_names_stay_text(opened: tuple[Page, str, Path]) -> None:
    seen, _, _ = opened
    assert HOSTILE in seen.text
    assert HOSTILE not in seen.source


def test_the_spectra_page_is_drawn_in_silence(bands_run: Result, opened: tuple[Page, str, Path], tmp_path: Path) -> None:
    ran = browse(spectra_report(bands_run, None, [], tmp_path / "spectra.html"), tmp_path / "profile", "--dump-dom")
    assert re.findall(r"CONSOLE.*", ran.stderr) == []
    assert [tag for tag in Page(ran.stdout).of("path") if "js-line" in (tag.get("class") or "")]


def test_the_screenshot_shows_a_page(opened: tuple[Page, str, Path]) -> None:
    _, _, shot = opened
    with Image.open(shot) as picture:
        shades, colours = picture.convert("L").getcolors(), picture.convert("P", palette=Image.Palette.ADAPTIVE).getcolors()
    assert len(shades) > 50 and len(colours) > 50
    most, _ = max(shades)
    assert most < 0.95 * 1200 * 2400
