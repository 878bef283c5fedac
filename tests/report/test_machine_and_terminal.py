"""The report for machines is strict JSON; the one for terminals fits 80 columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from report_bands import Make, bands
from rich.cells import cell_len
from rich.console import Console

from holdfast.evaluation import Result
from holdfast.report import json_report, terminal, verdict


def strict(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(path.read_text(), parse_constant=refuse)


def printed(run: Result, width: int = 80) -> list[str]:
    file = io.StringIO()
    terminal(run, Console(file=file, width=width, color_system=None))
    return file.getvalue().splitlines()


def test_json_holds_the_summary_the_manifest_and_the_curves(bands_run: Result, tmp_path: Path) -> None:
    found = strict(json_report(bands_run, tmp_path / "report.json"))
    assert found["robust_accuracy"] == bands_run.robust_accuracy and found["n"] == 12 and found["verdict"] == verdict(bands_run)
    assert found["manifest"] == json.loads((bands_run.path / "manifest.json").read_text())
    assert set(found["curves"]) == {"iterations", "queries", "radius", "sizes", "confusion"}
    assert [row["attack"] for row in found["attacks"]] == bands_run.labels


def test_json_has_null_where_there_is_no_number(make: Make, tmp_path: Path) -> None:
    run = make(*bands((0.5, 0.6)), out=tmp_path / "run")
    for file in run.parts[0].path.iterdir():
        if file.name != "samples.npz":
            file.unlink()
    found = strict(json_report(Result(run.path), tmp_path / "report.json"))
    assert found["n"] == 0 and found["clean_accuracy"] is None and found["robust_accuracy"] is None


@pytest.mark.parametrize("width", [80, 60, 200])
def test_panel_fits(bands_run: Result, width: int) -> None:
    lines = printed(bands_run, width)
    assert all(cell_len(line) <= width for line in lines)
    text = " ".join(line.strip("│ ") for line in lines)
    assert verdict(bands_run) in text


def test_panel_has_one_line_for_each_attack(bands_run: Result) -> None:
    lines = printed(bands_run)
    for row in bands_run.attacks:
        (line,) = (line for line in lines if line.startswith(f"│ {row['attack']} "))
        assert line.split()[2:4] == [str(row["tried"]), str(row["broken"])]
        assert line.rstrip("│ ").endswith("s")


def test_panel_words_the_checks_and_takes_no_markup(halted_run: Result) -> None:
    text = " ".join(line.strip("│ ") for line in printed(halted_run))
    for check in halted_run.checks:
        assert f"{check.status} {check.name}" in " ".join(text.split())
    assert "→ the robust accuracy is an upper bound" in text
